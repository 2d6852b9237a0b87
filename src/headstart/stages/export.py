"""After the verdict: the predictor as one self-contained file for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart._linear import LinearScorer
from headstart._network import NetworkScorer
from headstart.errors import NotAdmissible, UnknownName

if TYPE_CHECKING:
    from headstart.strategy import Predictor

FORMATS = ("onnx", "peft")
MIRROR = "mirror"


@dataclass(frozen=True)
class Exported:
    """Where the file and its description lie, and what the file answers."""

    path: Path
    about: Path
    outputs: tuple[str, ...]
    size: int


def export(predictor: Predictor, path: Path | str, *, format: str = "onnx") -> Exported:
    """Write ``predictor`` as one ONNX file at ``path``, and beside it a JSON that says how to size a photo for it; or, with
    ``format="peft"``, the low-rank pairs of ``lora`` as a folder that the peft library loads, with the head beside them.

    The file takes a batch of sized photos, uint8 (n, side, side, 3) RGB, and holds normalisation, network, head and
    calibration. Outputs: ``probabilities`` (n, classes) and ``class_index`` (n,), or ``chosen`` (n, classes) where an item
    may have several labels, or ``value`` (n,) for numbers. Class names stand in the file's metadata.

    Raises ``NotAdmissible`` if what ships reads no network that can be written.
    """
    if format not in FORMATS:
        raise UnknownName.of("export format", format, FORMATS)
    scorer = predictor.scorer
    if format == "peft":
        return _adapter(predictor, scorer, Path(path))
    if not predictor.lens.reads:
        raise NotAdmissible(
            f"'{predictor.strategy.name}' has no network, so there is nothing to write as ONNX. Use `headstart predict`, or "
            "export a run that ships a strategy on a backbone."
        )
    if isinstance(scorer, NetworkScorer):
        model = _of_network(predictor, scorer)
    elif isinstance(scorer, LinearScorer):
        model = _of_linear(predictor, scorer)
    else:
        raise NotAdmissible(f"'{predictor.strategy.name}' cannot be written as ONNX: only networks and linear heads can.")
    return _write(predictor, model, Path(path))


def _adapter(predictor: Predictor, scorer: Any, folder: Path) -> Exported:
    """The pairs in peft's format, ``head.safetensors`` (weight (K, width) and bias (K,)) and the classes beside them."""
    from headstart._pairs import write_adapter

    if not isinstance(scorer, NetworkScorer):
        raise NotAdmissible(
            f"'{predictor.strategy.name}' ships a linear head and no adapter. Export it as onnx, or fit 'lora'."
        )
    write_adapter(scorer.model.network, folder, base=predictor.lens.backbone.card.name.removeprefix("transformers:"))
    head = scorer.model.head
    _io.write_arrays(
        folder / "head.safetensors", {"weight": head.weight.detach().numpy(), "bias": head.bias.detach().numpy()}
    )
    about = folder / "about.json"
    _io.write_json(about, {"classes": list(getattr(predictor.task, "classes", ())), "temperature": predictor.temperature})
    size = sum((folder / name).stat().st_size for name in ("adapter_model.safetensors", "head.safetensors"))
    return Exported(folder, about, ("adapter", "head"), size)


def _of_linear(predictor: Predictor, scorer: LinearScorer) -> Any:
    if len(predictor.lens.reads) > 1:
        raise NotAdmissible(
            f"'{predictor.strategy.name}' reads {len(predictor.lens.reads)} layers, and an ONNX file has one. Use "
            "`headstart predict`, or export a run that ships 'linear_probe'."
        )
    backbone, tap = predictor.lens.backbone, predictor.lens.reads[0][1]
    model = backbone.onnx(tap=tap)
    mirrored = _mirrored(model, scorer.views)
    return _with_head(model, predictor, scorer.weights, scorer.bias, mirrored=mirrored)


def _of_network(predictor: Predictor, scorer: NetworkScorer) -> Any:
    from headstart._pairs import merged

    trained = scorer.model
    model = predictor.lens.backbone.onnx(merged(trained.network.module))
    if trained.cut is not None:
        _round_at(model, trained.cut)
    mirrored = _mirrored(model, scorer.views)
    weights, bias = trained.head.weight.detach().numpy().T, trained.head.bias.detach().numpy()
    return _with_head(model, predictor, weights, bias, mirrored=mirrored)


def _with_head(model: Any, predictor: Predictor, weights: np.ndarray, bias: np.ndarray, *, mirrored: bool = False) -> Any:
    """Append the head, in double precision as ``predict`` has it, and make its answers the outputs."""
    from onnx import TensorProto

    body, task = model.graph, predictor.task
    last = body.output[0].name
    draft = _Appended(body)
    row = draft.node("Cast", last, to=TensorProto.DOUBLE)
    scores = draft.node("Add", draft.node("MatMul", row, draft.constant(weights)), draft.constant(bias))
    if mirrored:
        looks = draft.node("Reshape", scores, draft.constant(np.asarray([2, -1, len(bias)], dtype=np.int64)))
        scores = draft.node("ReduceMean", looks, axes=[0], keepdims=0)
    scores = draft.node("Div", scores, draft.constant(np.asarray(predictor.temperature)))
    outputs = []
    if task.link == "identity":
        column = draft.node("Squeeze", scores, draft.constant(np.asarray([1], dtype=np.int64)))
        scale, mean = getattr(task, "scale", 1.0), getattr(task, "mean", 0.0)
        value = draft.node(
            "Add", draft.node("Mul", column, draft.constant(np.asarray(scale))), draft.constant(np.asarray(mean))
        )
        outputs.append(draft.output("value", value, TensorProto.FLOAT, ["n"]))
    else:
        proba = draft.node("Softmax", scores, axis=1) if task.link == "softmax" else draft.node("Sigmoid", scores)
        outputs.append(draft.output("probabilities", proba, TensorProto.FLOAT, ["n", len(bias)]))
        if task.link == "softmax":
            index = draft.node("ArgMax", scores, axis=1, keepdims=0)
            outputs.append(draft.output("class_index", index, TensorProto.INT64, ["n"]))
        else:
            chosen = draft.node("Greater", scores, draft.constant(np.asarray(0.0)))
            outputs.append(draft.output("chosen", chosen, TensorProto.BOOL, ["n", len(bias)]))
    del body.output[:]
    body.output.extend(outputs)
    return model


def _round_at(model: Any, tap: str) -> None:
    """Round the state at ``tap`` to half precision: the network was tuned on cached states, which are kept so."""
    from onnx import TensorProto, helper

    state = tap if tap == "head" else f"{tap}.state"
    for place, node in enumerate(model.graph.node):
        if state in node.output:
            node.output[list(node.output).index(state)] = f"{state}.exact"
            down = helper.make_node("Cast", [f"{state}.exact"], [f"{state}.half"], to=TensorProto.FLOAT16)
            up = helper.make_node("Cast", [f"{state}.half"], [state], to=TensorProto.FLOAT)
            model.graph.node.insert(place + 1, down)
            model.graph.node.insert(place + 2, up)
            return
    raise NotAdmissible(f"The graph has no tensor at '{tap}', so what was tuned above it cannot be written as ONNX.")


def _mirrored(model: Any, views: Sequence[str]) -> bool:
    """Whether ``views`` hold the mirror image. The network then sees every photo and every mirror image: the scores of both
    are averaged."""
    from onnx import helper, numpy_helper

    if not set(views) <= {"", "flip"}:
        raise NotAdmissible(f"Scores averaged over the views {', '.join(views)} cannot be written as ONNX; 'flip' can.")
    if "flip" not in views:
        return False

    body = model.graph
    images, both = body.input[0].name, "images.both"
    for node in body.node:
        node.input[:] = [both if name == images else name for name in node.input]
    ends = {"start": -1, "end": np.iinfo(np.int64).min, "axis": 2, "step": -1}
    for name, value in ends.items():
        body.initializer.append(numpy_helper.from_array(np.asarray([value], dtype=np.int64), f"{MIRROR}.{name}"))
    flip = helper.make_node("Slice", [images, *(f"{MIRROR}.{name}" for name in ends)], [f"{MIRROR}.images"])
    join = helper.make_node("Concat", [images, f"{MIRROR}.images"], [both], axis=0)
    body.node.insert(0, flip)
    body.node.insert(1, join)
    return True


class _Appended:
    """Nodes and constants that are added at the end of a graph."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"head.{len(self.body.node)}"
        self.body.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"head.constant{len(self.body.initializer)}"
        kept = array if array.dtype == np.int64 else array.astype(np.float64)
        self.body.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return name

    def output(self, name: str, value: str, kind: int, shape: list[Any]) -> Any:
        from onnx import helper

        self.body.node.append(helper.make_node("Cast", [value], [name], name=name, to=kind))
        return helper.make_tensor_value_info(name, kind, shape)


def _write(predictor: Predictor, model: Any, path: Path) -> Exported:
    import onnx

    outputs = tuple(output.name for output in model.graph.output)
    about = _about(predictor, model, outputs)
    for key in ("task", "classes", "input", "made_with"):
        model.metadata_props.add(key=key, value=json.dumps(about[key], ensure_ascii=True))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    beside = path.with_suffix(".json")
    _io.write_bytes(path, content)
    _io.write_json(beside, about)
    return Exported(path, beside, outputs, len(content))


def _about(predictor: Predictor, model: Any, outputs: tuple[str, ...]) -> dict[str, Any]:
    from onnx import helper

    card, given = predictor.lens.backbone.card, model.graph.input[0]
    dims = [dim.dim_value or dim.dim_param for dim in given.type.tensor_type.shape.dim]
    kind = str(helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type))
    sizing = _sizing(card.preprocessing) if card.kind == "image" else ["give the rows as they are"]
    return {
        "task": predictor.task.name,
        "classes": list(predictor.task.labels),
        "input": {"name": given.name, "shape": dims, "type": kind, "sizing": sizing},
        "outputs": list(outputs),
        "made_with": {"strategy": predictor.strategy.name, "backbone": card.name, "licence": card.licence},
    }


def _sizing(preprocessing: Mapping[str, Any]) -> list[str]:
    """What must be done to a photo before the file can read it."""
    side, crop = preprocessing["side"], preprocessing.get("crop", 1.0)
    area = f"the middle square, as wide as {crop:.0%} of the short side" if crop else "the whole photo, squashed"
    return [
        "turn the photo upright as its EXIF orientation says, and make it RGB",
        f"take {area}",
        f"resize it to {side} x {side} pixels with the {str(preprocessing.get('resample')).lower()} filter",
        "give it as uint8, channels last; normalisation is inside the file",
    ]
