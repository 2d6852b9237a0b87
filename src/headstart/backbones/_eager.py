"""An image encoder that another library builds: it runs in torch, in fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart.backbone import Card, Network, Tap, feature_taps, tap_named
from headstart.backbones import _photos
from headstart.backbones._images import SLIM_SIDE, ImageBackbone, random_backbone
from headstart.backbones._photos import Preprocess
from headstart.errors import NotAdmissible
from headstart.features import Features

BATCH = 8  # fixed, with a zero-padded tail: an item's bits then do not depend on its neighbours


@dataclass(frozen=True, repr=False)
class EagerBackbone:
    """An encoder that can be read at its hidden states, and continued from nowhere but its input.

    ``build(seed)`` gives a new module: with its weights for ``None``, with random ones for a number. ``read(module, x)``
    runs it on a normal batch (n, 3, side, side) and gives one pooled row an item for every tap.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool
    preprocess: Preprocess
    build: Callable[[int | None], Any]
    read: Callable[[Any, Any], dict[str, Any]]

    trainable: ClassVar[bool] = True
    shard: ClassVar[int] = 256

    def __repr__(self) -> str:
        return f"EagerBackbone({self.card.name}, {len(self.taps)} taps, {self.preprocess.side} px)"

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> np.ndarray:
        """Photos as uint8 (n, side, side, 3). Views: ``flip``, ``crop-K`` and ``crop-K-flip`` for any number K."""
        return _photos.prepare(self.preprocess, inputs, view)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Pooled rows at each of ``taps``, float32, from one pass in fixed batches."""
        import torch

        for tap in taps:
            tap_named(self, tap)
        module, parts = opened(self), {tap: [] for tap in taps}  # type: ignore[var-annotated]
        with torch.inference_mode():
            for count, images in _photos.batches(self.preprocess, inputs, view, size=BATCH):
                found = self.read(module, _normal(torch.from_numpy(images), self.preprocess))
                for tap in taps:
                    parts[tap].append(found[tap][:count].float().numpy())
        return {tap: Features.one_each(np.concatenate(rows)) for tap, rows in parts.items()}

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> np.ndarray:
        """Always ``NotAdmissible``: this encoder runs whole."""
        raise NotAdmissible(f"{self.card.name} cannot continue from '{tap}'; it runs whole. Cut at the input instead.")

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """None: every photo is sized and cropped alike, which the card says."""
        return ()

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new copy in evaluation mode that can be cut at the input only."""
        feature_taps(self, unit)
        module = self.build(None if self.pretrained else seed).eval()
        last = self.taps[-1].name

        def below(x: Any, tap: str | None) -> Any:
            return x if tap is None else self.states([], tap)

        def above(state: Any, tap: str | None) -> Any:
            if tap is not None:
                self.states([], tap)
            return self.read(module, _normal(state, self.preprocess))[last]

        return Network(module, below, above, self.taps[-1].width, ((last, ("",)),))

    def untrained(self, *, slim: bool = False) -> EagerBackbone | ImageBackbone:
        """The same encoder with random weights; ``slim``: a small convolutional network, since a little data trains that."""
        plain = self.card.name.removesuffix(":untrained")
        if slim:
            small = replace(self.preprocess, side=SLIM_SIDE)
            return random_backbone("efficientnet_lite_slim", small, title=plain)
        name = f"{plain}:untrained"
        card = replace(self.card, name=name, trained_on="nothing: random weights", prior=None, until=None, items=frozenset())
        mark = _io.fingerprint([self.fingerprint, "untrained"]) if self.pretrained else self.fingerprint
        return replace(self, card=card, fingerprint=mark, pretrained=False)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """Always ``NotAdmissible``: only the convolutional networks of this package are written as ONNX."""
        raise NotAdmissible(f"{self.card.name} cannot be exported as ONNX. Choose a packaged backbone to export.")


_open: dict[str, Any] = {}


def opened(backbone: Any) -> Any:
    """The module of ``backbone`` (``fingerprint``, ``pretrained``, ``build``), in evaluation mode and kept."""
    if backbone.fingerprint not in _open:
        _open.clear()  # such encoders can be large; one is enough
        _open[backbone.fingerprint] = backbone.build(None if backbone.pretrained else 0).eval()
    return _open[backbone.fingerprint]


def hidden_taps(widths: Sequence[tuple[str, int]]) -> tuple[Tap, ...]:
    """Taps that can be read but not continued from, in order."""
    return tuple(Tap(name, (place + 1) / len(widths), width, resumable=False) for place, (name, width) in enumerate(widths))


def pooled(state: Any) -> Any:
    """One row an item: the mean over places of (n, channels, height, width), or over tokens of (n, tokens, width)."""
    return state.mean((2, 3)) if state.ndim == 4 else state.mean(1) if state.ndim == 3 else state


def _normal(images: Any, preprocess: Preprocess) -> Any:
    images = images.float()
    mean, scale = images.new_tensor(preprocess.mean), images.new_tensor(preprocess.scale)
    return ((images - mean) * scale).permute(0, 3, 1, 2).contiguous()
