"""How rows are cut and counted when a task has no reason to do it otherwise. Blocks stay whole, strata in proportion."""

from __future__ import annotations

import numpy as np


def folds(strata: np.ndarray, blocks: np.ndarray, *, k: int, seed: int) -> np.ndarray:
    """A fold number (0 … k−1) an item. Strata are spread evenly, a block never crosses two folds.

    k is lowered to the number of blocks of the smallest stratum (at least 2). Blocks are dealt largest first to the fold
    where the block's stratum is rarest, ties by the smaller fold, then by a seeded permutation.
    """
    names, block_of = np.unique(blocks.astype(str), return_inverse=True)
    values, stratum_of = np.unique(strata, return_inverse=True)
    counts = np.zeros((len(names), len(values)))
    np.add.at(counts, (block_of, stratum_of), 1)
    k = max(2, min(k, int((counts > 0).sum(axis=0).min())))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    dealt = np.zeros((k, len(values)))
    fold_of = np.zeros(len(names), dtype=int)
    share = counts.sum(axis=0) / k
    for block in order:
        load = ((dealt + counts[block]) / share) @ (counts[block] > 0) + 1e-6 * dealt.sum(axis=1)
        fold_of[block] = int(np.argmin(load))
        dealt[fold_of[block]] += counts[block]
    return fold_of[block_of]


def split(strata: np.ndarray, blocks: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and to hold out: about ``fraction`` of every stratum's blocks, at least one where there are two."""
    names, block_of = np.unique(blocks.astype(str), return_inverse=True)
    values, stratum_of = np.unique(strata, return_inverse=True)
    counts = np.zeros((len(names), len(values)))
    np.add.at(counts, (block_of, stratum_of), 1)
    total, rng = counts.sum(axis=0), np.random.default_rng(seed)
    wanted = np.where(total >= 2, np.maximum(1, np.round(fraction * total)), 0)
    held, taken = np.zeros(len(names), dtype=bool), np.zeros(len(values))
    for block in rng.permutation(len(names)):
        after = taken + counts[block]
        if (after <= wanted + 1e-9)[counts[block] > 0].all():
            held[block], taken = True, after
    for stratum in np.flatnonzero((taken == 0) & ((counts > 0).sum(axis=0) >= 2)):
        # Blocks larger than the share: the smallest one is held out, where that leaves every stratum something.
        able = [b for b in np.flatnonzero(counts[:, stratum]) if (total - taken - counts[b] > 0)[counts[b] > 0].all()]
        if able and not taken[stratum]:
            block = min(able, key=lambda b: (counts[b].sum(), names[b]))
            held[block], taken = True, taken + counts[block]
    mask = held[block_of]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def pairs(fold: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(indices to fit on, indices held out) of each fold."""
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(int(fold.max(initial=-1)) + 1)]


def shrink(strata: np.ndarray, blocks: np.ndarray, *, amount: int, seed: int) -> np.ndarray:
    """Indices of ``amount`` items a stratum, whole blocks, in the original order. Nested in ``amount`` for one seed."""
    names, block_of = np.unique(blocks.astype(str), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))[block_of]
    kept: list[np.ndarray] = []
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        members = members[np.argsort(place[members], kind="stable")]
        cut = min(amount, len(members))
        while cut < len(members) and place[members[cut]] == place[members[cut - 1]]:
            cut += 1  # the block that the cut would divide comes along
        kept.append(members[:cut])
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=int)


def resample(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Item weights of one bootstrap draw of blocks."""
    names, block_of = np.unique(blocks.astype(str), return_inverse=True)
    return rng.multinomial(len(names), np.full(len(names), 1 / len(names)))[block_of].astype(float)


def bins(values: np.ndarray, *, most: int = 5) -> np.ndarray:
    """Strata for numbers: which of up to ``most`` equal-count bins each value is in."""
    count = max(1, min(most, len(values) // 10))
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1]) if len(values) else []
    return np.searchsorted(edges, values, side="right")


def standard_error(values: np.ndarray, blocks: np.ndarray) -> float:
    """The standard error of the mean of ``values``, whose rows are dependent within a block."""
    _, block_of = np.unique(blocks.astype(str), return_inverse=True)
    sums = np.bincount(block_of, values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / len(values))
