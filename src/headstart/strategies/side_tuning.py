"""A small network beside the frozen one, fed with what stands at its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _network, _training
from headstart._linear import Head, LinearScorer, head_on
from headstart.backbone import Network, feature_taps
from headstart.features import Features
from headstart.strategy import Plan, Predictor, Recipe

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples, Problem
    from headstart.strategy import Scorer


@dataclass(frozen=True)
class SideTuning:
    """A ladder beside the frozen network (side-tuning, Zhang et al. 2020; as a ladder, Sung, Cho & Bansal 2022).

    At tap l, with its row h_l brought to mean 0 and deviation 1, x_l = μ_l D_l h_l + (1 − μ_l) s_{l−1} and
    s_l = x_l + U_l gelu(x_l); μ_l is learned. The head sits on the row that the lens reads and on the last s. Its part for
    s begins at zero, so that the start is the linear probe. The rows of all taps come from one cached pass, and no gradient
    goes through the network. Where held-out rows do not get a lower loss from the ladder, or none can be held out (fewer
    than about four examples a class), ``linear_probe`` ships.

    *Prefer it when* the network is too large to train, and the answer may lie in several of its layers together.
    """

    width: int = 32  # of s
    epochs: int = 20  # at most; they read cached rows
    rate: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 32
    patience: int = 5
    held_out: float = 0.15
    views: int = 4  # at most

    name: ClassVar[str] = "side_tuning"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features", "layers"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = False
    costly: ClassVar[bool] = True
    on_request: ClassVar[bool] = True  # it writes no ONNX file, so that it does not ship unasked

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, examples = problem.task, _training.in_order(problem.train)
        rows, held = _training.hold_out(task, examples, fraction=self.held_out, seed=seed)
        views = _network.probe_views(lens, min(self.views, plan.views), len(examples))
        if not len(held):
            return self._probe(task, examples, lens, views, {})
        labels, through = _training.Labels.of(task, examples), _through(lens, task.unit)
        looks = [_Rows.of(through, examples, view) for view in views]
        first = _head(task, examples.take(rows), lens, views)
        with _network.contained(plan.threads):
            ladder = _ladder([part.shape[1] for part in looks[0].parts], self.width, seed)
            _calibrate(ladder, looks[0])
            model = _network.Model.of(ladder, task.width)
            weights = np.concatenate([first.weights, np.zeros((self.width, first.weights.shape[1]))])
            model.set_head(weights, first.bias)
            work = _training.Work(
                model,
                _batches(labels, looks),
                task=task,
                rows=rows,
                held=held,
                groups=self._groups(model),
                schedule=self._schedule(plan, len(rows)),
                seed=seed,
                counts=np.diff(labels.offsets),
                what=f"{self.name} of {lens.backbone.card.name}",
            )
            before = work.losses()
            keep = Recipe(self, lens).checkpoint(problem, plan=plan, seed=seed)
            notes = _training.train(work, keep=keep).notes()
            if not work.losses().mean() < before.mean():
                return self._probe(task, examples, lens, views, notes)
            scorer = SideScorer(model, views[:2], task.unit)
            tuned, temperature = _training.settled(scorer, task, examples.take(held), through)
        return Predictor(tuned, through, self, scorer, temperature, {**notes, "share": 1.0, "views": len(views)})

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        if state["scorer"] == "linear":
            return LinearScorer.restore(arrays, state["views"])
        return SideScorer.restore(state, arrays)

    def _probe(self, task: Any, examples: Examples, lens: Lens, views: Sequence[str], notes: Mapping[str, Any]) -> Predictor:
        """What ``linear_probe`` gives."""
        head = _head(task, examples, lens, views)
        tuned = head.tune(task, examples, lens.read(examples)[0].offsets)
        scorer = LinearScorer(head.weights, head.bias, tuple(views[:2]))
        return Predictor(tuned, lens, self, scorer, head.temperature, {**notes, "share": 0.0, "views": len(views)})

    def _schedule(self, plan: Plan, rows: int) -> _training.Schedule:
        """The ladder begins at random, so that the plan's cap is that of a network from nothing."""
        epochs, passes = min(self.epochs, plan.epochs), _training.passes(rows)
        return _training.Schedule(epochs, self.batch, patience=self.patience, passes=passes)

    def _groups(self, model: _network.Model) -> list[dict[str, Any]]:
        """Matrices of the ladder decay; the head, which begins as the probe, does not."""
        matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        return [
            {"params": matrices, "lr": self.rate, "weight_decay": self.weight_decay},
            {"params": [*others, *model.head.parameters()], "lr": self.rate, "weight_decay": 0.0},
        ]


@dataclass(frozen=True, eq=False)
class SideScorer:
    """Raw scores of the head on the read row and the ladder's last state, averaged over ``views`` of each item."""

    model: _network.Model
    views: tuple[str, ...] = ("",)
    unit: str = "item"

    def scores(self, examples: Examples, lens: Lens) -> Features:
        rows, counts = [np.zeros((0, self.model.head.out_features))], [np.zeros(0, dtype=int)]
        for start in range(0, len(examples), _network.PART):
            part = examples.take(np.arange(start, min(start + _network.PART, len(examples))))
            looks = [_Rows.of(lens, part, view) for view in self.views]
            found = [self.model.predict([look.take([i]) for i in range(len(part))]) for look in looks]
            rows.append(np.mean([one.rows for one in found], axis=0))
            counts.append(np.diff(found[0].offsets))
        return Features(np.concatenate(rows), np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(int))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {name: value.numpy().copy() for name, value in self.model.tensors().items()}
        return {"scorer": "side", "views": list(self.views), "unit": self.unit}, arrays

    @classmethod
    def restore(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SideScorer:
        import torch

        downs = [name for name in arrays if name.startswith("network.down.")]
        width = len(arrays[downs[0]])
        taps = [arrays[f"network.down.{place}"].shape[1] for place in range(len(downs))]
        read = arrays["head.weight"].shape[1] - width
        model = _network.Model.of(_ladder([read, *taps], width, 0), len(arrays["head.bias"]))
        model.load({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        return cls(model, tuple(state["views"]), state["unit"])


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows (units, width) of what the lens reads and of every tap; item i owns ``offsets[i]:offsets[i + 1]`` of each."""

    parts: tuple[np.ndarray, ...]
    offsets: np.ndarray

    @classmethod
    def of(cls, lens: Lens, examples: Examples, view: str) -> _Rows:
        found = lens.read(examples, view=view)
        return cls(tuple(one.rows for one in found), found[0].offsets)

    def take(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows of some items, all parts side by side, float32."""
        own = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in index])
        return np.concatenate([part[own] for part in self.parts], axis=1).astype(np.float32)


def _through(lens: Lens, unit: str) -> Lens:
    """The lens that reads its own tap, and then all taps from input to output."""
    taps = tuple((lens.backbone, tap.name) for tap in feature_taps(lens.backbone, unit))
    return replace(lens, reads=(*lens.reads, *taps), cut=None, plan=())


def _head(task: Any, examples: Examples, lens: Lens, views: Sequence[str]) -> Head:
    return head_on([lens.joined(examples, view=view) for view in views], task, examples)


def _batches(labels: _training.Labels, looks: Sequence[_Rows]) -> _training.Batches:
    """Cached rows, of each batch a random view."""
    import torch

    def batches(index: np.ndarray, generator: Any) -> tuple[Any, Any, Any]:
        look = 0 if generator is None else int(torch.randint(len(looks), (1,), generator=generator))
        return torch.from_numpy(looks[look].take(index)), *labels.take(index)

    return batches


def _ladder(widths: Sequence[int], width: int, seed: int) -> Network:
    """The side network on the rows of the read tap and of all taps, side by side: (units, widths[0] + width)."""
    import torch
    from torch import nn
    from torch.nn import functional

    read, *taps = widths
    draw = torch.Generator().manual_seed(seed)
    module: Any = nn.Module()

    def matrix(outputs: int, inputs: int) -> Any:
        return nn.Parameter(torch.randn(outputs, inputs, generator=draw) / inputs**0.5)

    module.down = nn.ParameterList(matrix(width, one) for one in taps)
    module.up = nn.ParameterList(matrix(width, width) for _ in taps)
    module.gate = nn.Parameter(torch.zeros(len(taps)))
    module.register_buffer("mean", torch.zeros(sum(taps)))
    module.register_buffer("scale", torch.ones(sum(taps)))
    borders = list(pairwise(np.cumsum([0, *taps]).tolist()))

    def above(rows: Any, cut: str | None) -> Any:
        normal, share = (rows[:, read:] - module.mean) * module.scale, module.gate.sigmoid()
        state = rows.new_zeros(len(rows), width)
        for place, (start, stop) in enumerate(borders):
            x = share[place] * (normal[:, start:stop] @ module.down[place].T) + (1 - share[place]) * state
            state = x + functional.gelu(x) @ module.up[place].T
        return torch.cat([rows[:, :read], state], dim=1)

    def collate(states: Sequence[np.ndarray]) -> Any:
        return torch.from_numpy(np.concatenate(states))

    return Network(module, lambda x, cut: x, above, read + width, collate=collate, count=len)


def _calibrate(ladder: Network, rows: _Rows) -> None:
    """Let the ladder see every column of the taps with mean 0 and deviation 1; a constant one with 0."""
    import torch

    taps = rows.parts[1:]
    mean = np.concatenate([part.mean(axis=0, dtype=np.float64) for part in taps])
    deviation = np.concatenate([part.std(axis=0, dtype=np.float64) for part in taps])
    scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
    ladder.module.mean.copy_(torch.from_numpy(mean))
    ladder.module.scale.copy_(torch.from_numpy(scale))
