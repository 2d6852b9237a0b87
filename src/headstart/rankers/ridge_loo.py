"""Exact leave-one-out score of a ridge head on the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from headstart._linear import Decomposition
    from headstart.tasks import Task


def score(found: Decomposition, task: Task, targets: np.ndarray, blocks: np.ndarray) -> float | None:
    """The task's metric on rows left out (their whole block with them), at the best of 20 strengths.

    *Prefer* it *when* in doubt: it is the accuracy of a real predictor on unseen rows, from one decomposition.
    """
    _, left_out = found.select(task.columns(targets), blocks=blocks)
    return task.score(task.outcomes(targets, task.decode(task.raw(left_out))))
