"""A strong classical model on the input kind's classical features: what transfer has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import registry
from headstart._linear import Decomposition, fit_temperature
from headstart._sparse import sparse_head
from headstart.errors import NotAdmissible
from headstart.features import Features, unit_offsets
from headstart.strategy import Plan, Predictor, Scorer

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from headstart.features import Lens
    from headstart.problem import Examples, Problem


@dataclass(frozen=True)
class Plain:
    """A tuned classical model on classical features, no pre-training anywhere.

    Where features are many and mostly zero (texts): a linear support vector machine (Joachims 1998), ridge for numbers.
    Else kernel ridge (least-squares SVM; Suykens & Vandewalle 1999): kernel (linear or Gaussian of several widths) and
    strength are chosen by exact leave-one-out error. The kernel averages over an item's views, so a photo and its mirror
    image are one thing (Haasdonk & Burkhardt 2007). ``widths`` multiply the median squared distance; the choice reads at
    most ``rows`` items, the fit all of them.
    """

    widths: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0)
    rows: int = 1000

    name: ClassVar[str] = "plain"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    starts_from: ClassVar[str] = "nothing"
    deterministic: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, train = problem.task, problem.train
        kind = registry.get("inputs", train.kind)()
        state = kind.fit_plain(train.inputs)
        if hasattr(kind.plain(train.inputs[:1], state), "tocsr"):
            return self._fit_sparse(problem, lens, state)
        # What is kept is single precision; the fit sees exactly that, so that a restored predictor answers the same.
        X = _described(train, state)
        Y, weights = task.columns(train.targets), task.item_weights(train.targets)
        part = np.sort(np.random.default_rng(0).permutation(len(X))[: self.rows])
        unit = _median_distance(X[part, 0])
        part_weights = None if weights is None else weights[part]
        tried = [
            (self._loss(X[part], Y[part], part_weights, width, unit, train.blocks[part]), width)
            for width in (0.0, *self.widths)
        ]
        width = min(tried)[1]
        K = kernel(X, X, width=width * unit)
        found = Decomposition.of_kernel(K, weights=weights)
        strength, left_out = found.select(Y, blocks=train.blocks)
        dual = found.dual(Y, strength)
        bias = task.raw((found.weights @ (Y - K @ dual)) / len(Y))
        scorer = KernelScorer(X.astype(np.float32), dual, bias, width * unit, state)
        temperature = fit_temperature(task.raw(left_out), task, train.targets)
        return Predictor(task, lens, self, scorer, temperature, {"width": width, "strength": strength})

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        learned = {name.removeprefix("plain."): array for name, array in arrays.items() if name.startswith("plain.")}
        if "weights" in arrays:
            return SparseScorer(arrays["weights"], arrays["bias"], state["unit"], learned)
        return KernelScorer(arrays["rows"], arrays["dual"], arrays["bias"], state["width"], learned)

    def _fit_sparse(self, problem: Problem, lens: Lens, state: dict[str, np.ndarray]) -> Predictor:
        task, train = problem.task, problem.train
        X, offsets = _sparse_rows(train, state, task.unit)
        _, targets, blocks = task.rows(Features(np.zeros((X.shape[0], 0)), offsets), train)
        head = sparse_head(X, task.unitwise, targets, blocks=blocks, weights=task.item_weights(train.targets))
        scorer = SparseScorer(head.weights.astype(np.float32), head.bias, task.unit, state)
        notes = {"strength": head.strength, "features": X.shape[1]}
        return Predictor(head.tune(task, train, offsets), lens, self, scorer, head.temperature, notes)

    def _loss(
        self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None, width: float, unit: float, blocks: np.ndarray
    ) -> float:
        found = Decomposition.of_kernel(kernel(X, X, width=width * unit), weights=weights)
        return float(found.weights @ ((Y - found.select(Y, blocks=blocks)[1]) ** 2).sum(axis=1))


@dataclass(frozen=True, eq=False)
class KernelScorer:
    """Kernel rows times dual coefficients. ``rows`` (n, views, d), float32, are the training items' classical features."""

    rows: np.ndarray
    dual: np.ndarray
    bias: np.ndarray
    width: float
    plain: Mapping[str, np.ndarray]

    def scores(self, examples: Examples, lens: Lens) -> Features:
        described = _described(examples, dict(self.plain))
        # 256 rows at a time: the kernel stays small however many items are asked about.
        parts = [described[start : start + 256] for start in range(0, len(described), 256)]
        rows = self.rows.astype(np.float64)
        found = np.concatenate([kernel(part, rows, width=self.width) @ self.dual for part in parts])
        return Features.one_each(found + self.bias)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {"rows": self.rows, "dual": self.dual, "bias": self.bias}
        return {"width": self.width}, {**arrays, **{f"plain.{name}": array for name, array in self.plain.items()}}


@dataclass(frozen=True, eq=False)
class SparseScorer:
    """A linear head on sparse classical features: ``weights`` (d, K) float32, ``plain`` the vocabulary."""

    weights: np.ndarray
    bias: np.ndarray
    unit: str
    plain: Mapping[str, np.ndarray]

    def scores(self, examples: Examples, lens: Lens) -> Features:
        X, offsets = _sparse_rows(examples, dict(self.plain), self.unit)
        return Features(X @ self.weights.astype(np.float64) + self.bias, offsets)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {"weights": self.weights, "bias": self.bias}
        return {"unit": self.unit}, {**arrays, **{f"plain.{name}": array for name, array in self.plain.items()}}


def kernel(A: np.ndarray, B: np.ndarray, *, width: float) -> np.ndarray:
    """Mean over pairs of views of exp(−‖a − b‖² / width), or of a·b where ``width`` is 0. (n, v, d), (m, v, d) → (n, m)."""
    total = np.zeros((len(A), len(B)))
    views = A.shape[1]
    # Views are equivalent looks, so pairing the first of A with every one of B already covers every relative pose.
    for view in range(views):
        product = A[:, 0] @ B[:, view].T
        if width:
            squares = (A[:, 0] ** 2).sum(axis=1)[:, None] + (B[:, view] ** 2).sum(axis=1)[None, :] - 2 * product
            product = np.exp(-np.maximum(squares, 0) / width)
        total += product
    return total / views


def _described(examples: Examples, state: dict[str, np.ndarray]) -> np.ndarray:
    """The classical features of ``examples``; computed once for an item and a state, then remembered with the root."""
    kind = registry.get("inputs", examples.kind)()
    key = ("plain", tuple(sorted((name, array.tobytes()) for name, array in state.items())))
    memo = examples.items.memo.setdefault(key, {})
    new = [row for row in dict.fromkeys(examples.rows.tolist()) if row not in memo]
    if new:
        found = kind.plain([examples.items.inputs[row] for row in new], state)
        memo.update(zip(new, found.astype(np.float32), strict=True))
    return np.stack([memo[row] for row in examples.rows.tolist()]).astype(np.float64)


def _sparse_rows(examples: Examples, state: dict[str, np.ndarray], unit: str) -> tuple[csr_matrix, np.ndarray]:
    """Sparse classical features and the offsets of items. Not remembered: a vocabulary meets an item once."""
    found, offsets = registry.get("inputs", examples.kind)().plain(examples.inputs, state), unit_offsets(examples, unit)
    if found.shape[0] != offsets[-1]:
        raise NotAdmissible(
            f"{len(examples)} items gave {found.shape[0]} rows of classical features; one for each {unit} is needed. "
            "Give texts to classify, and sequences of words to tag."
        )
    return found, offsets


def _median_distance(X: np.ndarray) -> float:
    part = X[:300]
    squares = _squares(part)
    upper = squares[np.triu_indices(len(part), 1)]
    return float(np.median(upper)) or 1.0 if len(upper) else 1.0


def _squares(X: np.ndarray) -> np.ndarray:
    norms = (X**2).sum(axis=1)
    return np.maximum(norms[:, None] + norms[None, :] - 2 * X @ X.T, 0)
