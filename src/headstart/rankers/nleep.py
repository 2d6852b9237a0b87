"""How well clusters of the features tell the classes (N-LEEP, light)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from headstart.rankers._classes import expected_log_likelihood

if TYPE_CHECKING:
    from headstart.rankers import Seen

CENTRES = 5  # a class
CLASSES = 100  # more of them take long
ROWS = 2  # a centre, on average: with fewer, each row is its own cluster and every candidate looks perfect


def score(seen: Seen) -> float | None:
    """Mean log probability of the label, told from soft assignments to 5 clusters a class (Li et al. 2021).

    k-means on the principal axes that hold 80 % of the variance, then softmax(−d² / 2τ²), τ² the mean variance an axis has
    within clusters: the paper's full mixture of Gaussians at a fiftieth of the cost. At most 0; minus the entropy of the
    labels when clusters say nothing. None unless each row has one class, above 100 classes, and below 10 rows a class. Row
    weights count in the mean, not in the clusters. The seed is fixed; another one moves the score by about 0.05. *Prefer* it
    *when* candidates differ in architecture.
    """
    labels = seen.labels
    if labels is None or (classes := labels.max() + 1) > CLASSES or len(labels) < ROWS * CENTRES * classes:
        return None
    X = seen.found.principal(energy=0.8)
    Z = _assignments(X, int(CENTRES * classes)) if X.shape[1] else np.ones((len(X), 1))
    return expected_log_likelihood(Z, labels, seen.found.weights)


def _assignments(X: np.ndarray, k: int) -> np.ndarray:
    """Probabilities (n, k) of belonging to each of k clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # The seeds are drawn by position: rows stand by their length, so that neither their order nor a rotation matters.
    order = np.argsort((X**2).sum(axis=1), kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than centres: some stay empty
        found = KMeans(k, n_init=1, random_state=0).fit(np.ascontiguousarray(X[order]))
    squares = found.transform(X) ** 2
    spread = max(found.inertia_ / X.size, 1e-12 * float((X**2).mean()), 1e-300)
    raised = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * spread))
    return raised / raised.sum(axis=1, keepdims=True)
