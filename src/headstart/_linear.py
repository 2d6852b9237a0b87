"""Closed forms for linear heads: one decomposition of a feature matrix, and what follows from it exactly.

Selecting a regularisation strength, a tap or a backbone asks the same question many times. One eigendecomposition answers
it for every strength: predictions for rows left out (Allen 1974; Golub, Heath & Wahba 1979), the evidence of a Bayesian
linear model (MacKay 1992; You et al. 2021), the ridge coefficients. What ships is a logistic head; its strength is chosen
along a path, each fit starting from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _cutting

if TYPE_CHECKING:
    from headstart.features import Features, Lens
    from headstart.problem import Examples
    from headstart.tasks import Task

STRENGTHS = np.geomspace(1e-4, 1e4, 20)  # times the mean eigenvalue


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A centred feature matrix as U diag(√s2) Vᵀ, with U (n, r), s2 (r,).

    ``matrix`` is the centred matrix without row weights, ``mean`` what was taken off. ``weights`` have mean 1. V is never
    formed: coefficients come from U and the matrix. Columns keep their scale: a network's features share a unit, and the
    quiet ones are mostly noise (standardising them cost 0 to 5 points of a probe's accuracy on photos and drawings).
    """

    U: np.ndarray
    s2: np.ndarray
    weights: np.ndarray
    matrix: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, *, weights: np.ndarray | None = None) -> Decomposition:
        """Decompose ``X`` (n, d), float64, through the smaller of its two Gram matrices."""
        w = np.ones(len(X)) if weights is None else weights / weights.mean()
        mean = (w @ X) / len(X)
        matrix = X - mean
        return cls(*_eigen(matrix if weights is None else matrix * np.sqrt(w)[:, None]), w, matrix, mean)

    @classmethod
    def of_kernel(cls, K: np.ndarray, *, weights: np.ndarray | None = None) -> Decomposition:
        """The same for a kernel matrix (n, n): its features are implicit, so there are no ``coefficients``."""
        w = np.ones(len(K)) if weights is None else weights / weights.mean()
        share = w / len(K)
        centred = K - (share @ K)[None, :] - (K @ share)[:, None] + share @ K @ share
        root = np.sqrt(w)
        values, vectors = np.linalg.eigh(centred * root[:, None] * root[None, :])
        keep = values > values.max(initial=0) * 1e-12
        return cls(vectors[:, keep], values[keep], w, np.zeros((len(K), 0)), np.zeros(0))

    def principal(self, most: int | None = None, *, energy: float = 1.0) -> np.ndarray:
        """Principal component scores (n, k), largest variance first: ``matrix`` turned onto its axes, so distances stay.

        The first ``most`` axes, and no more of them than hold ``energy`` of the variance. With row weights the axes are
        the weighted ones; the rows themselves are not scaled.
        """
        largest = self.s2[::-1]
        held = np.cumsum(largest) / max(largest.sum(), 1e-300)
        k = len(largest) if energy >= 1 else min(len(largest), int(np.searchsorted(held, energy)) + 1)
        k = k if most is None else min(k, most)
        kept = slice(len(largest) - k, None)
        return np.ascontiguousarray((self.U[:, kept] * np.sqrt(self.s2[kept]) / np.sqrt(self.weights)[:, None])[:, ::-1])

    @property
    def strengths(self) -> np.ndarray:
        """The regularisation strengths worth trying here: ``STRENGTHS`` times the mean eigenvalue."""
        return STRENGTHS * (self.s2.mean() if len(self.s2) else 1.0)

    def leave_one_out(self, Y: np.ndarray, strength: float, *, blocks: np.ndarray | None = None) -> np.ndarray:
        """Ridge predictions (n, K) for each row by a fit without it (without its whole block, when blocks are shared).

        Exact for the fixed centring; the intercept is refitted too.
        """
        root = np.sqrt(self.weights)[:, None]
        offset = (self.weights @ Y) / len(Y)
        shrunk = self.s2 / (self.s2 + strength)
        residual = root * (Y - offset)
        residual = residual - self.U @ (shrunk[:, None] * (self.U.T @ residual))
        own = self.weights / len(Y) + (self.U**2) @ shrunk
        left = residual / np.maximum(1 - own, 1e-12)[:, None]
        for members in _shared_blocks(blocks):
            rows = np.sqrt(self.weights[members])[:, None] / np.sqrt(len(Y))
            left[members] = _without(np.hstack([self.U[members] * np.sqrt(shrunk), rows]), residual[members])
        return Y - left / root

    def select(self, Y: np.ndarray, *, blocks: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """The strength with the smallest leave-one-out squared error, and its leave-one-out predictions (n, K)."""
        if not _shared_blocks(blocks):
            return self._select_plain(Y)
        tried = [(strength, self.leave_one_out(Y, strength, blocks=blocks)) for strength in self.strengths]
        return min(tried, key=lambda pair: float(self.weights @ ((Y - pair[1]) ** 2).sum(axis=1)))

    def _select_plain(self, Y: np.ndarray) -> tuple[float, np.ndarray]:
        root = np.sqrt(self.weights)[:, None]
        target = root * (Y - (self.weights @ Y) / len(Y))
        projected = self.U.T @ target
        outside = target - self.U @ projected
        strengths = self.strengths
        kept = strengths / (self.s2[:, None] + strengths)  # (r, strengths): 1 − the share that ridge lets through
        own = (self.weights / len(Y))[:, None] + (self.U**2) @ (1 - kept)
        # All strengths in one product: U is read once, not twenty times.
        inside = self.U @ (kept[:, :, None] * projected[:, None, :]).reshape(len(self.s2), len(strengths) * Y.shape[1])
        left = inside.reshape(len(Y), len(strengths), Y.shape[1])
        left += outside[:, None, :]
        left /= np.maximum(1 - own, 1e-12)[:, :, None]
        best = int(np.argmin(np.einsum("nak,nak->a", left, left)))
        return float(strengths[best]), Y - left[:, best] / root

    def dual(self, Y: np.ndarray, strength: float) -> np.ndarray:
        """Dual ridge coefficients (n, K): the fitted value is the kernel row times these."""
        root = np.sqrt(self.weights)[:, None]
        target = root * (Y - (self.weights @ Y) / len(Y))
        inside = self.U.T @ target
        solved = self.U @ (inside / (self.s2 + strength)[:, None]) + (target - self.U @ inside) / strength
        return root * solved

    def coefficients(self, Y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Ridge weights (d, K) and intercept (K,) for raw rows: ``X @ weights + intercept``."""
        root = np.sqrt(self.weights)[:, None]
        target = root * (Y - (self.weights @ Y) / len(Y))
        inside = (self.U.T @ target) / (self.s2 + strength)[:, None]
        weights = (self.matrix * root).T @ (self.U @ inside)
        return weights, (self.weights @ Y) / len(Y) - self.mean @ weights

    def evidence(self, t: np.ndarray) -> float:
        """Largest log evidence per row of t (n,) under a Bayesian linear model: LogME, exact for any n and d.

        The features are centred, so t is too and has n − 1 degrees of freedom: an intercept is integrated out. With row
        weights, a row's noise variance is 1/β over its weight.
        For a given ratio λ = α/β the best β is closed form, so one search over log λ finds the maximum. (The public code of
        the paper loses a term when n < d, and its fixed point need not be the maximum.)
        """
        t = np.sqrt(self.weights) * (t - (self.weights @ t) / len(t))
        n, x2 = len(t) - 1, (self.U.T @ t) ** 2
        outside = max(0.0, float(t @ t - x2.sum()))
        value = lambda log_ratio: log_evidence(self.s2, x2, outside, n, float(np.exp(log_ratio)))  # noqa: E731
        centre = float(np.log(self.s2.mean())) if len(self.s2) else 0.0
        grid = centre + np.linspace(-25, 25, 51)
        values = [value(point) for point in grid]
        from scipy.optimize import minimize_scalar

        near = grid[int(np.argmax(values))]
        found = minimize_scalar(lambda x: -value(x), bounds=(near - 1, near + 1), method="bounded", options={"xatol": 1e-8})
        return max(max(values), -float(found.fun)) / n


def log_evidence(s2: np.ndarray, x2: np.ndarray, outside: float, n: int, ratio: float) -> float:
    """log N(t; 0, I/β + FFᵀ/α) at α = ``ratio`` × β and the best β, from the eigenvalues ``s2`` of FFᵀ, the squared
    projections ``x2`` of t on its eigenvectors and the rest of ‖t‖², ``outside``."""
    misfit = float((x2 * (ratio / (s2 + ratio))).sum()) + outside
    beta = n / max(misfit, 1e-300)
    return n / 2 * (np.log(beta / (2 * np.pi)) - 1) - 0.5 * float(np.log1p(s2 / ratio).sum())


@dataclass(frozen=True, eq=False)
class Head:
    """A linear head for raw rows, ``X @ weights + bias``, with the temperature of its out-of-fold scores.

    ``rows`` are the training rows that have out-of-fold scores, whole blocks, and ``scores`` those, (rows, K).
    """

    weights: np.ndarray
    bias: np.ndarray
    temperature: float
    strength: float
    rows: np.ndarray
    scores: np.ndarray

    def tune(self, task: Task, examples: Examples, offsets: np.ndarray) -> Task:
        """``task`` with its decoding chosen on the out-of-fold scores of those of ``examples`` that have them."""
        from headstart.features import Features

        own = self.rows < offsets[-1]  # the first look at each item
        item_of = np.repeat(np.arange(len(examples)), np.diff(offsets))[self.rows[own]]
        items, counts = np.unique(item_of, return_counts=True)
        found = Features(self.scores[own] / self.temperature, np.concatenate([[0], np.cumsum(counts)]))
        return task.tuned(found, examples.targets[items])


def probe_head(
    X: np.ndarray, task: Task, targets: np.ndarray, *, blocks: np.ndarray | None = None, weights: np.ndarray | None = None
) -> Head:
    """The head that ships: logistic (softmax, sigmoid) at the strength with the best out-of-fold log-loss; ridge for numbers.

    The strengths are walked from strong to weak, each fit starting from the one before. Selection uses folds that keep
    ``blocks`` whole, of about 3,000 rows at most; the final fit uses all, in double precision. L-BFGS.
    """
    blocks = np.arange(len(X)).astype(str) if blocks is None else blocks
    found = Decomposition.of(X, weights=weights)
    Y = task.columns(targets)
    if task.link == "identity":
        strength, left_out = found.select(Y, blocks=blocks)
        return Head(*found.coefficients(Y, strength), 1.0, float(strength), np.arange(len(X)), left_out)
    root = np.sqrt(found.weights)[:, None]
    # A rotation of the matrix: the same fits, in r columns. All rows are brought to one length, or L-BFGS, whose tolerance knows
    # no unit, calls quiet features solved at once.
    size = max(float(np.sqrt((found.weights @ found.matrix**2).sum() / len(X))), 1e-300) / LENGTH
    reduced = found.U * (np.sqrt(found.s2) / (size * root))
    strength, rows, scores = _select_logistic(reduced, Y, found.weights, task, targets, blocks)
    temperature = fit_temperature(scores, task, targets[rows])
    start = np.zeros((reduced.shape[1], Y.shape[1])), _log_prior(Y, found.weights, task)
    solution, bias = logistic(reduced, Y, strength, weights=found.weights, link=task.link, start=start)
    raw = (found.matrix * root).T @ ((found.U / np.sqrt(found.s2)) @ solution) / size
    return Head(raw, bias - found.mean @ raw, temperature, strength, rows, scores)


def head_on(looks: Sequence[Features], task: Task, examples: Examples) -> Head:
    """The head that ships, fitted on several ``looks`` at the same examples: rows of their own, in the block of their item."""
    X, targets, blocks = task.rows(looks[0], examples)
    rows = np.concatenate([X, *(task.rows(look, examples)[0] for look in looks[1:])])
    targets, blocks = np.tile(targets, len(looks)), np.tile(blocks, len(looks))
    weights = task.item_weights(examples.targets)
    weights = None if weights is None else np.tile(weights, len(looks))
    return probe_head(rows, task.unitwise, targets, blocks=blocks, weights=weights)


MOST = 3000  # rows that choosing a strength reads
FEW = 1000  # up to so many rows in 5 folds, more of them in 3: held-out rows are many then
LENGTH = (
    5.0  # root mean square of the rows while a head is fitted: the strengths and the tolerance of L-BFGS are made for it
)
LOGISTIC = np.geomspace(10**2.5, 1e-4, 14)  # λ of (1/n) Σ w·loss + λ/(2 d̄) ‖W‖², d̄ the mean squared row length


def logistic(
    X: np.ndarray,
    Y: np.ndarray,
    lam: float,
    *,
    weights: np.ndarray,
    link: str,
    start: tuple[np.ndarray, np.ndarray],
    iterations: int = 200,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d, K) and bias (K,) of the logistic fit at ``lam``, from ``start``. The bias is not penalised.

    Products are taken in the precision of ``X``; single is twice as fast, and good enough to choose a strength with.
    """
    from scipy.optimize import minimize

    n, d = X.shape
    K = Y.shape[1]
    penalty = lam / max(1e-12, float((X**2).sum() / n))
    w = (weights / n)[:, None].astype(X.dtype)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        flat = flat.astype(X.dtype)
        W, b = flat[: d * K].reshape(d, K), flat[d * K :]
        scores = X @ W + b
        loss, residual = _loss(scores, Y, link)
        residual *= w
        value = float(w[:, 0] @ loss) + penalty / 2 * float((W**2).sum())
        return value, np.concatenate([(X.T @ residual + penalty * W).ravel(), residual.sum(axis=0)]).astype(np.float64)

    flat = np.concatenate([start[0].ravel(), start[1]])
    options = {"maxiter": iterations, "maxcor": 20, "ftol": 1e-7, "gtol": 1e-5}
    found = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x
    return found[: d * K].reshape(d, K), found[d * K :]


def fit_temperature(scores: np.ndarray, task: Task, targets: np.ndarray) -> float:
    """The T that minimises the mean log-loss of scores / T (Guo et al. 2017), between 1/20 and 20; 1 for numbers."""
    if task.link == "identity" or len(scores) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    mean_loss = lambda log_t: float(task.losses(scores / np.exp(log_t), targets).mean())  # noqa: E731
    found = minimize_scalar(mean_loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


@dataclass(frozen=True, eq=False)
class LinearScorer:
    """A linear head on what the lens reads, averaged over ``views`` of each item (a photo and its mirror image)."""

    weights: np.ndarray
    bias: np.ndarray
    views: tuple[str, ...] = ("",)

    def scores(self, examples: Examples, lens: Lens) -> Features:
        from headstart.features import Features

        found = [lens.joined(examples, view=view) for view in self.views]
        rows = np.mean([look.rows for look in found], axis=0)
        return Features(rows @ self.weights + self.bias, found[0].offsets)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"scorer": "linear", "views": list(self.views)}, {"weights": self.weights, "bias": self.bias}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], views: Sequence[str] = ("",)) -> LinearScorer:
        return cls(arrays["weights"], arrays["bias"], tuple(views))


def _select_logistic(
    X: np.ndarray, Y: np.ndarray, weights: np.ndarray, task: Task, targets: np.ndarray, blocks: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The strength with the best out-of-fold log-loss; the rows that were used, and their out-of-fold scores at it.

    The walk ends when two strengths in a row are worse than the best by more than 1 %: weaker ones take longest and only
    overfit more. It does not end while the strongest is still the best: with many classes of few rows, the first steps from
    nothing look a little worse than nothing.
    """
    rows = some_blocks(Y, blocks, task.link, most=MOST)
    X, Y, weights, targets, blocks = (part[rows] for part in (X, Y, weights, targets, blocks))
    precision = np.float64 if len(X) <= FEW else np.float32  # few rows cost nothing, and then the last digits agree too
    single, ones = X.astype(precision), Y.astype(precision)
    pairs = fold_pairs(Y, blocks, task.link)
    starts = [(np.zeros((X.shape[1], Y.shape[1])), _log_prior(Y[fit], weights[fit], task)) for fit, _ in pairs]
    tried: list[tuple[float, float, np.ndarray]] = []
    for lam in LOGISTIC:
        scores = np.zeros(Y.shape)
        for k, (fit, left) in enumerate(pairs):
            starts[k] = logistic(
                single[fit], ones[fit], lam, weights=weights[fit], link=task.link, start=starts[k], iterations=60
            )
            scores[left] = X[left] @ starts[k][0] + starts[k][1]
        tried.append((float(weights @ task.losses(scores, targets)), float(lam), scores))
        best = min(one[0] for one in tried)
        if best < tried[0][0] and min(one[0] for one in tried[-2:]) > 1.01 * best:
            break
    _, strength, scores = min(tried, key=lambda one: one[0])
    return strength, rows, scores


def fold_pairs(Y: np.ndarray, blocks: np.ndarray, link: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows to fit on, rows held out) of the folds that choose a strength; blocks whole, classes in proportion.

    A class of fewer blocks than folds is counted with the commonest, or it would lower the number of folds for all.
    """
    k, strata = (5 if len(Y) <= FEW else 3), np.zeros(len(Y), dtype=int)
    if link == "softmax":
        strata = Y.argmax(axis=1)
        pairs = np.unique(np.stack([strata, np.unique(blocks.astype(str), return_inverse=True)[1]]), axis=1)
        rare = np.bincount(pairs[0], minlength=Y.shape[1]) < k
        strata = np.where(rare[strata], Y.sum(axis=0).argmax(), strata)
    return _cutting.pairs(_cutting.folds(strata, blocks, k=k, seed=0))


def some_blocks(Y: np.ndarray, blocks: np.ndarray, link: str, *, most: int) -> np.ndarray:
    """About ``most`` row indices, whole blocks, classes in proportion; all where there are no more."""
    if len(Y) <= most:
        return np.arange(len(Y))
    strata = Y.argmax(axis=1) if link == "softmax" else np.zeros(len(Y))
    return _cutting.split(strata, blocks, fraction=most / len(Y), seed=0)[1]


def _log_prior(Y: np.ndarray, weights: np.ndarray, task: Task) -> np.ndarray:
    share = np.clip((weights @ Y + 0.5) / (weights.sum() + 1), 1e-6, 1 - 1e-6)
    return np.log(share) if task.link == "softmax" else np.log(share / (1 - share))


def _loss(scores: np.ndarray, Y: np.ndarray, link: str) -> tuple[np.ndarray, np.ndarray]:
    """Loss (n,) and its gradient in the scores (n, K)."""
    if link == "softmax":
        shifted = scores - scores.max(axis=1, keepdims=True)
        raised = np.exp(shifted)
        total = raised.sum(axis=1, keepdims=True)
        return np.log(total[:, 0]) - (shifted * Y).sum(axis=1), raised / total - Y
    return (np.logaddexp(0, scores) - scores * Y).sum(axis=1), np.exp(-np.logaddexp(0, -scores)) - Y


def _without(M: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """(1 − M Mᵀ)⁻¹ ``residual`` through the smaller of the two Gram matrices: a block may have more rows than columns."""
    m, r = M.shape
    if m <= r:
        return np.asarray(np.linalg.solve((1 + 1e-12) * np.eye(m) - M @ M.T, residual))
    return np.asarray(residual + M @ np.linalg.solve((1 + 1e-12) * np.eye(r) - M.T @ M, M.T @ residual))


def _eigen(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U (n, r) and eigenvalues (r,) of X Xᵀ, through the smaller Gram matrix; directions without energy are dropped."""
    from scipy.linalg import eigh

    n, d = X.shape
    # Divide and conquer, in place: the matrix is this function's own.
    values, vectors = eigh(X @ X.T if n <= d else X.T @ X, driver="evd", overwrite_a=True, check_finite=False)
    first = int(np.searchsorted(values, max(values.max(initial=0), 0) * 1e-12, side="right"))
    values, vectors = values[first:], vectors[:, first:]
    if n <= d:
        return np.ascontiguousarray(vectors), values
    U = X @ vectors
    U /= np.sqrt(values)
    return U, values


def _shared_blocks(blocks: np.ndarray | None) -> list[np.ndarray]:
    """Row indices of every block with more than one row."""
    if blocks is None:
        return []
    _, block_of, counts = np.unique(blocks.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(block_of, kind="stable")
    parts = np.split(order, np.cumsum(counts)[:-1])
    return [part for part in parts if len(part) > 1]
