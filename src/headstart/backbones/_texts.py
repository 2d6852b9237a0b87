"""A transformer text backbone: texts in, features from ONNX Runtime or a torch network out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart.backbone import Card, Network, Tap, feature_taps, tap_named
from headstart.backbones import _encoder
from headstart.backbones._encoder import Architecture
from headstart.backbones._pieces import Layout, Pieces, no_onnx, no_view, told_long, told_strange
from headstart.backbones._sessions import opened, started, threads
from headstart.errors import NotAdmissible
from headstart.features import Features

FORMAT = 1  # of the rows; part of every fingerprint
# Pieces a batch: what stands between two layers still fits the cache, and the products are large enough for full speed.
BUDGET = 512
POOLINGS = {"first": "first", "max": "max", "words": "mean", "": "mean"}  # table: how its rows are made, in order of taps


@dataclass(frozen=True, repr=False)
class TextBackbone:
    """A text encoder of a described family. An input is a ``str``, or a tuple of words where somebody has split it.

    Every place can be read as a row a text (mean over its pieces; ``:first``, ``:max``) and as a row a word (``:words``:
    mean over the word's pieces). A state is the place's row for every piece with the piece's marker as last column, so
    that all of these follow from it. ``weights(seed)`` gives its arrays; pre-trained ones are the same for every seed.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool
    architecture: Architecture
    pieces: Pieces
    weights: Callable[[int], Mapping[str, np.ndarray]]

    trainable: ClassVar[bool] = True
    shard: ClassVar[int] = 2048  # many texts at once have many of one length

    def __repr__(self) -> str:
        return f"TextBackbone({self.card.name}, {self.architecture.layers} layers, {self.pieces.limit} pieces)"

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> Features:
        """The word pieces of every text: rows (pieces, 2), int32, number and marker. There are no views of texts."""
        no_view(view)
        return self.pieces.prepare(inputs)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Rows at each of ``taps``, float32. One pass a table; a text's rows depend on nothing but the text."""
        named = {name: tap_named(self, name) for name in taps}
        prepared = self.prepare(inputs, view=view)
        layout = Layout.of(prepared.rows[:, 1], prepared.offsets)
        found: dict[str, Features] = {}
        for table in dict.fromkeys(tap.table for tap in named.values()):
            mine = [name for name, tap in named.items() if tap.table == table]
            places = tuple(place for place in self.architecture.places if any(named[name].place == place for name in mine))
            rows = dict(zip(places, self._table(prepared, layout, table, places), strict=True))
            offsets = layout.word_offsets if table == "words" else np.arange(len(prepared) + 1)
            found |= {name: Features(rows[named[name].place], offsets) for name in mine}
        return {name: found[name] for name in taps}

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Features:
        """What stands at a place: rows (pieces, width + 1), float32; the last column is the marker."""
        place = tap_named(self, tap).place
        prepared = self.prepare(inputs, view=view)
        layout, width = Layout.of(prepared.rows[:, 1], prepared.offsets), self.architecture.width
        rows = np.empty((len(prepared.rows), width + 1), np.float32)
        rows[:, width] = prepared.rows[:, 1]
        for chunks, (state,) in self._batches(prepared, layout, "state", (place,)):
            rows[layout.spread(chunks), :width] = state
        return Features(rows, prepared.offsets)

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """How many of ``inputs`` are too long to be read at once, or made of what it does not know."""
        reads = f"{self.pieces.room} word pieces that {self.card.name} reads at once"
        strange = told_strange(self.pieces.strange(inputs), self.card.name)
        return (*told_long(self.pieces.long(inputs), len(inputs), reads), *strange)

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new torch copy in evaluation mode whose rows stand for texts (``item``) or for words (``word``)."""
        from headstart.backbones._encoder_torch import network

        feature_taps(self, unit)
        rate = 2e-4 if self.pretrained else 5e-4
        return network(self.architecture, self.weights(seed), unit=unit, rate=rate)

    def untrained(self, *, slim: bool = False) -> TextBackbone:
        """The same family with random weights and the same word pieces; ``slim``: two layers, 128 wide."""
        title = self.card.name.removesuffix(":slim").removesuffix(":untrained")
        slim = slim or self.card.name.endswith(":slim")
        architecture = replace(self.architecture, layers=2, width=128, heads=2, inner=512) if slim else self.architecture
        count = architecture.parameters()
        card = Card(
            name=f"{title}:{'slim' if slim else 'untrained'}",
            kind="text",
            trained_on="nothing: random weights",
            licence="Apache-2.0",
            parameters=count,
            weights_bytes=4 * count,
            preprocessing=self.card.preprocessing,
            origin="drawn at random",
            notes=f"{architecture.layers} layers of the family {architecture.family} with random weights.",
        )
        weights = _Random(architecture)
        return text_backbone(architecture, self.pieces, weights, card=card, identity="untrained", pretrained=False)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """Always ``NotAdmissible``: the tokenizer cannot be written as ONNX."""
        raise no_onnx(self.card.name)

    def _table(self, prepared: Features, layout: Layout, table: str, places: tuple[str, ...]) -> list[np.ndarray]:
        """Rows of ``table`` at ``places``."""
        if table == "words":
            return self._words(prepared, layout, places)
        shape = (len(prepared), self.architecture.width)
        found = [np.full(shape, -np.inf if table == "max" else 0.0, np.float32) for _ in places]
        for chunks, rows in self._batches(prepared, layout, table, places):
            for total, row in zip(found, rows, strict=True):
                _join(total, row, table, layout, chunks)
        if table == "":
            sizes = np.maximum(1, np.diff(prepared.offsets))[:, None].astype(np.float32)
            for total in found:
                total /= sizes
        return found

    def _words(self, prepared: Features, layout: Layout, places: tuple[str, ...]) -> list[np.ndarray]:
        """The mean over each word's pieces."""
        counts = np.bincount(layout.words[layout.words >= 0], minlength=int(layout.word_offsets[-1]))
        found = [np.zeros((len(counts), self.architecture.width), np.float32) for _ in places]
        for chunks, states in self._batches(prepared, layout, "state", places):
            words = layout.words[layout.spread(chunks)]
            own = np.flatnonzero(words >= 0)
            nth = np.arange(len(own)) - np.searchsorted(words[own], words[own])  # which piece of its word
            for number in range(int(nth.max(initial=-1)) + 1):  # piece by piece: no two additions meet in one row
                some = own[nth == number]
                for total, state in zip(found, states, strict=True):
                    total[words[some]] += state[some]
        several = counts > 1
        for total in found:
            total[several] /= counts[several, None].astype(np.float32)
        return found

    def _batches(
        self, prepared: Features, layout: Layout, table: str, places: tuple[str, ...]
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """(chunks, what they say at each of ``places``), batch after batch: see ``_pooled``.

        Batches run side by side, each on one thread: that wastes less than threads inside an operator. A row's bits depend
        neither on how many there are of its length nor on threads.
        """
        numbers = np.ascontiguousarray(prepared.rows[:, 0])
        run = self._session(places).run

        def one(chunks: np.ndarray) -> list[np.ndarray]:
            pieces = numbers[layout.spread(chunks)].reshape(len(chunks), -1)
            return [_pooled(state.reshape(*pieces.shape, -1), table) for state in run(None, {"pieces": pieces})]

        batches = list(layout.batches(BUDGET))
        with ThreadPoolExecutor(threads()) as pool:
            yield from zip(batches, pool.map(one, batches), strict=True)

    def _session(self, places: tuple[str, ...]) -> Any:
        def make() -> Any:
            from headstart.backbones._encoder_onnx import graph

            draft = graph(self.architecture, self.weights(0), places=places, longest=self.pieces.limit)
            return started(draft.content, inside=1, weights=draft.weights)

        return opened((self.fingerprint, places), make)


def text_backbone(
    architecture: Architecture,
    pieces: Pieces,
    weights: Callable[[int], Mapping[str, np.ndarray]],
    *,
    card: Card,
    identity: str,
    pretrained: bool,
) -> TextBackbone:
    """The backbone of ``architecture``. ``identity`` names the weights: equal identity, equal bits."""
    if pieces.limit > architecture.longest:
        raise NotAdmissible(
            f"{card.name} has {architecture.longest} positions; {pieces.limit} pieces cannot be read at once. Lower the limit."
        )
    last = len(architecture.places) - 1
    taps = tuple(
        Tap(
            f"{place}:{table}" if table else place,
            (number + 1) / (last + 1),
            architecture.width,
            pooling=pooling,
            unit="word" if table == "words" else "item",
        )
        for table, pooling in POOLINGS.items()
        for number, place in enumerate(architecture.places)
    )
    mark = _io.fingerprint([FORMAT, asdict(architecture), card.preprocessing, pieces.limit, identity])
    return TextBackbone(card, taps, mark, pretrained, architecture, pieces, weights)


@dataclass(frozen=True)
class _Random:
    architecture: Architecture

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        return _encoder.initial(self.architecture, seed)


def _pooled(state: np.ndarray, table: str) -> np.ndarray:
    """Of a state (chunks, length, width): the sum (table ````), maximum or first of each chunk's pieces; else all pieces.

    numpy adds piece after piece here, so that a chunk's bits do not depend on how many there are.
    """
    if table == "":
        return state.sum(axis=1)
    if table == "max":
        return state.max(axis=1)
    return state[:, 0].copy() if table == "first" else state.reshape(-1, state.shape[-1])


def _join(total: np.ndarray, rows: np.ndarray, table: str, layout: Layout, chunks: np.ndarray) -> None:
    """Add what ``chunks`` say to the rows of their texts, in place.

    Chunks of one text come one after the other, in an order that nothing but their own lengths decides.
    """
    texts = layout.texts[chunks]
    if table == "first":
        begins = (chunks == 0) | (texts != layout.texts[chunks - 1])
        total[texts[begins]] = rows[begins]
        return
    join = np.maximum if table == "max" else np.add
    if (np.diff(texts) > 0).all():
        total[texts] = join(total[texts], rows)
    else:  # slower, and right where a text stands twice
        join.at(total, texts, rows)
