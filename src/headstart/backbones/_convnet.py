"""Small convolutional networks as descriptions: what stands where, under which weight names.

One description gives both the torch network (``_convnet_torch``) and the ONNX graph (``_convnet_onnx``), so the two
cannot drift apart. The families are EfficientNet-Lite (Tan and Le 2019; no squeeze-and-excite, ReLU6, TensorFlow's
"SAME" padding) and MobileNetV2 (Sandler et al. 2018, in torchvision's layout).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import UnknownName


@dataclass(frozen=True)
class Conv:
    """A convolution without bias and its batch normalisation; ``active`` adds ReLU6."""

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    active: bool = True


@dataclass(frozen=True)
class Block:
    """Convolutions in a row; ``residual`` adds the input to the output. Its output is a tap."""

    tap: str
    prefix: str
    layers: tuple[Conv, ...]
    residual: bool


@dataclass(frozen=True)
class Architecture:
    """A stem, blocks, a 1×1 head that is averaged over the picture, and a linear classifier (``classes`` 0: none)."""

    name: str
    stem: Conv
    blocks: tuple[Block, ...]
    head: Conv
    classifier: str
    classes: int
    eps: float
    same_padding: bool

    @property
    def convs(self) -> Iterator[Conv]:
        """Every convolution from input to output."""
        yield self.stem
        for block in self.blocks:
            yield from block.layers
        yield self.head

    @property
    def taps(self) -> tuple[tuple[str, int], ...]:
        """(name, width) of every feature tap, from input to output."""
        return (*((block.tap, block.layers[-1].outputs) for block in self.blocks), ("head", self.head.outputs))

    @property
    def stages(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(tap, prefixes of the parameters between the tap before and this one)."""
        stem, head = ((conv.name + ".", conv.norm + ".") for conv in (self.stem, self.head))
        first, *others = self.blocks
        between = tuple((block.tap, (block.prefix,)) for block in others)
        return ((first.tap, (*stem, first.prefix)), *between, ("head", head))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, as a torch state dict has them."""
        found: dict[str, tuple[int, ...]] = {}
        for conv in self.convs:
            found[f"{conv.name}.weight"] = (conv.outputs, conv.inputs // conv.groups, conv.kernel, conv.kernel)
            for part in ("weight", "bias", "running_mean", "running_var"):
                found[f"{conv.norm}.{part}"] = (conv.outputs,)
            found[f"{conv.norm}.num_batches_tracked"] = ()
        if self.classes:
            found[f"{self.classifier}.weight"] = (self.classes, self.head.outputs)
            found[f"{self.classifier}.bias"] = (self.classes,)
        return found

    def parameters(self) -> int:
        """How many numbers training would move."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(math.prod(shape) for name, shape in self.shapes().items() if not name.endswith(statistics))


def padding(conv: Conv, size: int, *, same: bool) -> tuple[int, int]:
    """Zeros before and after each side of a ``size``-pixel input. TensorFlow's "SAME" puts the odd one after."""
    if not same:
        return (conv.kernel - 1) // 2, (conv.kernel - 1) // 2
    total = max((-(-size // conv.stride) - 1) * conv.stride + conv.kernel - size, 0)
    return total // 2, total - total // 2


def initial(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Random weights (He et al. 2015, fan-in).

    The fan counts one group only: with all outputs in it, a depthwise kernel would start smaller by the root of its
    channel count. A linear layer has half the variance of one before a ReLU.
    """
    rng = np.random.default_rng(seed)
    gains = {f"{conv.name}.weight": 2.0 if conv.active else 1.0 for conv in architecture.convs}
    weights: dict[str, np.ndarray] = {}
    for name, shape in architecture.shapes().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros((), dtype=np.int64)
        elif len(shape) > 1:
            deviation = math.sqrt(gains.get(name, 1.0) / math.prod(shape[1:]))
            weights[name] = (rng.standard_normal(shape) * deviation).astype(np.float32)
        else:
            weights[name] = np.full(shape, float(name.endswith((".weight", "running_var"))), dtype=np.float32)
    return weights


def mismatch(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> str:
    """What is wrong with ``weights`` for ``architecture``: missing, unknown or misshapen names; empty if nothing."""
    expected = architecture.shapes()
    missing = sorted(set(expected) - set(weights))
    unknown = sorted(set(weights) - set(expected))
    odd = sorted(name for name, shape in expected.items() if name in weights and tuple(weights[name].shape) != shape)
    parts = {"missing": missing, "unknown": unknown, "of another shape": odd}
    return "; ".join(f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in parts.items() if names)


def named(name: str, *, classes: int = 0) -> Architecture:
    """The architecture called ``name``, with a classifier when ``classes`` are asked for."""
    if name not in _BUILDERS:
        raise UnknownName.of("architecture", name, _BUILDERS)
    build, options = _BUILDERS[name]
    return build(name, classes=classes, **options)


# kernel, stride, expansion, channels, repeats
_LITE = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_MOBILE = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (3, 2, 6, 32, 3),
    (3, 2, 6, 64, 4),
    (3, 1, 6, 96, 3),
    (3, 2, 6, 160, 3),
    (3, 1, 6, 320, 1),
)
_SLIM_REPEATS = (1, 2, 2, 2, 2, 1, 1)


def _lite(name: str, *, classes: int, width: float = 1.0, depth: float = 1.0, slim: bool = False) -> Architecture:
    stem = Conv("_conv_stem", "_bn0", 3, 16 if slim else 32, kernel=3, stride=2)
    blocks: list[Block] = []
    channels = stem.outputs
    for stage, (kernel, stride, expansion, base, repeats) in enumerate(_LITE):
        # The first and the last stage are never repeated more: that is what makes it "Lite".
        count = repeats if stage in (0, len(_LITE) - 1) else math.ceil(repeats * depth)
        outputs = base // 2 if slim else _rounded(base * width)
        for repeat in range(_SLIM_REPEATS[stage] if slim else count):
            at, step = f"_blocks.{len(blocks)}", stride if repeat == 0 else 1
            layers = _inverted(channels, outputs, kernel, step, expansion, _lite_names(at, expansion))
            blocks.append(Block(f"block{len(blocks)}", at + ".", layers, step == 1 and channels == outputs))
            channels = outputs
    head = Conv("_conv_head", "_bn1", channels, 320 if slim else 1280)
    return Architecture(name, stem, tuple(blocks), head, "_fc", classes, eps=1e-3, same_padding=True)


def _mobile(name: str, *, classes: int, slim: bool = False) -> Architecture:
    stem = Conv("features.0.0", "features.0.1", 3, 16 if slim else 32, kernel=3, stride=2)
    blocks: list[Block] = []
    channels = stem.outputs
    for stage, (kernel, stride, expansion, base, repeats) in enumerate(_MOBILE):
        outputs = base // 2 if slim else base
        for repeat in range(_SLIM_REPEATS[stage] if slim else repeats):
            at, step = f"features.{len(blocks) + 1}", stride if repeat == 0 else 1
            layers = _inverted(channels, outputs, kernel, step, expansion, _mobile_names(at, expansion))
            blocks.append(Block(f"block{len(blocks)}", at + ".", layers, step == 1 and channels == outputs))
            channels = outputs
    at = f"features.{len(blocks) + 1}"
    head = Conv(f"{at}.0", f"{at}.1", channels, 320 if slim else 1280)
    return Architecture(name, stem, tuple(blocks), head, "classifier.1", classes, eps=1e-5, same_padding=False)


def _inverted(
    inputs: int, outputs: int, kernel: int, stride: int, expansion: int, names: list[tuple[str, str]]
) -> tuple[Conv, ...]:
    """Expand (unless by 1), filter each channel by itself, project without activation."""
    wide = inputs * expansion
    deep = Conv(*names[-2], wide, wide, kernel=kernel, stride=stride, groups=wide)
    project = Conv(*names[-1], wide, outputs, active=False)
    return (deep, project) if expansion == 1 else (Conv(*names[0], inputs, wide), deep, project)


def _lite_names(at: str, expansion: int) -> list[tuple[str, str]]:
    expand = [] if expansion == 1 else [(f"{at}._expand_conv", f"{at}._bn0")]
    return [*expand, (f"{at}._depthwise_conv", f"{at}._bn1"), (f"{at}._project_conv", f"{at}._bn2")]


def _mobile_names(at: str, expansion: int) -> list[tuple[str, str]]:
    active = range(1 if expansion == 1 else 2)
    last = len(active)
    return [(f"{at}.conv.{i}.0", f"{at}.conv.{i}.1") for i in active] + [(f"{at}.conv.{last}", f"{at}.conv.{last + 1}")]


def _rounded(channels: float, divisor: int = 8) -> int:
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


_BUILDERS: dict[str, tuple[Callable[..., Architecture], dict[str, Any]]] = {
    "efficientnet_lite0": (_lite, {}),
    "efficientnet_lite1": (_lite, {"width": 1.0, "depth": 1.1}),
    "efficientnet_lite2": (_lite, {"width": 1.1, "depth": 1.2}),
    "efficientnet_lite_slim": (_lite, {"slim": True}),
    "mobilenet_v2": (_mobile, {}),
    "mobilenet_v2_slim": (_mobile, {"slim": True}),
}
