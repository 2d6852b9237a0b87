"""The nearest class mean, by the angle seen from the mean of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart._linear import LinearScorer, fit_temperature
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Problem


@dataclass(frozen=True)
class NearestMean:
    """Class prototypes on frozen features (Mensink et al. 2013; Snell et al. 2017): nothing to tune, nothing to overfit.

    *Prefer* it *when* there are one to five examples a class, or classes come and go; ``linear_probe`` otherwise.
    Columns are divided by the square root of their spread, half-way to standardised: with one photo a class full
    standardising costs 2 to 19 points, with forty none costs 1. A prototype is the class mean's direction from the mean.
    """

    name: ClassVar[str] = "nearest_mean"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features", "classes"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task = problem.task
        X, targets, blocks = task.rows(lens.joined(problem.train), problem.train)
        Y = task.columns(targets)
        counts = np.maximum(Y.sum(axis=0), 1e-9)
        mean = ((Y.T @ X) / counts[:, None])[Y.sum(axis=0) > 0].mean(axis=0)  # classes count the same
        spread = np.sqrt(X.std(axis=0))
        scale = np.where(spread > 1e-4 * max(1e-30, float(spread.max())), spread, np.inf)
        Z = (X - mean) / scale
        sums = Y.T @ Z
        prototypes = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        temperature = fit_temperature(_without_own_block(Z, Y, blocks), task, targets)
        weights = prototypes.T / scale[:, None]
        return Predictor(task, lens, self, LinearScorer(weights, -mean @ weights), temperature)

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        return LinearScorer.restore(arrays)


def _without_own_block(Z: np.ndarray, Y: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Scores (n, K) of every row against prototypes made without the row's own block."""
    _, block_of = np.unique(blocks.astype(str), return_inverse=True)
    sums = Y.T @ Z
    scores = Z @ (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).T
    own, rows = Y.argmax(axis=1), np.arange(len(Z))
    left = sums[own] - Z  # a row alone in its block changes no prototype but its class's
    scores[rows, own] = (Z * left).sum(axis=1) / np.maximum(np.linalg.norm(left, axis=1), 1e-12)
    order = np.argsort(block_of, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(block_of))[:-1]) if len(order) else []:
        if len(rows) > 1:
            left = sums - Y[rows].T @ Z[rows]
            scores[rows] = Z[rows] @ (left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)).T
    return scores
