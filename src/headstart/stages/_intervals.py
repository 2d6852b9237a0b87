"""Closed forms behind the verdict: score intervals, the sign test, the jackknife, training draws, how many more items.

Differences are challenger − incumbent, so up is good for the challenger. Functions reduce over the last axis; leading axes
are a stack of independent problems. ``alpha`` is the error of one side: 0.025 gives 95 % intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

POWER = NormalDist().inv_cdf(0.8)  # one claim at power 80 %
BOTH_SIDES = NormalDist().inv_cdf(0.9)  # "no difference" needs both sides: 90 % each


@dataclass(frozen=True)
class Limits:
    """A value and its interval; arrays when a stack of problems went in."""

    value: Any
    low: Any
    high: Any


def normal_quantile(alpha: float) -> float:
    """The standard normal quantile that leaves ``alpha`` above it."""
    return NormalDist().inv_cdf(1 - alpha)


def t_quantile(alpha: float, nu: float) -> float:
    """Student's t, upper ``alpha``; the normal quantile at infinite ``nu``."""
    from scipy.special import stdtrit

    return float(stdtrit(nu, 1 - alpha)) if math.isfinite(nu) else normal_quantile(alpha)


def alpha_at(opening: int, *, alpha: float = 0.025) -> float:
    """The error allowed at the ``opening``-th look at one exam. All later looks together cost at most ``alpha`` again."""
    return alpha if opening <= 1 else alpha / (opening * (opening - 1))


# ---------------------------------------------------------------- paired outcomes in [0, 1]


def tango(n: Any, b: Any, c: Any, *, alpha: float = 0.025) -> tuple[Any, Any]:
    """Tango's (1998) score limits of (b − c)/n for paired yes/no outcomes. ``n``, ``b``, ``c`` need not be whole."""
    n, b, c = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (n, b, c)))
    low, high = _tango_low(np.stack([n, n]), np.stack([b, c]), np.stack([c, b]), normal_quantile(alpha))
    return low, -high


def _tango_low(n: np.ndarray, b: np.ndarray, c: np.ndarray, z: float) -> np.ndarray:
    low, high = np.full(n.shape, -1.0), (b - c) / n
    for _ in range(48):  # to 1e-14
        delta = (low + high) / 2
        B = -b - c + (2 * n - b + c) * delta
        C = -c * delta * (1 - delta)
        q = (np.sqrt(np.maximum(B * B - 8 * n * C, 0)) - B) / (4 * n)
        spread = np.sqrt(np.maximum(n * (2 * q + delta * (1 - delta)), 0))
        below = b - c - n * delta >= z * spread
        low, high = np.where(below, delta, low), np.where(below, high, delta)
    return (low + high) / 2


def design_effect(d: np.ndarray, blocks: np.ndarray | None = None) -> Any:
    """κ: how much the items' differences vary, compared with yes/no outcomes. 1 for one seed and independent items.

    The "+ 1" keeps one tiny disagreement from narrowing the interval. ``blocks`` (block numbers, one an item) raises κ
    by how much block sums vary beyond what independent items would give; with no disagreement, n/κ is the number of blocks.
    """
    kappa = (1 + (d**2).sum(-1)) / (1 + np.abs(d).sum(-1))
    if blocks is None:
        return kappa
    centred = d - d.mean()
    sums = np.bincount(blocks, weights=centred)
    size = d.size / sums.size
    return kappa * max(1.0, float((size**2 + (sums**2).sum()) / (size + (centred**2).sum())))


def paired_score(d: np.ndarray, *, alpha: float = 0.025, blocks: np.ndarray | None = None) -> Limits:
    """Score interval of the mean of ``d``, items' differences in [−1, 1] (averaged over seeds)."""
    d = np.asarray(d, dtype=float)
    kappa = design_effect(d, blocks)
    b, c = np.maximum(d, 0).sum(-1), np.maximum(-d, 0).sum(-1)
    low, high = tango(d.shape[-1] / kappa, b / kappa, c / kappa, alpha=alpha)
    return Limits(d.mean(-1), low, high)


def wilson(values: np.ndarray, *, alpha: float = 0.025) -> Limits:
    """Wilson's interval of the mean of one arm's outcomes in [0, 1], with the same kind of design effect."""
    z, n, p = normal_quantile(alpha), float(values.size), float(values.mean())
    centred = values - p
    kappa = (1 + float((centred**2).sum())) / (1 + n * p * (1 - p))
    n = n / kappa
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Limits(p, min(p, middle - half), max(p, middle + half))


def sign_midp(d: np.ndarray) -> tuple[Any, Any]:
    """One-sided mid-p of the sign test on items whose difference is not 0: (for up, for down)."""
    up, down = (np.asarray(d) > 0).sum(-1), (np.asarray(d) < 0).sum(-1)
    return midp(up, up + down), midp(down, up + down)


def midp(k: Any, n: Any) -> Any:
    """P(X > k) + ½ P(X = k) for X binomial (n, ½)."""
    from scipy.special import bdtr

    k, n = np.asarray(k), np.asarray(n)
    # bdtr takes no k below 0 and no n of 0, where P(X ≤ −1) = 0 and all the mass is at 0.
    up_to, under = bdtr(k, np.maximum(n, 1), 0.5), np.where(k > 0, bdtr(np.maximum(k - 1, 0), np.maximum(n, 1), 0.5), 0.0)
    return np.where(n == 0, 0.5, 1 - (up_to + under) / 2)


# ---------------------------------------------------------------- combining


def mean_of_parts(parts: Sequence[Limits]) -> Limits:
    """The plain mean of independent parts (classes), its interval by squares of the parts' half-widths (MOVER)."""
    k = len(parts)
    value = sum(part.value for part in parts) / k
    low = value - math.sqrt(sum((part.value - part.low) ** 2 for part in parts)) / k
    high = value + math.sqrt(sum((part.high - part.value) ** 2 for part in parts)) / k
    return Limits(value, low, high)


def widen(pair: Limits, *, V: Any, nu: float, alpha: float = 0.025) -> Limits:
    """``pair`` with a further independent variance ``V`` on ``nu`` degrees of freedom (MOVER, square and add)."""
    extra = t_quantile(alpha, nu) ** 2 * V
    low = pair.value - np.sqrt((pair.value - pair.low) ** 2 + extra)
    return Limits(pair.value, low, pair.value + np.sqrt((pair.high - pair.value) ** 2 + extra))


def envelope(first: Limits, second: Limits) -> Limits:
    """The wider of two intervals on each side."""
    return Limits(first.value, min(first.low, second.low), max(first.high, second.high))


def jackknife(value: float, left_out: np.ndarray, *, alpha: float = 0.025) -> Limits:
    """Delete-one jackknife t. ``left_out`` has the statistic without each of G blocks.

    With no spread at all the half-width is z²/(G + z²), as for a yes/no outcome on which no block disagrees: width 0
    would claim certainty from a handful of blocks.
    """
    G = len(left_out)
    if G < 2 or not np.isfinite(left_out).all():
        return Limits(value, -math.inf, math.inf)
    se = math.sqrt((G - 1) / G * float(((left_out - left_out.mean()) ** 2).sum()))
    z2 = normal_quantile(alpha) ** 2
    half = t_quantile(alpha, G - 1) * se if se > 1e-12 else z2 / (G + z2)
    return Limits(value, value - half, value + half)


# ---------------------------------------------------------------- training draw and seed


@dataclass(frozen=True)
class Spread:
    """Variance ``V`` of the gain from one training draw (and seed) to the next, on ``nu`` degrees of freedom."""

    V: float
    nu: int
    a: float
    s2: float
    noise: float  # what item noise alone puts into s2: MSE/n
    kind: str  # "fold" or "half"


def residual_mean_square(table: np.ndarray) -> float:
    """Mean square of an (items, draws) table after removing row and column means."""
    rows, columns = table.shape
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return float((rest**2).sum() / max((rows - 1) * (columns - 1), 1))


def fold_spread(gains: Sequence[np.ndarray], *, folds: int, noise: float, a: float) -> Spread:
    """From the gains of fold models, one array a repeat: the delete-one-fold jackknife, mean over repeats."""
    nu = sum(len(gain) - 1 for gain in gains)
    s2 = sum((len(gain) - 1) * float(np.var(gain, ddof=1)) for gain in gains) / nu
    return Spread((folds - 1) ** 2 / folds * max(0.0, s2 - a * noise), nu, a, s2, noise, "fold")


def half_spread(gains: np.ndarray, *, noise: float, a: float) -> Spread:
    """From the gains of refits on random halves of the training data."""
    s2 = float(np.var(gains, ddof=1))
    return Spread(max(0.0, s2 - a * noise), len(gains) - 1, a, s2, noise, "half")


# ---------------------------------------------------------------- how many exam items


def items_to_decide(gain: float, p_d: float, *, V: float = 0.0, nu: float = math.inf, alpha: float = 0.025) -> float:
    """Exam items at which a true ``gain`` is seen as *helps* or *hurts* with power 80 %. Infinite: items cannot settle it.

    ``p_d`` is the share of items on which the arms disagree (the mean square of the differences).
    """
    left = gain**2 - (t_quantile(alpha, nu) + POWER) ** 2 * V
    if left <= 0:
        return math.inf
    return (normal_quantile(alpha) * math.sqrt(p_d) + POWER * math.sqrt(max(p_d - gain**2, 0.0))) ** 2 / left


def items_to_equate(
    gain: float, p_d: float, *, margin: float, V: float = 0.0, nu: float = math.inf, alpha: float = 0.025
) -> float:
    """Exam items at which a true ``gain`` under ``margin`` is seen as *no difference* with power 80 %."""
    left = (margin - abs(gain)) ** 2 - (t_quantile(alpha, nu) + BOTH_SIDES) ** 2 * V
    if left <= 0 or abs(gain) >= margin:
        return math.inf
    return p_d * (normal_quantile(alpha) + BOTH_SIDES) ** 2 / left
