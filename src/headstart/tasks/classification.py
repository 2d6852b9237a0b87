"""One class out of several for every item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _cutting
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart.features import Features
    from headstart.problem import Examples
    from headstart.strategy import Predictor

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Classification:
    """Single-label classification.

    ``metric`` is ``accuracy``, ``balanced_accuracy`` (mean recall over the classes that are present; *prefer it when* the
    rare classes matter as much as the common ones) or ``macro_f1``. ``class_weights="balanced"`` weighs training items by
    the inverse frequency of their class. Outcomes are three columns an item: hit (0 or 1), true class, answered class.
    """

    classes: tuple[str, ...]
    metric: str = "accuracy"
    class_weights: str | None = None
    descriptions: Any = None

    name: ClassVar[str] = "classification"
    link: ClassVar[str] = "softmax"
    unit: ClassVar[str] = "item"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ProblemError(f"'{self.metric}' is no metric of classification. Use one of {', '.join(METRICS)}.")
        if self.class_weights not in (None, "balanced"):
            raise ProblemError(f"class_weights is '{self.class_weights}'; None or 'balanced' would be right.")
        if len(set(self.classes)) != len(self.classes):
            raise ProblemError("Two classes have the same name. Give every class a name of its own.")

    @property
    def width(self) -> int:
        return len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes

    @property
    def unitwise(self) -> Classification:
        return self

    def tuned(self, scores: Features, targets: np.ndarray) -> Classification:
        return self

    def encode(self, targets: np.ndarray) -> np.ndarray:
        index = {name: number for number, name in enumerate(self.classes)}
        try:
            return np.array([index[str(target)] for target in targets], dtype=np.int64)
        except KeyError as error:
            raise ProblemError(
                f"Class {error.args[0]!r} is not one of the {self.width} classes that the training data has. "
                "Add training examples of it, or remove it from the other parts."
            ) from None

    def columns(self, targets: np.ndarray) -> np.ndarray:
        return np.eye(self.width)[self.encode(targets)]

    def fitted(self, targets: np.ndarray) -> Classification:
        return self

    def raw(self, columns: np.ndarray) -> np.ndarray:
        return columns

    def item_weights(self, targets: np.ndarray) -> np.ndarray | None:
        if self.class_weights is None:
            return None
        encoded = self.encode(targets)
        counts = np.bincount(encoded, minlength=self.width)
        weights = 1.0 / counts[encoded]
        return weights / weights.mean()

    def loss(self, scores: Any, encoded: Any) -> Any:
        from torch.nn.functional import cross_entropy

        return cross_entropy(scores, encoded, reduction="none")

    def losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(scores)), self.encode(targets)]

    def decode(self, scores: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        return np.array(self.classes, dtype=object)[scores.argmax(axis=1)]

    def proba(self, scores: np.ndarray) -> np.ndarray:
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def outcomes(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        truth, answer = self.encode(targets), self.encode(predictions)
        return np.stack([truth == answer, truth, answer], axis=1).astype(np.float64)

    def score(self, outcomes: np.ndarray, weights: np.ndarray | None = None) -> float:
        hits, truth, answer = outcomes[:, 0], outcomes[:, 1].astype(int), outcomes[:, 2].astype(int)
        weight = np.ones(len(outcomes)) if weights is None else np.asarray(weights, dtype=float)
        if self.metric == "accuracy":
            return float(weight @ hits / weight.sum()) if weight.sum() else float("nan")
        of_class = np.bincount(truth, weight, self.width)
        hit = np.bincount(truth, weight * hits, self.width)
        if self.metric == "balanced_accuracy":
            present = of_class > 0
            return float((hit[present] / of_class[present]).mean()) if present.any() else float("nan")
        both = of_class + np.bincount(answer, weight, self.width)
        present = both > 0  # a class that is neither asked for nor answered has no F1
        return float((2 * hit[present] / both[present]).mean()) if present.any() else float("nan")

    def strata(self, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
        if self.metric == "accuracy":
            return [(np.arange(len(outcomes)), outcomes[:, 0])]
        if self.metric == "balanced_accuracy":
            truth = outcomes[:, 1].astype(int)
            return [(index, outcomes[index, 0]) for c in np.unique(truth) if len(index := np.flatnonzero(truth == c))]
        return None

    def rows(self, features: Features, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return features.rows.astype(np.float64), examples.targets, examples.blocks

    def split(self, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return _cutting.split(self.encode(examples.targets), examples.blocks, fraction=fraction, seed=seed)

    def folds(self, examples: Examples, *, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return _cutting.pairs(_cutting.folds(self.encode(examples.targets), examples.blocks, k=k, seed=seed))

    def shrink(self, examples: Examples, amount: int, *, seed: int) -> np.ndarray:
        return _cutting.shrink(self.encode(examples.targets), examples.blocks, amount=amount, seed=seed)

    def amount(self, examples: Examples) -> int:
        return len(examples) // max(1, self.width)

    def shots(self, examples: Examples) -> int | None:
        counts = Counter(str(target) for target in examples.targets)
        return min((counts.get(name, 0) for name in self.classes), default=None)

    def resample(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _cutting.resample(blocks, rng)

    def sit(self, predictor: Predictor, examples: Examples) -> np.ndarray:
        return self.outcomes(examples.targets, predictor.predict(examples))

    def check(self, examples: Examples) -> None:
        if len(self.classes) < 2:
            only = f"only one class, '{self.classes[0]:.60}'" if self.classes else "no class"
            raise ProblemError(f"The training data has {only}; at least 2 are needed. Add examples of another class.")
        counts = Counter(self.encode(examples.targets).tolist())
        few = {self.classes[c]: counts.get(c, 0) for c in range(self.width) if counts.get(c, 0) < 2}
        if few:
            name, count = next(iter(few.items()))
            more = f" ({len(few)} classes are that small)" if len(few) > 1 else ""
            raise ProblemError(
                f"Class '{name:.60}' has {count} training example{'' if count == 1 else 's'}{more}; at least 2 per class are "
                "needed, so that one can be learned from while the other checks. Add examples, or leave the class out."
            )

    def spec(self) -> dict[str, Any]:
        fields = {"classes": list(self.classes), "metric": self.metric, "class_weights": self.class_weights}
        return {"task": self.name, **fields}
