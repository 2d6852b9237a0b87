"""How alike the layers of one network are, for reading: which blocks repeat what the one before says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 500  # rows; the products of all pairs of rows are held for every layer at once


def linear_cka(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Linear CKA (Kornblith et al. 2019) between feature matrices (n, d) of the same n rows, as (k, k) values of at most 1.

    Debiased (Song et al. 2012): independent features come out near 0 also where n < d, so values may fall a little below
    it. A constant matrix is like nothing: 0. Fewer than four rows say nothing: zeros.
    """
    n = len(rows[0]) if rows else 0
    if n < 4:
        return np.zeros((len(rows), len(rows)))
    centred = np.stack([_centred(one).ravel() for one in rows])
    products = centred @ centred.T
    own = np.sqrt(np.maximum(np.diag(products), 0))
    scale = np.outer(own, own)
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)


def _centred(X: np.ndarray) -> np.ndarray:
    """The products of all pairs of rows, without those of a row with itself, centred without bias (Székely & Rizzo 2014)."""
    X = X - X.mean(axis=0)
    size = np.sqrt((X**2).sum() / len(X))
    if size < 1e-9:
        return np.zeros((len(X), len(X)))
    K = (X / size) @ (X / size).T
    np.fill_diagonal(K, 0)
    n, sums = len(K), K.sum(axis=1)
    K -= (sums[:, None] + sums[None, :]) / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(K, 0)
    return K
