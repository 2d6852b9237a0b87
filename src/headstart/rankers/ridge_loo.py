"""Exact leave-one-out score of a ridge head on the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.rankers import Seen


def score(seen: Seen) -> float | None:
    """The task's metric on rows left out (their whole block with them), at the best of 20 strengths. Only the shares of the
    classes are taken as known.

    *Prefer* it *when* in doubt: it is the accuracy of a real predictor on unseen rows, from one decomposition.
    """
    return seen.task.score(seen.task.outcomes(seen.targets, seen.task.decode(seen.task.raw(seen.left_out))))
