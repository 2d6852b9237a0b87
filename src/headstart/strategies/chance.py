"""The answer that looks at nothing: the commonest class, or the mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.features import Features, unit_offsets
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples, Problem


@dataclass(frozen=True)
class Chance:
    """Predicts the training data's class shares (or mean) for everything. The floor that any method must leave.

    *Prefer* it *when* never; it is there to be beaten.
    """

    name: ClassVar[str] = "chance"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    starts_from: ClassVar[str] = "nothing"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        columns = problem.task.columns(problem.train.targets)
        share = columns.mean(axis=0)
        safe = np.clip(share, 1e-6, 1 - 1e-6)
        bias = {"softmax": np.log(safe), "sigmoid": np.log(safe / (1 - safe)), "identity": share}[problem.task.link]
        return Predictor(problem.task, lens, self, Constant(bias, problem.task.unit))

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        return Constant(arrays["bias"], state["unit"])


@dataclass(frozen=True, eq=False)
class Constant:
    """The same raw scores for every unit."""

    bias: np.ndarray
    unit: str

    def scores(self, examples: Examples, lens: Lens) -> Features:
        offsets = unit_offsets(examples, self.unit)
        return Features(np.tile(self.bias, (offsets[-1], 1)), offsets)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"unit": self.unit}, {"bias": self.bias}
