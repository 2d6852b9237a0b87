"""A described network in torch, cut at any tap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstart.backbone import Network
from headstart.backbones._convnet import Architecture, Conv, padding

if TYPE_CHECKING:
    import numpy as np

    from headstart.backbones._photos import Preprocess


def network(architecture: Architecture, preprocess: Preprocess, weights: Mapping[str, np.ndarray]) -> Network:
    """A new network with a copy of ``weights``, in evaluation mode. Every name must match."""
    import torch

    module = _module(architecture)
    copies = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    module.load_state_dict(copies, strict=True)
    steps = [tap for tap, _ in architecture.taps]

    def position(tap: str | None) -> int:
        return 0 if tap is None else steps.index(tap) + 1

    def normal(images: Any) -> Any:
        # NHWC seen as NCHW is torch's channels_last, the faster layout on a CPU; it stays so to the end.
        images = images.to(next(module.parameters()).dtype)
        mean, scale = images.new_tensor(preprocess.mean), images.new_tensor(preprocess.scale)
        return ((images - mean) * scale).permute(0, 3, 1, 2)

    def below(x: Any, tap: str | None) -> Any:
        for index in range(position(tap)):
            x = _step(module, architecture, index, x if index else normal(x))
        return x

    def above(state: Any, tap: str | None) -> Any:
        for index in range(position(tap), len(steps)):
            state = _step(module, architecture, index, state if index else normal(state))
        return state

    own = architecture.classifier if architecture.classes else ""
    return Network(module.eval(), below, above, architecture.head.outputs, architecture.stages, classifier=own)


def weights_of(module: Any) -> dict[str, np.ndarray]:
    """The weights of a torch module as arrays that no longer follow it."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


def _module(architecture: Architecture) -> Any:
    """A tree of plain modules that only holds the weights under their names; ``_step`` knows the way through."""
    from torch import nn

    root = nn.Module()
    for conv in architecture.convs:
        layer = nn.Conv2d(conv.inputs, conv.outputs, conv.kernel, conv.stride, groups=conv.groups, bias=False)
        put(root, conv.name, layer)
        # TensorFlow's 0.99 decay is torch's momentum 0.01; with few steps that forgets too slowly, so torch's default.
        put(root, conv.norm, nn.BatchNorm2d(conv.outputs, eps=architecture.eps))
    if architecture.classes:
        put(root, architecture.classifier, nn.Linear(architecture.head.outputs, architecture.classes))
    return root


def put(root: Any, path: str, module: Any) -> None:
    """Add ``module`` to the tree below ``root`` under a dotted name."""
    from torch import nn

    *folders, name = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, nn.Module())
        root = root._modules[folder]
    root.add_module(name, module)


def _step(module: Any, architecture: Architecture, index: int, x: Any) -> Any:
    """From the state at one tap (``index`` 0: a normal batch) to the state at the next."""
    import torch

    x = x.contiguous(memory_format=torch.channels_last)
    if index == 0:
        x = _convolve(module, architecture, architecture.stem, x)
    if index == len(architecture.blocks):
        return _convolve(module, architecture, architecture.head, x).mean((2, 3))
    block = architecture.blocks[index]
    y = x
    for conv in block.layers:
        y = _convolve(module, architecture, conv, y)
    return x + y if block.residual else y


def _convolve(module: Any, architecture: Architecture, conv: Conv, x: Any) -> Any:
    from torch.nn import functional

    before, after = padding(conv, x.shape[-1], same=architecture.same_padding)
    if before != after:
        x = functional.pad(x, (before, after, before, after))
    weight = module.get_submodule(conv.name).weight
    pad = before if before == after else 0
    x = functional.conv2d(x, weight, None, conv.stride, pad, 1, conv.groups)
    x = module.get_submodule(conv.norm)(x)
    return functional.relu6(x) if conv.active else x
