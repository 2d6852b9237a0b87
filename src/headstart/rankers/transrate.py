"""How many more bits all features need than those of one class (TransRate)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from headstart.rankers import Seen

DISTORTION = 1e-4


def score(seen: Seen) -> float | None:
    """Coding rate of the features less the mean rate of the classes, in nats (Huang et al. 2022).

    The rate of n rows F is ½ ln det(I + FᵀF / (n ε)) at ε = 1e-4, the rows centred once, all together. At most the rate of
    all features, so it grows with width and scale, and classes of fewer rows than columns say little. None unless each row
    has one class. Classes count alike; row weights only move the centre. *Prefer* ``hscore``; this one *when* rows are many
    and candidates equally wide.
    """
    if seen.labels is None:
        return None
    X = seen.found.principal()
    rates = [_rate(X[seen.labels == label]) for label in range(seen.labels.max() + 1)]
    return _rate(X) - float(np.mean(rates))


def _rate(X: np.ndarray) -> float:
    n, d = X.shape
    gram = X @ X.T if n < d else X.T @ X
    return float(np.linalg.slogdet(np.eye(len(gram)) + gram / (n * DISTORTION))[1]) / 2
