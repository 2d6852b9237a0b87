"""Transformer encoders as descriptions: which sizes, under which weight names.

One description gives both the torch network (``_encoder_torch``) and the ONNX graph (``_encoder_onnx``). The families are
BERT (Devlin et al. 2019; MiniLM is one) and MPNet (Song et al. 2020: a learned bias for relative positions, no types).
Weights have the names that the transformers library gives them; poolers and heads above the last layer are not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import NotAdmissible

BUCKETS = "encoder.relative_attention_bias"


@dataclass(frozen=True)
class Architecture:
    """Embeddings and ``layers`` equal layers: attention with ``heads`` heads, then two linear maps with GELU between.

    ``offset`` is the row of the first position, ``types`` is 0 where there are none, ``buckets`` (MPNet) is the number of
    learned distances.
    """

    family: str
    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    eps: float
    offset: int = 0
    types: int = 0
    buckets: int = 0

    @property
    def places(self) -> tuple[str, ...]:
        """Where it can be read, from input to output."""
        return ("embedding", *(f"layer{number + 1}" for number in range(self.layers)))

    @property
    def longest(self) -> int:
        """Pieces that it has positions for."""
        return self.positions - self.offset

    @property
    def stages(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(place, prefixes of the parameters between the place before and this one).

        The bias of relative positions serves every layer; it goes with the embeddings, so that whatever is frozen below
        a cut is the same network above it.
        """
        first = ("embeddings.", f"{BUCKETS}.") if self.buckets else ("embeddings.",)
        return (("embedding", first), *((f"layer{i + 1}", (f"encoder.layer.{i}.",)) for i in range(self.layers)))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight."""
        found: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, self.width),
            "embeddings.position_embeddings.weight": (self.positions, self.width),
        }
        if self.types:
            found["embeddings.token_type_embeddings.weight"] = (self.types, self.width)
        found |= _norm("embeddings.LayerNorm", self.width)
        if self.buckets:
            found[f"{BUCKETS}.weight"] = (self.buckets, self.heads)
        for number in range(self.layers):
            layer = names(self.family, number)
            for name in (layer.query, layer.key, layer.value, layer.out):
                found |= _linear(name, self.width, self.width)
            found |= _norm(layer.out_norm, self.width)
            found |= _linear(layer.inner, self.inner, self.width)
            found |= _linear(layer.outer, self.width, self.inner)
            found |= _norm(layer.outer_norm, self.width)
        return found

    def parameters(self) -> int:
        """How many numbers training would move."""
        return sum(math.prod(shape) for shape in self.shapes().values())


@dataclass(frozen=True)
class Layer:
    """The names of one layer's parts."""

    query: str
    key: str
    value: str
    out: str
    out_norm: str
    inner: str
    outer: str
    outer_norm: str


def names(family: str, number: int) -> Layer:
    """The names of layer ``number`` (from 0) in ``family``."""
    at = f"encoder.layer.{number}"
    bert = family == "bert"
    inside = f"{at}.attention.self" if bert else f"{at}.attention.attn"
    query, key, value = ("query", "key", "value") if bert else ("q", "k", "v")
    return Layer(
        query=f"{inside}.{query}",
        key=f"{inside}.{key}",
        value=f"{inside}.{value}",
        out=f"{at}.attention.output.dense" if bert else f"{inside}.o",
        out_norm=f"{at}.attention.output.LayerNorm" if bert else f"{at}.attention.LayerNorm",
        inner=f"{at}.intermediate.dense",
        outer=f"{at}.output.dense",
        outer_norm=f"{at}.output.LayerNorm",
    )


def described(config: Mapping[str, Any]) -> Architecture | None:
    """The architecture of a transformers ``config.json``; None if it is of another family, or has parts unknown here."""
    family = config.get("model_type")
    odd = config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder")
    if family not in ("bert", "roberta", "mpnet") or config.get("hidden_act", "gelu") != "gelu" or odd:
        return None
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    if any(name not in config for name in sizes):
        return None
    layers, width, heads, inner, vocabulary = (int(config[name]) for name in sizes)
    return Architecture(
        family="mpnet" if family == "mpnet" else "bert",
        layers=layers,
        width=width,
        heads=heads,
        inner=inner,
        vocabulary=vocabulary,
        positions=int(config.get("max_position_embeddings", 512)),
        eps=float(config.get("layer_norm_eps", 1e-12)),
        offset=0 if family == "bert" else int(config.get("pad_token_id", 1)) + 1,
        types=0 if family == "mpnet" else int(config.get("type_vocab_size", 2)),
        buckets=int(config.get("relative_attention_num_buckets", 32)) if family == "mpnet" else 0,
    )


def fitting(architecture: Architecture, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of ``architecture`` among ``arrays``, float32. ``NotAdmissible`` if one is missing or misshapen.

    Names may begin with the model's name, as those of a network with a head do.
    """
    expected = architecture.shapes()
    word = next(iter(expected))
    prefix = next((name.removesuffix(word) for name in arrays if name.endswith(word)), "")
    missing = [name for name in expected if prefix + name not in arrays]
    odd = [name for name, shape in expected.items() if not missing and tuple(arrays[prefix + name].shape) != shape]
    for what, found in (("lack", missing), ("have another shape for", odd)):
        if found:
            raise NotAdmissible(
                f"The weights {what} {len(found)} of {len(expected)} parts, such as '{found[0]}'. "
                f"An encoder of the family {architecture.family} with these sizes is needed. Save or install it again."
            )
    return {name: np.asarray(arrays[prefix + name], dtype=np.float32) for name in expected}


def initial(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Random weights as BERT draws them: normal with deviation 0.02; norms begin as the identity."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, shape in architecture.shapes().items():
        if len(shape) == 1:
            weights[name] = np.full(shape, float(name.endswith("LayerNorm.weight")), dtype=np.float32)
        else:
            weights[name] = 0.02 * rng.standard_normal(shape, dtype=np.float32)
    return weights


def distances(architecture: Architecture, length: int) -> np.ndarray:
    """MPNet's bucket of every pair of positions, (length, length): near ones each their own, far ones in steps of a log."""
    half = architecture.buckets // 2
    exact = half // 2
    apart = np.arange(length)[:, None] - np.arange(length)[None, :]
    size = np.abs(apart)
    # In single precision, as the original: at the borders the last bit decides.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(128 / exact))
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(apart < 0, half, 0) + np.where(size < exact, size, far)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
