"""Overlap of the classes as spheres (GBC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart.rankers._classes import class_means

if TYPE_CHECKING:
    from headstart.rankers import Seen

AXES = 64
FLOOR = 1e-4  # of a variance, as in the authors' code


def score(seen: Seen) -> float | None:
    """Minus the sum of Bhattacharyya coefficients over ordered pairs of classes (Pándy et al. 2022).

    Each class is a spherical normal distribution on the first 64 principal axes. From −C(C − 1), all classes in one place,
    to 0, all apart. None unless each row has one class. Classes count alike, so row weights only turn the axes. *Prefer* it
    *when* the question is which of several targets suits one model.
    """
    if seen.labels is None:
        return None
    X = seen.found.principal(AXES)
    means, counts = class_means(X, seen.labels)
    variances = class_means(np.square(X - means[seen.labels]), seen.labels)[0]
    sphere = np.maximum(variances, FLOOR).mean(axis=1) if X.shape[1] else np.full(len(counts), FLOOR)
    squares = (means**2).sum(axis=1)
    between = np.maximum(squares[:, None] + squares - 2 * means @ means.T, 0)
    middle = (sphere[:, None] + sphere) / 2
    distance = between / middle / 8 + 0.5 * np.log(middle / np.sqrt(sphere[:, None] * sphere))
    return float(len(counts) - np.exp(-distance).sum())
