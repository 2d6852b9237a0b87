"""A linear head on frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart._linear import LinearScorer, probe_head
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Problem


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression (ridge for numbers) on frozen features, its strength and temperature chosen out of fold.

    *Prefer* it *when* there are more than a few examples a class and no time to train; it is the floor for every kind of
    fine-tuning. The closed-form leave-one-out ridge selects backbones and taps; this head ships.
    """

    name: ClassVar[str] = "linear_probe"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, train = problem.task, problem.train
        found = lens.joined(train)
        X, targets, blocks = task.rows(found, train)
        head = probe_head(X, task.unitwise, targets, blocks=blocks, weights=task.item_weights(train.targets))
        scorer = LinearScorer(head.weights, head.bias)
        tuned = head.tune(task, train, found.offsets)
        return Predictor(tuned, lens, self, scorer, head.temperature, {"strength": head.strength})

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        return LinearScorer.restore(arrays)
