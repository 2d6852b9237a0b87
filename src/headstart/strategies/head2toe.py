"""A linear head on several layers of a frozen network: the located one, and what a sparse fit keeps of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _cutting
from headstart._linear import Decomposition, Head, LinearScorer, fit_temperature, fold_pairs, probe_head, some_blocks
from headstart.backbone import feature_taps
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Problem
    from headstart.tasks import Task

COLUMNS = 128  # principal directions of a tap
CHOICE_ROWS, FOLDS = 1500, 3  # what finding directions and choosing read
STEPS = 60  # of the sparse fit: the order of its columns is settled long before their coefficients are

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # rows to fit on, rows held out


@dataclass(frozen=True)
class Head2Toe:
    """The layer that ``locate`` reads, joined by the most relevant columns of all others (Head2Toe; Evci et al. 2022).

    Every other tap gives its first 128 principal directions, scaled so that all taps are of one size. A least-squares fit
    with the penalty Σ_j ‖W_j‖₂ says how relevant each column is; ``penalty`` is its share of the smallest that leaves none.
    Of ``fractions`` of the columns, the one with the best loss on held-out rows is taken, where it beats the read layer alone
    by more than one paired standard error. Else the answer is that of ``linear_probe``, to the last bit.

    *Prefer* it *when* one layer may hold only a part of the answer and there are some hundred rows. Expect little: on five of
    six sets that were tried it kept the read layer alone (``benchmarks/README.md``).
    """

    fractions: tuple[float, ...] = (0.05, 0.2, 1.0)
    penalty: float = 0.003

    name: ClassVar[str] = "head2toe"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features", "layers"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, train, (backbone, read) = problem.task, problem.train, lens.reads[0]
        found = lens.joined(train)
        X, targets, blocks = task.rows(found, train)
        rows = _Rows.of(task.unitwise, targets, blocks, task.item_weights(train.targets))
        taps = [tap.name for tap in feature_taps(lens.backbone, task.unit) if tap.name != read]
        some = some_blocks(rows.Y, rows.blocks, rows.task.link, most=CHOICE_ROWS)
        bases, columns = [], []
        for tap in taps:  # some rows of each, one tap at a time: all layers of many words are more than a machine holds
            raw = lens.store.features(backbone, train, [tap])[0].rows[some]
            bases.append(_Basis.of(raw, size=_size(X)))
            columns.append(bases[-1].columns(raw))
        kept, fraction = self._chosen(X[some], np.concatenate(columns, axis=1), rows.take(some))
        shares = np.split(kept, np.cumsum([part.shape[1] for part in columns])[:-1])
        joining = {tap: basis.only(own) for tap, basis, own in zip(taps, bases, shares, strict=True) if own.any()}
        more = [basis.columns(lens.store.features(backbone, train, [tap])[0].rows) for tap, basis in joining.items()]
        head = rows.head(np.concatenate([X, *more], axis=1))
        first, *others = np.split(head.weights, np.cumsum([part.shape[1] for part in (X, *more)])[:-1])
        weights = [basis.directions @ part for basis, part in zip(joining.values(), others, strict=True)]
        bias = head.bias - sum(basis.mean @ part for basis, part in zip(joining.values(), weights, strict=True))
        through = replace(lens, reads=((backbone, read), *((backbone, tap) for tap in joining)))
        notes = {"strength": head.strength, "fraction": fraction, "columns": int(kept.sum()), "taps": [read, *joining]}
        scorer = LinearScorer(np.concatenate([first, *weights]), np.asarray(bias))
        return Predictor(head.tune(task, train, found.offsets), through, self, scorer, head.temperature, notes)

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        return LinearScorer.restore(arrays)

    def _chosen(self, X: np.ndarray, Z: np.ndarray, rows: _Rows) -> tuple[np.ndarray, float]:
        """Whether each column of ``Z`` joins the read tap, and the fraction that do; none where they do not help."""
        pairs = fold_pairs(rows.Y, rows.blocks, rows.task.link)[:FOLDS]
        ranks = [_relevance(Z[fit], rows.take(fit), self.penalty) for fit, _ in pairs]

        def joined(rank: np.ndarray, share: float) -> np.ndarray:
            return np.concatenate([X, Z[:, _most(rank, share)]], axis=1)

        held = rows.take(np.concatenate([rest for _, rest in pairs]))
        alone = held.losses(_held_out([X] * len(pairs), rows, pairs))
        share, best = 0.0, alone
        for one in self.fractions:
            losses = held.losses(_held_out([joined(rank, one) for rank in ranks], rows, pairs))
            share, best = (one, losses) if losses.mean() < best.mean() else (share, best)
        if (alone - best).mean() <= _cutting.standard_error(alone - best, held.blocks):
            share = 0.0
        relevance = _relevance(Z, rows, self.penalty) if 0 < share < 1 else np.zeros(Z.shape[1])
        return np.isin(np.arange(Z.shape[1]), _most(relevance, share)), share


@dataclass(frozen=True, eq=False)
class _Rows:
    """What the rows of all taps have in common: task, targets, blocks, weights of mean 1, and the columns Y (n, K)."""

    task: Task
    targets: np.ndarray
    blocks: np.ndarray
    weights: np.ndarray
    Y: np.ndarray

    @classmethod
    def of(cls, task: Task, targets: np.ndarray, blocks: np.ndarray, weights: np.ndarray | None) -> _Rows:
        return cls(task, targets, blocks, np.ones(len(targets)) if weights is None else weights, task.columns(targets))

    def take(self, index: np.ndarray) -> _Rows:
        parts = (part[index] for part in (self.targets, self.blocks, self.weights, self.Y))
        return _Rows(self.task, *parts)

    def head(self, X: np.ndarray) -> Head:
        """The head that ships, on ``X``."""
        return probe_head(X, self.task, self.targets, blocks=self.blocks, weights=self.weights)

    def losses(self, raw: np.ndarray) -> np.ndarray:
        """The loss of every row's raw scores, at their best temperature."""
        found: np.ndarray = self.task.losses(raw / fit_temperature(raw, self.task, self.targets), self.targets)
        return self.weights * found


@dataclass(frozen=True, eq=False)
class _Basis:
    """The first principal directions (d, c) of a tap, and the mean that they are seen from."""

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, raw: np.ndarray, *, size: float) -> _Basis:
        """Scaled so that the whole tap, not what the directions hold of it, has rows of ``size``."""
        found = Decomposition.of(raw.astype(np.float64))
        U, s2 = found.U[:, -COLUMNS:], found.s2[-COLUMNS:]
        scale = size / max(_size(found.matrix), 1e-12)
        return cls(found.mean, found.matrix.T @ (U / np.sqrt(s2)) * scale)

    def columns(self, raw: np.ndarray) -> np.ndarray:
        return np.asarray((raw - self.mean) @ self.directions)

    def only(self, kept: np.ndarray) -> _Basis:
        return _Basis(self.mean, self.directions[:, kept])


def _size(X: np.ndarray) -> float:
    """The root of the mean squared length of the rows, seen from their mean."""
    return float(np.sqrt(X.var(axis=0).sum()))


def _relevance(Z: np.ndarray, rows: _Rows, penalty: float) -> np.ndarray:
    """‖W_j‖ of every column in the minimum of ½‖Y − ZW‖² / n + λ Σ_j ‖W_j‖₂, by accelerated proximal steps (FISTA)."""
    share = rows.weights[:, None] / rows.weights.sum()
    A, B = (np.sqrt(share) * (part - (share * part).sum(axis=0)) for part in (Z, rows.Y))
    if len(A) > A.shape[1]:  # the same squares in fewer rows
        Q, A = np.linalg.qr(A)
        B = Q.T @ B
    step = 1 / max(_curvature(A), 1e-12)
    shrink = penalty * step * float(np.linalg.norm(A.T @ B, axis=1).max(initial=0.0))
    W = ahead = np.zeros((A.shape[1], B.shape[1]))
    momentum = 1.0
    for _ in range(STEPS):
        moved = ahead - step * (A.T @ (A @ ahead - B))
        moved *= np.maximum(0.0, 1 - shrink / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-300))
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, W, momentum = moved + (momentum - 1) / after * (moved - W), moved, after
    return np.asarray(np.linalg.norm(W, axis=1))


def _curvature(A: np.ndarray) -> float:
    """A little more than the largest eigenvalue of AᵀA, by the power method."""
    along = np.ones(A.shape[1])
    for _ in range(30):
        along = A.T @ (A @ along)
        along /= max(float(np.linalg.norm(along)), 1e-300)
    return 1.1 * float(np.linalg.norm(A @ along) ** 2)


def _most(relevance: np.ndarray, share: float) -> np.ndarray:
    """Indices of the ``share`` most relevant columns, in order; without those that the fit left out, unless all are asked."""
    if share >= 1:
        return np.arange(len(relevance))
    order = np.argsort(-relevance, kind="stable")[: round(share * len(relevance))]
    return np.sort(order[relevance[order] > 0])


def _held_out(tables: Sequence[np.ndarray], rows: _Rows, pairs: Pairs) -> np.ndarray:
    """Raw scores of ridge for the held rows of all ``pairs``, a table a pair; at the strength with the smallest error there."""
    held = rows.take(np.concatenate([rest for _, rest in pairs]))
    paths = [_path(X[fit], X[rest], rows.take(fit)) for X, (fit, rest) in zip(tables, pairs, strict=True)]
    found = np.concatenate(paths, axis=1)
    errors = ((found - held.Y) ** 2).sum(axis=2) @ held.weights
    return rows.task.raw(found[int(np.argmin(errors))])


def _path(X: np.ndarray, held: np.ndarray, rows: _Rows) -> np.ndarray:
    """Ridge predictions (strengths, held, K) of ``held`` by fits on ``X`` and ``rows``."""
    found = Decomposition.of(X, weights=rows.weights)
    root, mean = np.sqrt(found.weights)[:, None], found.weights @ rows.Y / len(X)
    inside = found.U.T @ (root * (rows.Y - mean))
    across = ((held - found.mean) @ (found.matrix * root).T) @ found.U
    return np.stack([across @ (inside / (found.s2 + strength)[:, None]) + mean for strength in found.strengths])
