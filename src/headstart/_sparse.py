"""A tuned linear head for wide, sparse features: n-grams of texts, windows around words."""

from __future__ import annotations

import warnings
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart._linear import MOST, Decomposition, Head, fit_temperature, fold_pairs, some_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from headstart.tasks import Task

STRENGTHS = (0.1, 0.3, 1.0, 3.0)  # C of the support vector machine: how much a training error costs
WORK = 2.5e7  # numbers × classes that choosing C reads at most; a few seconds
_alone = Lock()  # liblinear draws from one random generator of the whole process
TOLERANCE = 0.1  # liblinear's own; a smaller one costs up to half as much time again and moves accuracy by 0.0005


def sparse_head(
    X: csr_matrix, task: Task, targets: np.ndarray, *, blocks: np.ndarray, weights: np.ndarray | None = None
) -> Head:
    """The head that ships: one-against-rest support vector machines for classes and labels, ridge for numbers.

    Squared hinge loss, dual coordinate descent (Fan et al. 2008). C is the one with the best out-of-fold score on some
    rows in whole blocks, of equal ones the one with the better log-loss. Logistic heads are as accurate on texts, a tenth
    better in log-loss where classes are many, and take two to twenty times as long.
    """
    order = _canonical(X, task.columns(targets))  # coordinate descent ends a little elsewhere in another order
    X, targets, blocks = X[order], targets[order], blocks[order]
    weights = np.ones(len(order)) if weights is None else weights[order]
    fitted = _ridge if task.link == "identity" else _machines
    head = fitted(X, task, targets, blocks, weights)
    back = np.argsort(order[head.rows])
    return replace(head, rows=order[head.rows][back], scores=head.scores[back])


def _machines(X: csr_matrix, task: Task, targets: np.ndarray, blocks: np.ndarray, weights: np.ndarray) -> Head:
    Y = task.columns(targets)
    per_row = max(1, X.nnz // X.shape[0]) * (1 if Y.shape[1] == 2 and task.link == "softmax" else Y.shape[1])
    rows = some_blocks(Y, blocks, task.link, most=int(np.clip(WORK / per_row, MOST // 2, 7 * MOST)))
    pairs = fold_pairs(Y[rows], blocks[rows], task.link)
    tried = []
    for C in STRENGTHS:
        scores = np.zeros((len(rows), Y.shape[1]))
        for fit, left in pairs:
            W, bias = machines(X[rows[fit]], Y[rows[fit]], C, weights=weights[rows[fit]], link=task.link)
            scores[left] = X[rows[left]] @ W + bias
        temperature = fit_temperature(scores, task, targets[rows])
        loss = float(weights[rows] @ task.losses(scores / temperature, targets[rows]))
        tried.append((_score(task, targets[rows], scores), -loss, C, temperature, scores))
    _, _, C, temperature, scores = max(tried, key=lambda one: one[:2])
    return Head(*machines(X, Y, C, weights=weights, link=task.link), temperature, C, rows, scores)


def machines(X: csr_matrix, Y: np.ndarray, C: float, *, weights: np.ndarray, link: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d, K) and bias (K,) of one machine a column of ``Y`` (n, K). One that has a single answer gives ±1."""
    W, bias = np.zeros((X.shape[1], Y.shape[1])), np.where(Y.all(axis=0), 1.0, -1.0)
    if X.shape[1] == 0:
        return W, 2 * (weights @ Y) / weights.sum() - 1
    if link == "softmax":
        answer = Y.argmax(axis=1)
        there = np.unique(answer)
        if len(there) > 1:
            found = _machine(X, answer, C, weights)
            sign = [-1, 1] if len(there) == 2 else np.ones(len(there))
            W[:, there], bias[there] = found.coef_.T * sign, found.intercept_ * sign
        return W, bias
    for label in np.flatnonzero(Y.any(axis=0) & ~Y.all(axis=0)):
        found = _machine(X, Y[:, label], C, weights)
        W[:, label], bias[label] = found.coef_[0], found.intercept_[0]
    return W, bias


def _machine(X: csr_matrix, answer: np.ndarray, C: float, weights: np.ndarray) -> Any:
    from sklearn.svm import LinearSVC

    with _alone, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes")  # of many tags, folds have few rows each
        return LinearSVC(C=C, tol=TOLERANCE, random_state=0, max_iter=1000).fit(X, answer, sample_weight=weights)


def _ridge(X: csr_matrix, task: Task, targets: np.ndarray, blocks: np.ndarray, weights: np.ndarray) -> Head:
    """Ridge at the strength with the smallest exact leave-block-out error on some rows; on all, by conjugate gradients."""
    from sklearn.linear_model import Ridge

    Y = task.columns(targets)
    rows = some_blocks(Y, blocks, task.link, most=MOST)
    some = X[rows]
    strength, scores = Decomposition.of_kernel((some @ some.T).toarray(), weights=weights[rows]).select(
        Y[rows], blocks=blocks[rows]
    )
    if not X.nnz:
        return Head(np.zeros((X.shape[1], Y.shape[1])), weights @ Y / weights.sum(), 1.0, strength, rows, scores)
    found = Ridge(alpha=strength, solver="sparse_cg", tol=1e-8).fit(X, Y, sample_weight=weights / weights.mean())
    return Head(found.coef_.reshape(-1, X.shape[1]).T, np.atleast_1d(found.intercept_), 1.0, strength, rows, scores)


def _score(task: Task, targets: np.ndarray, scores: np.ndarray) -> float:
    reached = task.score(task.outcomes(targets, task.decode(scores)))
    return reached if np.isfinite(reached) else 0.0


def _canonical(X: csr_matrix, Y: np.ndarray) -> np.ndarray:
    """An order of the rows that follows from what they hold alone: they are sorted by a random projection."""
    rng = np.random.default_rng(0)
    return np.lexsort((Y @ rng.random(Y.shape[1]), X @ rng.random(X.shape[1])))
