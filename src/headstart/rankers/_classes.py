"""What several rankers ask of classes: their means, and how well assignments to groups tell them."""

from __future__ import annotations

import numpy as np


def class_means(X: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean row of every class (C, d), and the number of its rows (C,)."""
    counts = np.bincount(labels)
    return np.eye(len(counts))[:, labels] @ X / counts[:, None], counts


def expected_log_likelihood(Z: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Mean of ln Σ_z P(label | z) Z_iz over rows i, for assignments Z (n, groups) whose rows sum to 1 (LEEP).

    P(label | z) comes from the same rows. ``weights`` (n,) count a row that many times.
    """
    joint = np.eye(labels.max() + 1)[:, labels] @ (Z * weights[:, None])
    told = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float(weights @ np.log(np.maximum((Z * told[labels]).sum(axis=1), 1e-300)) / weights.sum())
