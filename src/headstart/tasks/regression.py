"""One number for every item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _cutting
from headstart.errors import NotAdmissible, ProblemError

if TYPE_CHECKING:
    from headstart.features import Features
    from headstart.problem import Examples
    from headstart.strategy import Predictor


@dataclass(frozen=True)
class Regression:
    """Regression, scored by R². ``mean`` and ``scale`` standardise the target, so that losses have no unit.

    Outcomes are (1, y, y², (y − ŷ)²) an item, with y centred on ``mean``: R² of any weighting follows exactly.
    """

    target: str = ""
    metric: str = "r2"
    mean: float = 0.0
    scale: float = 1.0
    descriptions: Any = None

    name: ClassVar[str] = "regression"
    link: ClassVar[str] = "identity"
    unit: ClassVar[str] = "item"
    width: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.metric != "r2":
            raise ProblemError(f"'{self.metric}' is no metric of regression. Use 'r2'.")
        if not self.scale > 0:
            raise ProblemError(
                f"The target's scale is {self.scale}; a positive number is needed: do all rows have one value?"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.target or "value",)

    @property
    def unitwise(self) -> Regression:
        return self

    def tuned(self, scores: Features, targets: np.ndarray) -> Regression:
        return self

    def encode(self, targets: np.ndarray) -> np.ndarray:
        return (np.asarray(targets, dtype=np.float64) - self.mean) / self.scale

    def columns(self, targets: np.ndarray) -> np.ndarray:
        return self.encode(targets)[:, None]

    def fitted(self, targets: np.ndarray) -> Regression:
        values = np.asarray(targets, dtype=np.float64)
        return replace(self, mean=float(values.mean()), scale=float(values.std()) or 1.0)

    def raw(self, columns: np.ndarray) -> np.ndarray:
        return columns

    def item_weights(self, targets: np.ndarray) -> np.ndarray | None:
        return None

    def loss(self, scores: Any, encoded: Any) -> Any:
        return (scores[:, 0] - encoded) ** 2

    def losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (scores[:, 0] - self.encode(targets)) ** 2

    def decode(self, scores: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        return scores[:, 0] * self.scale + self.mean

    def proba(self, scores: np.ndarray) -> np.ndarray:
        raise NotAdmissible("A number has no class probabilities. Use predict.")

    def outcomes(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        y = np.asarray(targets, dtype=np.float64) - self.mean
        error = np.asarray(predictions, dtype=np.float64) - self.mean - y
        return np.stack([np.ones_like(y), y, y**2, error**2], axis=1)

    def score(self, outcomes: np.ndarray, weights: np.ndarray | None = None) -> float:
        weight = np.ones(len(outcomes)) if weights is None else np.asarray(weights, dtype=float)
        count, total, squares, errors = weight @ outcomes
        spread = squares - total**2 / count if count else 0.0
        return float(1 - errors / spread) if spread > 0 else float("nan")

    def strata(self, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
        return None

    def rows(self, features: Features, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return features.rows.astype(np.float64), examples.targets, examples.blocks

    def split(self, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return _cutting.split(_cutting.bins(self.encode(examples.targets)), examples.blocks, fraction=fraction, seed=seed)

    def folds(self, examples: Examples, *, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return _cutting.pairs(_cutting.folds(_cutting.bins(self.encode(examples.targets)), examples.blocks, k=k, seed=seed))

    def shrink(self, examples: Examples, amount: int, *, seed: int) -> np.ndarray:
        return _cutting.shrink(np.zeros(len(examples)), examples.blocks, amount=amount, seed=seed)

    def amount(self, examples: Examples) -> int:
        return len(examples)

    def shots(self, examples: Examples) -> int | None:
        return None

    def resample(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _cutting.resample(blocks, rng)

    def sit(self, predictor: Predictor, examples: Examples) -> np.ndarray:
        return self.outcomes(examples.targets, predictor.predict(examples))

    def check(self, examples: Examples) -> None:
        values = np.asarray(examples.targets, dtype=np.float64)
        if len(values) < 4:
            raise ProblemError(f"{len(values)} training rows; at least 4 are needed to learn a number. Add rows.")
        if not np.isfinite(values).all():
            raise ProblemError(
                f"{int((~np.isfinite(values)).sum())} targets are not finite numbers. Correct or remove those rows."
            )
        if values.std() == 0:
            raise ProblemError(
                f"Every target is {values[0]}; there is nothing to predict. Is the label column the right one?"
            )

    def spec(self) -> dict[str, Any]:
        return {"task": self.name, "target": self.target, "metric": self.metric, "mean": self.mean, "scale": self.scale}
