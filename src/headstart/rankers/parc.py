"""Do rows of one class look alike? Agreement of two similarity tables (PARC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart._linear import some_blocks

if TYPE_CHECKING:
    from headstart.rankers import Seen

MOST = 1000  # rows, half a million pairs; the paper reads 500


def score(seen: Seen) -> float | None:
    """100 × Spearman correlation over pairs of rows: how alike their features are, and whether they share the class.

    Columns are standardised first; alike means correlated (Bolya et al. 2021). −100 to 100. Reads at most about 1,000 rows,
    classes in proportion. None unless each row has one class. Row weights are not used. *Prefer* it *when* labelled rows are few.
    """
    if seen.labels is None:
        return None
    rows = some_blocks(seen.columns, seen.blocks, seen.task.link, most=MOST)
    X, labels = seen.found.matrix[rows], seen.labels[rows]
    X = X - X.mean(axis=0)
    deviation = X.std(axis=0)
    X = X[:, deviation > 1e-12] / deviation[deviation > 1e-12]
    X = X - X.mean(axis=1, keepdims=True) if X.shape[1] else X
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(len(X), 1)
    alike = np.round((X @ X.T)[pairs], 9)  # or rounding errors would order pairs that are equally alike
    return 100 * _spearman(alike, labels[pairs[0]] == labels[pairs[1]])


def _spearman(values: np.ndarray, same: np.ndarray) -> float:
    """Spearman correlation with a yes or no: one-hot rows correlate in two ways only, so their ranks are two numbers."""
    from scipy.stats import rankdata

    ranks, same = rankdata(values), same.astype(float)
    spread = ranks.std() * same.std()
    return float(((ranks - ranks.mean()) @ (same - same.mean())) / (len(ranks) * spread)) if spread > 0 else 0.0
