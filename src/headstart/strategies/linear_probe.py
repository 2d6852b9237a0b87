"""A linear head on frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart._linear import LinearScorer, head_on
from headstart._network import probe_views
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Problem


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression (ridge for numbers) on frozen features, its strength and temperature chosen out of fold.

    Where there are few photos it learns from several views of each (mirror image, crops), and averages its answers over the
    photo and its mirror image.

    *Prefer* it *when* there are more than a few examples a class and no time to train; it is the floor for every kind of
    fine-tuning. The closed-form leave-one-out ridge selects backbones and taps; this head ships.
    """

    views: int = 4  # at most

    name: ClassVar[str] = "linear_probe"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, train = problem.task, problem.train
        views = probe_views(lens, min(self.views, plan.views), len(train))
        looks = [lens.joined(train, view=view) for view in views]
        head = head_on(looks, task, train)
        tuned = head.tune(task, train, looks[0].offsets)
        scorer = LinearScorer(head.weights, head.bias, views[:2])
        return Predictor(tuned, lens, self, scorer, head.temperature, {"strength": head.strength, "views": len(views)})

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        return LinearScorer.restore(arrays, state.get("views", [""]))
