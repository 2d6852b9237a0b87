"""Between-class variance in units of a shrunken covariance (H-score)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from headstart.rankers import Seen


def score(seen: Seen) -> float | None:
    """Shrunken H-score (1 − a) Σ_c π_c d_cᵀ Σ_a⁻¹ d_c (Bao et al. 2019; Ibrahim et al. 2022), in closed form.

    d_c is what the class mean differs from the mean, Σ_a = (1 − a) Σ + a m I the covariance that Ledoit & Wolf (2004)
    estimate. Between 0 and the smaller of width and classes − 1. Without the shrinkage it grows with the width, whatever the
    labels are. None unless each row has one class. Row weights count, in the covariance too. *Prefer* it *when* classes are
    compact and many candidates must be scored fast.
    """
    found, labels = seen.found, seen.labels
    if labels is None or not len(found.s2):
        return None
    variance = found.s2 / len(labels)
    shrinkage, level = _ledoit_wolf(found.U, found.s2, width=found.matrix.shape[1])
    # Class means on the principal axes are sums of √w U √s2: the covariance is diagonal there.
    one_hot = np.eye(labels.max() + 1)[:, labels] * np.sqrt(found.weights)
    squares = (one_hot @ found.U) ** 2 / (one_hot**2).sum(axis=1, keepdims=True)
    return float((1 - shrinkage) * (squares @ (variance / ((1 - shrinkage) * variance + shrinkage * level))).sum())


def _ledoit_wolf(U: np.ndarray, s2: np.ndarray, *, width: int) -> tuple[float, float]:
    """The shrinkage a and the level m of Ledoit & Wolf's covariance of n rows U √s2 in ``width`` columns."""
    n = len(U)
    level, squared = s2.sum() / (n * width), (s2**2).sum() / n**2
    distance = squared - width * level**2  # of the covariance from a sphere
    if distance <= 1e-12 * squared:
        return 0.0, float(level)
    return float(min(1.0, (((U**2 @ s2) ** 2).sum() / n - squared) / n / distance)), float(level)
