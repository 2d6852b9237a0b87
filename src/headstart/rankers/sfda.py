"""Fisher discriminant after the hard rows were pulled toward the other classes (SFDA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart.rankers._classes import class_means

if TYPE_CHECKING:
    from headstart.rankers import Seen


def score(seen: Seen) -> float | None:
    """Mean probability of the right class by a regularised Fisher discriminant on rows made harder (Shao et al. 2022).

    A first discriminant says how sure each row is; the less sure, the more of it is replaced by the mean of the other
    classes' means; a second one, as strongly regularised, is fitted to the result and asked about it. 0 to 1. It is asked
    about the rows it was fitted to: with fewer rows than columns every candidate nears 1. None unless each row has one
    class. Row weights only turn the axes. *Prefer* it *when* rows outnumber columns and all of the network will be tuned.
    """
    labels = seen.labels
    if labels is None:
        return None
    X, width = seen.found.principal(), seen.found.matrix.shape[1]
    means, _ = class_means(X, labels)
    first, strength = _discriminant(X, labels, width=width)
    sure = _softmax(first)[np.arange(len(X)), labels][:, None]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    second, _ = _discriminant(sure * X + (1 - sure) * others[labels], labels, width=width, strength=strength)
    return float(second[np.arange(len(X)), labels].mean())


def _discriminant(
    X: np.ndarray, labels: np.ndarray, *, width: int, strength: float | None = None
) -> tuple[np.ndarray, float]:
    """Class probabilities of the rows (n, C), and the share of a sphere in the covariance within classes.

    The share is exp(−5 × the largest variance within classes) unless given: small variances are mostly noise.
    """
    means, counts = class_means(X, labels)
    centred = X - means[labels]
    within = centred.T @ centred / len(X)
    if strength is None:
        strength = max(float(np.exp(-5 * _largest(within))), 1e-10)
    sphere = strength * np.trace(within) / width
    # Where every row is its class's mean nothing is left within: a trace of the whole variance keeps this solvable.
    sphere = max(sphere, 1e-12 * float((X**2).sum()) / len(X) / width, 1e-300)
    solved = np.linalg.solve((1 - strength) * within + sphere * np.eye(len(within)), means.T)
    return _softmax(X @ solved - 0.5 * (means.T * solved).sum(axis=0) + np.log(counts / len(X))), strength


def _largest(within: np.ndarray) -> float:
    if len(within) < 2 or not within.any():
        return float(np.trace(within))
    from scipy.sparse.linalg import eigsh  # a few products; all eigenvalues would take longer than the score

    return float(eigsh(within, k=1, v0=np.ones(len(within)), return_eigenvectors=False)[0])


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
