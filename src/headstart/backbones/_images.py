"""A convolutional image backbone: prepared photos in, features from ONNX Runtime or a torch network out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headstart import _io
from headstart._events import emit
from headstart.backbone import Card, Network, Tap, feature_taps, tap_named
from headstart.backbones import _convnet, _photos
from headstart.backbones._convnet import Architecture
from headstart.backbones._photos import Preprocess
from headstart.backbones._sessions import opened, started, threads
from headstart.errors import NotAdmissible, RunError
from headstart.features import Features

# Fixed, with a zero-padded tail: an item's bits then do not depend on its neighbours. Eight is 1.2 times faster per photo
# than 32 (what stands between two layers fits the cache), and wastes less on a single photo.
BATCH = 8
FORMAT = 1  # of the graphs; part of every fingerprint
SLIM_SIDE = 96


@dataclass(frozen=True, repr=False)
class ImageBackbone:
    """A convolutional network for photos, described by its architecture.

    ``weights(seed)`` gives its arrays; pre-trained ones are the same for every seed. They are only read when neither a
    cached graph nor an open session has them.
    """

    card: Card
    taps: tuple[Tap, ...]
    fingerprint: str
    pretrained: bool
    architecture: Architecture
    preprocess: Preprocess
    weights: Callable[[int], Mapping[str, np.ndarray]]

    trainable: ClassVar[bool] = True
    shard: ClassVar[int] = 256

    def __repr__(self) -> str:
        return f"ImageBackbone({self.card.name}, {len(self.taps)} taps, {self.preprocess.side} px)"

    def spec(self) -> dict[str, Any]:
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> np.ndarray:
        """Photos as uint8 (n, side, side, 3). Views: ``flip``, ``crop-K`` and ``crop-K-flip`` for any number K."""
        return _photos.prepare(self.preprocess, inputs, view)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Average-pooled rows at each of ``taps``, float32, from one pass in fixed batches."""
        for tap in taps:
            tap_named(self, tap)
        if len(inputs) == 0:
            return {tap: Features.one_each(np.zeros((0, tap_named(self, tap).width), np.float32)) for tap in taps}
        rows = self._run("", inputs, list(taps), view)
        return {tap: Features.one_each(found) for tap, found in zip(taps, rows, strict=True)}

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> np.ndarray:
        """What stands at ``tap`` before pooling, float32, (n, channels, height, width); at ``head`` (n, width)."""
        if not tap_named(self, tap).resumable:
            raise NotAdmissible(f"The network cannot continue from '{tap}'; it is an output. Choose 'head' or a block.")
        from headstart.backbones._convnet_onnx import state_name

        return self._run(tap, inputs, [state_name(tap)], view)[0]

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """None: every photo is sized and cropped alike, which the card says."""
        return ()

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new torch copy in evaluation mode; it runs in torch's channels_last layout."""
        from headstart.backbones._convnet_torch import network

        feature_taps(self, unit)
        return network(self.architecture, self.preprocess, self.weights(seed))

    def untrained(self, *, slim: bool = False) -> ImageBackbone:
        """The same family with random weights; ``slim``: 0.4 million weights at 96 px, for little data."""
        name = self.architecture.name
        if slim and not name.endswith("_slim"):
            name = "mobilenet_v2_slim" if name.startswith("mobilenet") else "efficientnet_lite_slim"
        preprocess = replace(self.preprocess, side=SLIM_SIDE) if slim else self.preprocess
        return random_backbone(name, preprocess, title=self.card.name.removesuffix(":slim").removesuffix(":untrained"))

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """The graph from uint8 ``images`` (n, side, side, 3) to ``tap`` (None: ``head``), for any n; with ``module``'s
        weights if given."""
        from headstart.backbones._convnet_onnx import cut, graph

        end = tap_named(self, tap).name if tap else "head"
        if module is None:
            return cut(_model(self), end, batch="n")
        from headstart.backbones._convnet_torch import weights_of

        return cut(graph(self.architecture, self.preprocess, weights_of(module), batch="n"), end, batch="n")

    def _run(self, tap: str, inputs: Sequence[Any], outputs: list[str], view: str) -> list[np.ndarray]:
        opened = session(self, tap)
        parts = [
            [array[:count] for array in opened.run(outputs, {"images": images})]
            for count, images in _photos.batches(self.preprocess, inputs, view, size=BATCH)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def image_backbone(
    architecture: Architecture,
    preprocess: Preprocess,
    weights: Callable[[int], Mapping[str, np.ndarray]],
    *,
    card: Card,
    identity: str,
    pretrained: bool,
) -> ImageBackbone:
    """The backbone of ``architecture``. ``identity`` names the weights: equal identity, equal bits."""
    total = len(architecture.taps) + bool(architecture.classes)
    taps = [Tap(name, (place + 1) / total, width) for place, (name, width) in enumerate(architecture.taps)]
    if architecture.classes:
        labels = tuple(f"imagenet_{index:04d}" for index in range(architecture.classes))
        taps.append(Tap("logits", 1.0, architecture.classes, pooling="none", resumable=False, labels=labels))
    mark = _io.fingerprint([FORMAT, BATCH, architecture, preprocess.spec(), identity])
    return ImageBackbone(card, tuple(taps), mark, pretrained, architecture, preprocess, weights)


def random_backbone(name: str, preprocess: Preprocess, *, title: str) -> ImageBackbone:
    """The untrained backbone of the architecture called ``name``; its own features are those of seed 0."""
    architecture = _convnet.named(name)
    count = architecture.parameters()
    card = Card(
        name=f"{title}:{'slim' if name.endswith('_slim') else 'untrained'}",
        kind="image",
        trained_on="nothing: random weights",
        licence="Apache-2.0",
        parameters=count,
        weights_bytes=4 * count,
        preprocessing=preprocess.spec(),
        origin="drawn at random",
        notes=f"The {name} architecture with random weights.",
    )
    weights = _Random(architecture)
    return image_backbone(architecture, preprocess, weights, card=card, identity="untrained", pretrained=False)


@dataclass(frozen=True)
class _Random:
    architecture: Architecture

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        return _convnet.initial(self.architecture, seed)


def session(backbone: ImageBackbone, tap: str = "") -> Any:
    """The open ONNX Runtime session of ``backbone``: pooled rows of every tap, or the whole state at ``tap``.

    Its input ``images`` is always (8, side, side, 3) uint8.
    """
    return opened((backbone.fingerprint, tap, threads()), lambda: started(_content(backbone, tap), inside=threads()))


def _content(backbone: ImageBackbone, tap: str) -> bytes:
    if not tap:
        return _graph_bytes(backbone)
    from headstart.backbones._convnet_onnx import cut, state_name

    content: bytes = cut(_model(backbone), state_name(tap), batch=BATCH).SerializeToString()
    return content


def _model(backbone: ImageBackbone) -> Any:
    import onnx

    return onnx.load_from_string(_graph_bytes(backbone))


def _graph_bytes(backbone: ImageBackbone) -> bytes:
    """The graph with its weights: from the cache if whole, else written anew. Torch is only needed for the latter."""
    file = _io.cache_folder() / "graphs" / f"{backbone.fingerprint}.onnx"
    content = _cached(file)
    if content is None:
        from headstart.backbones._convnet_onnx import graph

        content = graph(backbone.architecture, backbone.preprocess, backbone.weights(0), batch=BATCH).SerializeToString()
        assert content is not None
        try:
            _io.write_bytes(file, content)
            _io.write_json(file.with_suffix(".json"), {"format": FORMAT, "digest": _io.digest(content)})
        except RunError as error:
            emit("warning", f"The graph of {backbone.card.name} is not cached, so later starts are slower. {error}")
    return content


def _cached(file: Path) -> bytes | None:
    record = file.with_suffix(".json")
    if not (file.exists() and record.exists()):
        return None
    try:
        content = file.read_bytes()
        whole = _io.read_json(record) == {"format": FORMAT, "digest": _io.digest(content)}
    except (OSError, RunError):
        whole = False
    if not whole:
        emit("warning", f"The cached graph {file.name} is damaged; it is written again.")
        return None
    return content
