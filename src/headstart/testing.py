"""For authors of plug-ins and for our own tests: a toy world where the right answer is known, in seconds.

Rows of twelve numbers are drawn from a normal distribution. What they mean depends on six planted directions: the *size*
of a row's part along a direction (``informative="features"``), its signed part (``"columns"``), or on nothing at all. A
useful toy backbone "was trained" in this world: its first stage holds the planted directions, its second their sizes. So
transfer must help, not matter, or hurt, and every verb can be checked against what was planted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _io
from headstart._laws import check_backbone, check_ranker, check_strategy, check_task
from headstart.backbone import Card, Network, Tap, feature_taps
from headstart.problem import Exam, Examples, Items, Problem

if TYPE_CHECKING:
    from headstart.features import Features
    from headstart.tasks import Task

__all__ = ["check_backbone", "check_ranker", "check_strategy", "check_task", "toy_backbone", "toy_problem"]

COLUMNS = 12
DIRECTIONS = 6
STAGES = ("stage1", "stage2", "stage3")


def planted() -> np.ndarray:
    """The directions of the toy world: (6, 12), orthonormal rows, always the same."""
    return np.linalg.qr(np.random.default_rng(2718).normal(size=(COLUMNS, DIRECTIONS)))[0].T


def toy_backbone(
    *, useful: bool = True, pretrained: bool = True, kind: str = "numbers", width: int = 16, seed: int = 0
) -> ToyBackbone:
    """A small three-stage network on rows of numbers, as a ``Backbone``.

    ``useful`` ones hold the planted directions; others random ones. ``pretrained=False`` is the honest from-scratch twin
    (random weights from ``seed``; ``network(seed=…)`` draws new ones).

    >>> [tap.name for tap in toy_backbone().taps]
    ['stage1', 'stage2', 'stage3']
    """
    if width < 2 * DIRECTIONS:
        raise ValueError(f"width is {width}; the planted directions need at least {2 * DIRECTIONS}. Give a larger width.")
    return ToyBackbone(useful and pretrained, pretrained, kind, width, seed)


@dataclass(frozen=True, eq=False)
class ToyBackbone:
    """What ``toy_backbone`` makes. Features run in numpy, training in torch; both from the same weights."""

    useful: bool
    pretrained: bool
    kind: str
    width: int
    seed: int
    trainable: ClassVar[bool] = True
    shard: ClassVar[int] = 256

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """The parameters, float32, named as in the torch network."""
        return _useful(self.width, self.seed) if self.useful else _random(self.width, self.seed)

    @cached_property
    def fingerprint(self) -> str:
        return _io.fingerprint({"toy": True, "pretrained": self.pretrained, **self.weights})

    @property
    def taps(self) -> tuple[Tap, ...]:
        return tuple(Tap(name, (i + 1) / len(STAGES), self.width, pooling="none") for i, name in enumerate(STAGES))

    @property
    def card(self) -> Card:
        quality = ("useful" if self.useful else "useless") if self.pretrained else "untrained"
        count = sum(weight.size for weight in self.weights.values())
        return Card(
            name=f"toy_{quality}",
            kind=self.kind,
            trained_on="the toy world" if self.pretrained else "nothing",
            licence="Apache-2.0",
            parameters=count,
            weights_bytes=4 * count,
            preprocessing={"columns": COLUMNS},
        )

    def spec(self) -> dict[str, str]:
        """What makes this backbone this one."""
        return {"name": self.card.name, "fingerprint": self.fingerprint}

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> np.ndarray:
        """Rows as one float32 table."""
        return np.asarray([np.asarray(row, dtype=np.float32) for row in inputs]).reshape(-1, COLUMNS)

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """What stands after each stage."""
        from headstart.features import Features

        state, found = self.prepare(inputs, view=view).astype(np.float64), {}
        for stage in STAGES:
            # float64 inside, so that a row's float32 bits do not depend on the rows beside it
            state = np.maximum(state @ self.weights[f"{stage}.weight"].T + self.weights[f"{stage}.bias"], 0.0)
            found[stage] = Features.one_each(state.astype(np.float32))
        return {tap: found[tap] for tap in taps}

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> np.ndarray:
        """A stage's whole state, which is its row."""
        return self.features(inputs, [tap], view=view)[tap].rows

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        return ()

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new torch copy."""
        import torch

        feature_taps(self, unit)

        sizes = [COLUMNS, *[self.width] * len(STAGES)]
        layers = {name: torch.nn.Linear(sizes[i], sizes[i + 1]) for i, name in enumerate(STAGES)}
        module = torch.nn.ModuleDict(layers)
        weights = self.weights if self.pretrained else _random(self.width, seed)
        module.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in weights.items()})

        def run(state: Any, names: Sequence[str]) -> Any:
            for name in names:
                state = torch.relu(module[name](state))
            return state

        def below(x: Any, tap: str | None) -> Any:
            return run(x, STAGES[: _after(tap)])

        def above(state: Any, tap: str | None) -> Any:
            return run(state, STAGES[_after(tap) :])

        return Network(module, below, above, self.width, tuple((name, (f"{name}.",)) for name in STAGES))

    def untrained(self, *, slim: bool = False) -> ToyBackbone:
        return ToyBackbone(False, False, self.kind, self.width, self.seed)

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """The ONNX graph: rows (n, 12) → the stage ``tap``, by default the last (n, width)."""
        from onnx import TensorProto, helper, numpy_helper

        weights = self.weights
        if module is not None:
            weights = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
        nodes, last = [], "input"
        end = tap or STAGES[-1]
        for stage in STAGES[: _after(end)]:
            out = "features" if stage == end else f"{stage}.out"
            nodes.append(helper.make_node("Gemm", [last, f"{stage}.weight", f"{stage}.bias"], [f"{stage}.sum"], transB=1))
            nodes.append(helper.make_node("Relu", [f"{stage}.sum"], [out]))
            last = out
        given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["items", COLUMNS])
        made = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["items", self.width])
        constants = [numpy_helper.from_array(np.ascontiguousarray(weight), name) for name, weight in weights.items()]
        graph = helper.make_graph(nodes, "toy", [given], [made], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def toy_problem(
    *,
    task: str = "classification",
    classes: int = 3,
    n: int = 120,
    exam: int = 150,
    informative: str = "features",
    noise: float = 0.0,
    block: int = 1,
    seed: int = 0,
) -> tuple[Problem, Exam]:
    """A problem of the toy world with ``n`` training rows, and its exam.

    ``task`` is ``classification``, ``multi_label`` or ``regression``. ``informative`` says what the labels follow:
    ``"features"`` (sizes along the planted directions: no linear use of the columns finds them, a useful toy backbone
    does), ``"columns"`` (signed parts: the columns suffice, the backbone's upper stages have lost them) or ``"nothing"``.
    ``noise`` is the part of labels drawn anew (regression: the standard deviation added). ``block`` rows in turn share
    one block.
    """
    draw = np.random.default_rng([seed, classes, 31])
    rows = draw.normal(size=(n + exam, COLUMNS))
    parts = rows @ planted().T
    signals = {"features": np.abs(parts), "columns": parts, "nothing": draw.normal(size=parts.shape)}[informative]
    targets, kind = _label(signals, task, classes, noise, draw)
    items = Items(
        kind="numbers",
        inputs=list(rows),
        names=tuple(f"row-{i:04d}" for i in range(len(rows))),
        fingerprints=tuple(_io.digest(row.tobytes()) for row in rows),
        targets=targets,
        blocks=None if block == 1 else np.asarray([f"block-{i // block:04d}" for i in range(len(rows))], dtype=object),
    )
    everything = Examples.of(items)
    return Problem(kind, everything.take(np.arange(n))), Exam(everything.take(np.arange(n, n + exam)))


def _label(signals: np.ndarray, task: str, classes: int, noise: float, draw: np.random.Generator) -> tuple[np.ndarray, Task]:
    from headstart import registry

    names = tuple(f"class-{letter}" for letter in "abcdef"[:classes])
    if task == "regression":
        values = signals @ np.linspace(1.0, -1.0, DIRECTIONS) + noise * draw.normal(size=len(signals))
        return values, registry.get("tasks", "regression")(mean=float(values.mean()), scale=float(values.std()))
    redrawn = draw.random(len(signals)) < noise
    if task == "multi_label":
        on = signals[:, :classes] > np.median(signals[:, :classes], axis=0)
        on[redrawn] = draw.random((int(redrawn.sum()), classes)) < 0.5
        targets = np.empty(len(on), dtype=object)
        for i, row in enumerate(on):
            targets[i] = tuple(name for name, yes in zip(names, row, strict=True) if yes)
        return targets, registry.get("tasks", "multi_label")(classes=names)
    index = signals[:, :classes].argmax(axis=1)
    index[redrawn] = draw.integers(classes, size=int(redrawn.sum()))
    return np.asarray(names, dtype=object)[index], registry.get("tasks", "classification")(classes=names)


def _after(tap: str | None) -> int:
    return 0 if tap is None else STAGES.index(tap) + 1


def _random(width: int, seed: int) -> dict[str, np.ndarray]:
    draw, weights, last = np.random.default_rng([seed, 17]), {}, COLUMNS
    for stage in STAGES:
        weights[f"{stage}.weight"] = (draw.normal(size=(width, last)) * np.sqrt(2 / last)).astype(np.float32)
        weights[f"{stage}.bias"] = (0.1 * draw.normal(size=width)).astype(np.float32)
        last = width
    return weights


def _useful(width: int, seed: int) -> dict[str, np.ndarray]:
    weights = _random(width, seed)
    first, second, third = (weights[f"{stage}.weight"] for stage in STAGES)
    known = 2 * DIRECTIONS
    first[:known] = np.concatenate([planted(), -planted()])
    second[:DIRECTIONS] = 0.0  # |part| = relu(part) + relu(-part)
    second[:DIRECTIONS, :known] = np.tile(np.eye(DIRECTIONS), 2)
    third[:] = np.eye(width) + 0.2 * third  # the top has its own habits
    for stage, quiet in zip(STAGES, (known, DIRECTIONS, width), strict=True):
        weights[f"{stage}.bias"][:quiet] = 0.0
    return weights
