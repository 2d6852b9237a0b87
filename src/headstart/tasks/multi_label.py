"""Any number of labels for every item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _cutting
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart.features import Features
    from headstart.problem import Examples
    from headstart.strategy import Predictor

METRICS = ("macro_f1", "micro_f1")


@dataclass(frozen=True)
class MultiLabel:
    """Multi-label classification. Targets are tuples of class names, possibly empty.

    ``metric`` is ``macro_f1`` (mean over the labels that are present) or ``micro_f1``. Outcomes are the true positives,
    false positives and false negatives of every label: (n, 3 × labels).
    """

    classes: tuple[str, ...]
    metric: str = "macro_f1"
    class_weights: str | None = None
    descriptions: Any = None

    name: ClassVar[str] = "multi_label"
    link: ClassVar[str] = "sigmoid"
    unit: ClassVar[str] = "item"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ProblemError(f"'{self.metric}' is no metric of multi_label. Use one of {', '.join(METRICS)}.")
        if self.class_weights is not None:
            raise ProblemError("multi_label has no class weights. Leave class_weights out; macro_f1 weighs labels equally.")

    @property
    def width(self) -> int:
        return len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes

    @property
    def unitwise(self) -> MultiLabel:
        return self

    def tuned(self, scores: Features, targets: np.ndarray) -> MultiLabel:
        return self

    def encode(self, targets: np.ndarray) -> np.ndarray:
        index = {name: number for number, name in enumerate(self.classes)}
        table = np.zeros((len(targets), self.width))
        for row, names in enumerate(targets):
            for name in names:
                if str(name) not in index:
                    raise ProblemError(f"Label {str(name)!r} is not one of the {self.width} labels of the training data.")
                table[row, index[str(name)]] = 1
        return table

    def columns(self, targets: np.ndarray) -> np.ndarray:
        return self.encode(targets)

    def fitted(self, targets: np.ndarray) -> MultiLabel:
        return self

    def raw(self, columns: np.ndarray) -> np.ndarray:
        return columns - 0.5  # a label is answered above one half

    def item_weights(self, targets: np.ndarray) -> np.ndarray | None:
        return None

    def loss(self, scores: Any, encoded: Any) -> Any:
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(scores, encoded.to(scores.dtype), reduction="none").mean(dim=1)

    def losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (np.logaddexp(0, scores) - scores * self.encode(targets)).mean(axis=1)

    def decode(self, scores: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        answers = np.empty(len(scores), dtype=object)
        for row, positive in enumerate(scores > 0):
            answers[row] = tuple(name for name, on in zip(self.classes, positive, strict=True) if on)
        return answers

    def proba(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -scores))

    def outcomes(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        truth, answer = self.encode(targets), self.encode(predictions)
        return np.concatenate([truth * answer, (1 - truth) * answer, truth * (1 - answer)], axis=1)

    def score(self, outcomes: np.ndarray, weights: np.ndarray | None = None) -> float:
        weight = np.ones(len(outcomes)) if weights is None else np.asarray(weights, dtype=float)
        hit, false, missed = (weight @ outcomes).reshape(3, self.width)
        if self.metric == "micro_f1":
            hit, false, missed = (part.sum(keepdims=True) for part in (hit, false, missed))
        whole = 2 * hit + false + missed
        present = whole > 0
        return float((2 * hit[present] / whole[present]).mean()) if present.any() else float("nan")

    def strata(self, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
        return None

    def rows(self, features: Features, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return features.rows.astype(np.float64), examples.targets, examples.blocks

    def split(self, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return _cutting.split(self._rarest(examples), examples.blocks, fraction=fraction, seed=seed)

    def folds(self, examples: Examples, *, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return _cutting.pairs(_cutting.folds(self._rarest(examples), examples.blocks, k=k, seed=seed))

    def shrink(self, examples: Examples, amount: int, *, seed: int) -> np.ndarray:
        return _cutting.shrink(self._rarest(examples), examples.blocks, amount=amount, seed=seed)

    def amount(self, examples: Examples) -> int:
        return len(examples) // max(1, self.width)

    def shots(self, examples: Examples) -> int | None:
        return int(self.encode(examples.targets).sum(axis=0).min()) if self.width else None

    def resample(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _cutting.resample(blocks, rng)

    def sit(self, predictor: Predictor, examples: Examples) -> np.ndarray:
        return self.outcomes(examples.targets, predictor.predict(examples))

    def check(self, examples: Examples) -> None:
        counts = self.encode(examples.targets).sum(axis=0) if self.width else np.zeros(0)
        if not self.width or len(examples) < 4:
            raise ProblemError(f"{len(examples)} items with {self.width} labels; at least 4 items and 1 label are needed.")
        if counts.min() < 2:
            name = self.classes[int(counts.argmin())]
            raise ProblemError(f"Label '{name:.60}' stands on {int(counts.min())} training items; at least 2 are needed.")

    def spec(self) -> dict[str, Any]:
        return {"task": self.name, "classes": list(self.classes), "metric": self.metric}

    def _rarest(self, examples: Examples) -> np.ndarray:
        """Each item's rarest label (or −1): strata that spread rare labels first."""
        table = self.encode(examples.targets)
        counts = table.sum(axis=0)
        rarity = np.where(table > 0, counts, np.inf)
        strata = np.where(table.any(axis=1), rarity.argmin(axis=1), -1)
        values, sizes = np.unique(strata, return_counts=True)
        return np.where(np.isin(strata, values[sizes >= 2]), strata, -1)
