"""A described encoder as an ONNX graph, written node by node: no torch, no exporter.

The graph takes pieces (batch, length) of one exact length, so it has neither padding nor a mask. It holds no weights: they
are handed to the session beside it, so no second copy is made, in memory or on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart.backbones._encoder import BUCKETS, Architecture, Layer, distances, names

INPUT = "pieces"
OPSET = 18
FUSED = "com.microsoft"


@dataclass(frozen=True)
class Draft:
    """A graph without its weights, and the weights by their names in it."""

    content: bytes
    weights: dict[str, np.ndarray]


def graph(architecture: Architecture, weights: Mapping[str, np.ndarray], *, places: tuple[str, ...], longest: int) -> Draft:
    """The graph from ``pieces`` to the states at ``places``, in their order, each (batch × length, width).

    What lies above the last of them is left out. Rows are pooled outside: ReduceMean takes another way for one text than for
    several, and the last bits differ.

    ``longest`` is the greatest length it is asked for.
    """
    from onnx import TensorProto, helper

    made = _Drawing(architecture, weights)
    x, bias = made.embedding(longest), made.distance_bias(longest)
    for number, place in enumerate(architecture.places):
        if number:
            x = made.layer(names(architecture.family, number - 1), x, bias)
        if place in places:
            made.node("Identity", x, name=place)
        if place == places[-1]:
            break
    ends = [helper.make_tensor_value_info(place, TensorProto.FLOAT, None) for place in places]
    begin = helper.make_tensor_value_info(INPUT, TensorProto.INT32, ["texts", "length"])
    body = helper.make_graph(made.nodes, architecture.family, [begin], ends, made.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name="headstart")
    return Draft(model.SerializeToString(), made.outside)


@dataclass
class _Drawing:
    """Nodes and constants as they are collected."""

    architecture: Architecture
    weights: Mapping[str, np.ndarray]
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    outside: dict[str, np.ndarray] = field(default_factory=dict)

    def node(self, kind: str, *inputs: str, name: str = "", outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        from onnx import helper

        made = [name or f"t{len(self.nodes)}"] if outputs == 1 else [f"t{len(self.nodes)}.{i}" for i in range(outputs)]
        label = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=label, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def number(self, name: str, values: list[int]) -> str:
        from onnx import numpy_helper

        if not any(constant.name == name for constant in self.constants):
            self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """A constant whose content comes from outside."""
        from onnx import TensorProto

        self.outside[name] = np.ascontiguousarray(array, dtype=np.float32)
        found = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
        found.external_data.add(key="location", value="memory")
        self.constants.append(found)
        return name

    def own(self, name: str, *, turned: bool = False) -> str:
        """The weight called ``name``; ``turned`` as a matrix to multiply with from the right."""
        return self.weight(name, self.weights[name].T if turned else self.weights[name])

    def embedding(self, longest: int) -> str:
        made, at = self.architecture, "embeddings"
        table = self.weights[f"{at}.position_embeddings.weight"][made.offset : made.offset + longest]
        if made.types:  # every piece is of the first type
            table = table + self.weights[f"{at}.token_type_embeddings.weight"][0]
        zero, one, two = (self.number(f"n{i}", [i]) for i in range(3))
        length = self.node("Slice", self.node("Shape", INPUT), one, two, zero, name="length")
        places = self.node("Slice", self.weight("positions", table), zero, length, zero)
        x = self.node("Gather", self.own(f"{at}.word_embeddings.weight"), INPUT)
        x = self.norm(f"{at}.LayerNorm", self.node("Add", x, places))
        self.node("Concat", self.node("Shape", INPUT), self.number("width", [made.width]), axis=0, name="texts")
        return self.flat(x)

    def distance_bias(self, longest: int) -> str:
        """MPNet's bias (1, heads, length, length), or nothing."""
        if not self.architecture.buckets:
            return ""
        table = self.weights[f"{BUCKETS}.weight"][distances(self.architecture, longest)]
        whole = self.weight("distances", table.transpose(2, 0, 1)[None])
        begins, axes = self.number("corner", [0, 0]), self.number("sides", [2, 3])
        return self.node("Slice", whole, begins, self.node("Concat", "length", "length", axis=0), axes)

    def layer(self, layer: Layer, x: str, bias: str) -> str:
        """One layer on the flat stream of pieces, (pieces, width).

        What is written here was measured: three products and no split, which copies; a plain sum and norm, since the fused
        SkipLayerNormalization is a tenth slower for the whole network; the bias of the inner map in its product.
        """
        query = self.node("Add", self.product(layer.query, x), self.own(f"{layer.query}.bias"))
        # A bias of the keys moves all scores of a query alike, which softmax does not see. One of the values passes
        # through, as the shares of a query sum to one: it joins the bias of the output map.
        parts = [
            self.node("Reshape", one, "texts") for one in (query, self.product(layer.key, x), self.product(layer.value, x))
        ]
        extra = ["", "", bias] if bias else []
        y = self.flat(self.node("MultiHeadAttention", *parts, *extra, domain=FUSED, num_heads=self.architecture.heads))
        carried = self.weights[f"{layer.out}.weight"].astype(np.float64) @ self.weights[f"{layer.value}.bias"]
        shift = self.weight(f"{layer.out}.bias", self.weights[f"{layer.out}.bias"] + carried)
        x = self.norm(layer.out_norm, self.node("Add", self.node("Add", self.product(layer.out, y), shift), x))
        inner, inner_bias = self.own(f"{layer.inner}.weight", turned=True), self.own(f"{layer.inner}.bias")
        y = self.product(layer.outer, self.node("Gelu", self.node("Gemm", x, inner, inner_bias), domain=FUSED))
        return self.norm(layer.outer_norm, self.node("Add", self.node("Add", y, self.own(f"{layer.outer}.bias")), x))

    def product(self, name: str, x: str) -> str:
        return self.node("MatMul", x, self.own(f"{name}.weight", turned=True))

    def flat(self, x: str) -> str:
        return self.node("Reshape", x, self.number("flat", [-1, self.architecture.width]))

    def norm(self, name: str, x: str) -> str:
        scale, shift = self.own(f"{name}.weight"), self.own(f"{name}.bias")
        return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=self.architecture.eps)
