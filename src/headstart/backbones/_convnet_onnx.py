"""A described network as an ONNX graph, written node by node: no torch, no exporter.

Batch normalisation is folded into the convolutions. The input is a uint8 batch (n, side, side, 3); the outputs are a
pooled row at every tap, and the classifier's logits where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.backbones._convnet import Architecture, Conv, padding

if TYPE_CHECKING:
    from headstart.backbones._photos import Preprocess

INPUT = "images"
OPSET = 17


def graph(architecture: Architecture, preprocess: Preprocess, weights: Mapping[str, np.ndarray], *, batch: int | str) -> Any:
    """The model: ``images`` in, one output a tap (and ``logits``). ``batch`` is a number, or a name for any number."""
    from onnx import TensorProto, helper

    draft = _Draft(architecture, weights)
    side = preprocess.side
    x = draft.node("Cast", INPUT, to=TensorProto.FLOAT)
    x = draft.node("Sub", x, draft.constant("mean", np.asarray(preprocess.mean)))
    x = draft.node("Mul", x, draft.constant("scale", np.asarray(preprocess.scale)))
    x = draft.node("Transpose", x, perm=[0, 3, 1, 2])
    x, size = draft.conv(architecture.stem, x, side)
    for block in architecture.blocks:
        start = x
        for conv in block.layers:
            x, size = draft.conv(conv, x, size)
        name = state_name(block.tap)
        x = draft.node("Add", start, x, name=name) if block.residual else draft.rename(name)
        draft.pooled(x, block.tap)
    x, size = draft.conv(architecture.head, x, size)
    draft.pooled(x, "head")
    outputs = dict(architecture.taps)
    if architecture.classes:
        matrix = draft.constant("classifier", weights[f"{architecture.classifier}.weight"])
        bias = draft.constant("classifier_bias", weights[f"{architecture.classifier}.bias"])
        draft.node("Gemm", "head", matrix, bias, name="logits", transB=1)
        outputs["logits"] = architecture.classes
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width]) for name, width in outputs.items()]
    begin = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, side, side, 3])
    body = helper.make_graph(draft.nodes, architecture.name, [begin], ends, draft.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="headstart")


def cut(model: Any, output: str, *, batch: int | str) -> Any:
    """A copy of ``model`` that ends at the tensor ``output``, for another ``batch``; what it does not need is left out."""
    from onnx import TensorProto, helper

    body = model.graph
    needed, nodes = {output}, []
    for node in reversed(body.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    constants = [constant for constant in body.initializer if constant.name in needed]
    side = body.input[0].type.tensor_type.shape.dim[1].dim_value
    begin = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, side, side, 3])
    known = {found.name: [d.dim_value for d in found.type.tensor_type.shape.dim][1:] for found in body.output}
    end = helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, *known.get(output, [None, None, None])])
    smaller = helper.make_graph(nodes[::-1], body.name, [begin], [end], constants)
    return helper.make_model(
        smaller, opset_imports=list(model.opset_import), ir_version=model.ir_version, producer_name="headstart"
    )


def state_name(tap: str) -> str:
    """The name of the unpooled tensor at ``tap``."""
    return tap if tap == "head" else f"{tap}.state"


class _Draft:
    """Nodes and constants as they are collected."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, np.ndarray]) -> None:
        self.architecture = architecture
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{len(self.nodes)}", **attributes))
        return name

    def rename(self, name: str) -> str:
        """Give the last node's output another name."""
        self.nodes[-1].output[0] = name
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def conv(self, conv: Conv, x: str, size: int) -> tuple[str, int]:
        """Append a convolution with its normalisation folded in; (output, its size in pixels)."""
        before, after = padding(conv, size, same=self.architecture.same_padding)
        weight, bias = folded(conv, self.weights, self.architecture.eps)
        x = self.node(
            "Conv",
            x,
            self.constant(f"{conv.name}.weight", weight),
            self.constant(f"{conv.name}.bias", bias),
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            pads=[before, before, after, after],
            group=conv.groups,
        )
        if conv.active:
            if not any(constant.name == "six" for constant in self.constants):
                self.constant("zero", np.asarray(0.0))
                self.constant("six", np.asarray(6.0))
            x = self.node("Clip", x, "zero", "six")
        return x, (size + before + after - conv.kernel) // conv.stride + 1

    def pooled(self, x: str, tap: str) -> None:
        self.node("Flatten", self.node("GlobalAveragePool", x), name=tap, axis=1)


def folded(conv: Conv, weights: Mapping[str, np.ndarray], eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias that do what ``conv`` and its batch normalisation do in evaluation mode."""
    names = ("weight", "bias", "running_mean", "running_var")
    part = {name: weights[f"{conv.norm}.{name}"].astype(np.float64) for name in names}
    factor = part["weight"] / np.sqrt(part["running_var"] + eps)
    kernel = weights[f"{conv.name}.weight"].astype(np.float64) * factor[:, None, None, None]
    return kernel, part["bias"] - part["running_mean"] * factor
