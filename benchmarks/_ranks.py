"""How good an order of candidates is, given what each reached: numbers that several tables report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def weighted_tau(scores: np.ndarray, reached: np.ndarray) -> float:
    """Kendall's τ where exchanges near the top weigh more (Vigna 2015): 1 the same order, −1 the reverse."""
    from scipy.stats import weightedtau

    return float(weightedtau(scores, reached).statistic)


def regret(scores: np.ndarray, reached: np.ndarray, *, k: int = 1) -> float:
    """What is lost by trying only the ``k`` highest scores: the best of all less the best of those. Ties count against."""
    chosen = np.lexsort((reached, -np.asarray(scores)))[:k]
    return float(np.max(reached) - np.max(np.asarray(reached)[chosen]))


def static_list(reached: np.ndarray) -> np.ndarray:
    """Scores (targets, models) that ignore the target: a model's mean z-score on all other targets; NaN is not measured.

    The baseline of any ranker. A model measured on no other target scores NaN.
    """
    z = (reached - np.nanmean(reached, axis=1, keepdims=True)) / np.nanstd(reached, axis=1, keepdims=True)
    known = np.isfinite(z)
    others = known.sum(axis=0) - known
    return np.where(others > 0, np.nansum(z, axis=0) - np.where(known, z, 0), np.nan) / np.maximum(others, 1)


def read_table(
    path: Path, target: str, *, model: Sequence[str], reached: str
) -> tuple[list[str], list[tuple[str, ...]], np.ndarray]:
    """Targets, models and what each reached (targets, models) from a CSV of one row a pair; NaN where there is none.

    ``target``, ``model`` (together its name) and ``reached`` are columns; rows without a target are skipped.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[target]]
    targets = list(dict.fromkeys(row[target] for row in rows))
    models = list(dict.fromkeys(tuple(row[part] for part in model) for row in rows))
    table = np.full((len(targets), len(models)), np.nan)
    for row in rows:
        table[targets.index(row[target]), models.index(tuple(row[part] for part in model))] = float(row[reached])
    return targets, models, table
