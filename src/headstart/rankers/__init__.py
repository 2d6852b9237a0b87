"""Scores of promise: how well features seem to fit labels, without training a network. Higher is better.

A ranker is a function ``score(seen) -> float | None`` (None: it does not apply). What it sees of a candidate is a ``Seen``:
one decomposition of the features serves all rankers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from headstart._linear import Decomposition
    from headstart.tasks import Task

TABLE = {
    "ridge_loo": "score",
    "nearest": "score",
    "logme": "score",
    "nleep": "score",
    "hscore": "score",
    "leep": "score",
    "nce": "score",
    "gbc": "score",
    "parc": "score",
    "transrate": "score",
    "sfda": "score",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """One candidate's features of some labelled units, and what is to be told from them.

    ``found`` decomposes the features (units, width). ``task`` has one answer a unit, ``targets`` are theirs, ``blocks`` name
    what may be dependent. ``outputs`` are the class probabilities of the model's own head (units, its classes), or None.
    """

    found: Decomposition
    task: Task
    targets: np.ndarray
    blocks: np.ndarray
    outputs: np.ndarray | None = None

    @cached_property
    def columns(self) -> np.ndarray:
        """The targets as numbers (units, K): what a least-squares head aims at."""
        return self.task.columns(self.targets)

    @cached_property
    def left_out(self) -> np.ndarray:
        """What a ridge head says of each unit without having seen its block, (units, K), at the best of 20 strengths.

        The shares of the classes are taken as known. A row left out lowers the share of its own class, so that where features
        tell nothing and classes are equal in number, every row would be answered with another class: 0 % right instead of
        1 in K.
        """
        _, found = self.found.select(self.columns, blocks=self.blocks)
        if self.task.link == "identity":
            return found
        weights, (_, block) = self.found.weights, np.unique(self.blocks.astype(str), return_inverse=True)
        own = np.stack([np.bincount(block, weights * column) for column in self.columns.T], axis=1)
        size = np.bincount(block, weights)
        others = (own.sum(axis=0) - own) / np.maximum(size.sum() - size, 1e-12)[:, None]
        # Rounded: where features tell nothing all classes tie, and a rounding error must not know the answer.
        return np.round(found + own.sum(axis=0) / size.sum() - others[block], 9)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The class of each unit as 0, 1, 2, … without gaps, where a unit has exactly one of several; else None."""
        if self.task.link != "softmax":
            return None
        labels = np.unique(self.columns.argmax(axis=1), return_inverse=True)[1]
        return labels if labels.max(initial=0) else None
