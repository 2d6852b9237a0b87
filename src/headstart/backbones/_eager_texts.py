"""A text encoder that another library builds: it runs in torch, in batches of one exact length and a fixed number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart.backbone import Card, Network, Tap, feature_taps, tap_named
from headstart.backbones import _encoder
from headstart.backbones._eager import opened
from headstart.backbones._encoder import Architecture
from headstart.backbones._pieces import BEGINS, Layout, Pieces, no_onnx, no_view, told_long, told_strange
from headstart.backbones._texts import POOLINGS, TextBackbone, text_backbone
from headstart.errors import NotAdmissible
from headstart.features import Features

# Chunks a batch, all of one length, filled up with copies of the first: a text's bits then do not depend on its neighbours.
# One at a time would be as safe, and takes 2 to 3 times as long for short texts.
BATCH = 8


@dataclass(frozen=True, repr=False)
class EagerTextBackbone:
    """An encoder that can be read at its hidden states, and continued from nowhere but its input.

    ``build(seed)`` gives a new module: with its weights for ``None``, with random ones for a number. ``read(module, x)``
    runs it on pieces (n, length) and gives the state (n, length, width) at every place, from the embedding upwards. Rows
    are made of states as in ``TextBackbone``.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool
    vocabulary: int
    pieces: Pieces
    build: Callable[[int | None], Any]
    read: Callable[[Any, Any], list[Any]]

    trainable: ClassVar[bool] = True
    shard: ClassVar[int] = 256

    def __repr__(self) -> str:
        return f"EagerTextBackbone({self.card.name}, {len(self.taps)} taps, {self.pieces.limit} pieces)"

    @property
    def places(self) -> tuple[str, ...]:
        """Where it can be read, from input to output."""
        return tuple(dict.fromkeys(tap.place for tap in self.taps))

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> Features:
        """The word pieces of every text: rows (pieces, 2), int32, number and marker. There are no views of texts."""
        no_view(view)
        return self.pieces.prepare(inputs)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Rows at each of ``taps``, float32, from one pass; a text's rows depend on nothing but the text."""
        named = {name: tap_named(self, name) for name in taps}
        prepared = self.prepare(inputs, view=view)
        layout = Layout.of(prepared.rows[:, 1], prepared.offsets)
        counts = {"words": int(layout.word_offsets[-1])}
        rows = {
            name: np.full(
                (counts.get(tap.table, len(prepared)), tap.width), -np.inf if tap.table == "max" else 0.0, np.float32
            )
            for name, tap in named.items()
        }
        for chunk, states in self._states(prepared, layout):
            for name, tap in named.items():
                _add(rows[name], states[self.places.index(tap.place)], tap.table, layout, chunk)
        sizes = {"": np.diff(prepared.offsets), "words": _sizes(layout)}
        for name, tap in named.items():
            if tap.table in sizes:
                rows[name] /= np.maximum(sizes[tap.table], 1).astype(np.float32)[:, None]
        offsets = {"words": layout.word_offsets}
        return {
            name: Features(rows[name], offsets.get(tap.table, np.arange(len(prepared) + 1))) for name, tap in named.items()
        }

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Any:
        """Always ``NotAdmissible``: this encoder runs whole."""
        raise NotAdmissible(f"{self.card.name} cannot continue from '{tap}'; it runs whole. Cut at the input instead.")

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """How many of ``inputs`` are too long to be read at once, or made of what it does not know."""
        reads = f"{self.pieces.room} word pieces that {self.card.name} reads at once"
        strange = told_strange(self.pieces.strange(inputs), self.card.name)
        return (*told_long(self.pieces.long(inputs), len(inputs), reads), *strange)

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new copy in evaluation mode that can be cut at the input only; its rows stand for texts or for words."""
        from headstart.backbones._encoder_torch import collated, pooled

        last = feature_taps(self, unit)[-1]
        module = self.build(None if self.pretrained else seed).eval()

        def below(batch: Any, tap: str | None) -> Any:
            return batch if tap is None else self.states([], tap)

        def above(batch: Any, tap: str | None) -> Any:
            import torch

            if tap is not None:
                self.states([], tap)
            found = torch.cat([self.read(module, batch.rows[group])[-1].flatten(0, 1) for group in batch.groups])
            order = torch.argsort(torch.cat([group.reshape(-1) for group in batch.groups]))
            return pooled(replace(batch, rows=found[order]))

        return Network(
            module,
            below,
            above,
            last.width,
            ((last.place, ("",)),),
            collate=lambda states: collated(states, unit=unit),
            count=lambda state: int((state[:, -1] == BEGINS).sum()) if unit == "word" else 1,
            rate=5e-5 if self.pretrained else 5e-4,
        )

    def untrained(self, *, slim: bool = False) -> EagerTextBackbone | TextBackbone:
        """The same encoder with random weights; ``slim``: a small BERT on the same word pieces, for little data."""
        plain = self.card.name.removesuffix(":untrained")
        if slim:
            small = Architecture(
                "bert",
                layers=2,
                width=128,
                heads=2,
                inner=512,
                vocabulary=self.vocabulary,
                positions=512,
                eps=1e-12,
                types=2,
            )
            card = replace(self.card, name=plain)
            weights = lambda seed: _encoder.initial(small, seed)  # noqa: E731
            whole = text_backbone(small, self.pieces, weights, card=card, identity="untrained", pretrained=False)
            return whole.untrained(slim=True)
        card = replace(
            self.card,
            name=f"{plain}:untrained",
            trained_on="nothing: random weights",
            prior=None,
            until=None,
            items=frozenset(),
        )
        mark = _io.fingerprint([self.fingerprint, "untrained"]) if self.pretrained else self.fingerprint
        return replace(self, card=card, fingerprint=mark, pretrained=False)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """Always ``NotAdmissible``: the tokenizer cannot be written as ONNX."""
        raise no_onnx(self.card.name)

    def _states(self, prepared: Features, layout: Layout) -> Iterator[tuple[int, list[np.ndarray]]]:
        """(chunk, its state (length, width) at every place), the shortest chunks first."""
        import torch

        module, numbers = opened(self), prepared.rows[:, 0].astype(np.int64)
        order = np.argsort(layout.lengths, kind="stable")
        for same in np.split(order, np.flatnonzero(np.diff(layout.lengths[order])) + 1) if len(order) else []:
            for start in range(0, len(same), BATCH):
                chunks = same[start : start + BATCH]
                pieces = numbers[layout.spread(np.resize(chunks, BATCH))].reshape(BATCH, -1)
                with torch.inference_mode():
                    found = [state.float().numpy() for state in self.read(module, torch.from_numpy(pieces))]
                for place, chunk in enumerate(chunks):
                    yield int(chunk), [state[place] for state in found]


def text_taps(widths: Sequence[tuple[str, int]]) -> tuple[Tap, ...]:
    """Taps of (place, width), each read in every way; none can be continued from."""
    return tuple(
        Tap(
            f"{place}:{table}" if table else place,
            (number + 1) / len(widths),
            width,
            pooling=pooling,
            resumable=False,
            unit="word" if table == "words" else "item",
        )
        for table, pooling in POOLINGS.items()
        for number, (place, width) in enumerate(widths)
    )


def _add(rows: np.ndarray, state: np.ndarray, table: str, layout: Layout, chunk: int) -> None:
    """What the pieces of one chunk say, in place. A text's chunks come in an order that its own lengths alone decide."""
    text = layout.texts[chunk]
    if table == "words":
        start = layout.starts[chunk]
        words = layout.words[start : start + layout.lengths[chunk]]
        own = np.flatnonzero(words >= 0)
        if len(own):
            begins = np.flatnonzero(np.diff(words[own], prepend=-1))
            rows[words[own][begins]] += np.add.reduceat(state[own], begins)
    elif table == "max":
        np.maximum(rows[text], state.max(axis=0), out=rows[text])
    elif table == "":
        rows[text] += state.sum(axis=0)
    elif chunk == 0 or layout.texts[chunk - 1] != text:
        rows[text] = state[0]


def _sizes(layout: Layout) -> np.ndarray:
    """Pieces of each word."""
    return np.bincount(layout.words[layout.words >= 0], minlength=int(layout.word_offsets[-1]))
