"""What is predicted. A task knows its head's width, its loss, its metric and how its examples are cut and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from headstart import registry

if TYPE_CHECKING:
    import numpy as np

    from headstart.features import Features
    from headstart.problem import Examples
    from headstart.strategy import Predictor

TABLE = {
    "classification": "Classification",
    "multi_label": "MultiLabel",
    "regression": "Regression",
    "token_labels": "TokenLabels",
}


class Task(Protocol):
    """What every task offers. Frozen: a task is its own record (``spec``).

    ``width`` is the number of raw scores a unit and ``labels`` names them; ``metric`` names the score; ``link`` says what
    raw scores are: ``softmax`` (log-odds of exclusive classes), ``sigmoid`` (of labels, each for itself), ``identity``.

    ``unit`` says what one row of scores stands for: the whole ``item``, or each ``word`` of a text. An item has one target;
    with several units it is a tuple with one entry for each. ``encode``, ``columns``, ``item_weights``, ``loss`` and
    ``losses`` go by units then, item after item.
    """

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def link(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def unit(self) -> str: ...

    @property
    def unitwise(self) -> Task:
        """The task seen one unit at a time, with one target a unit: itself where that is the item. What heads and rankers
        work with, so that none of them knows of sequences."""

    def tuned(self, scores: Features, targets: np.ndarray) -> Task:
        """This task with its decoding chosen on out-of-fold raw scores of whole items; itself where nothing is chosen."""

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """Targets as numbers: class indices (n,), a 0/1 table (n, C), or floats (n,)."""

    def columns(self, targets: np.ndarray) -> np.ndarray:
        """Targets as regression columns (n, width), for closed-form heads and LogME."""

    def fitted(self, targets: np.ndarray) -> Task:
        """This task with whatever it learns from training targets (a mean and a scale), learned from these."""

    def raw(self, columns: np.ndarray) -> np.ndarray:
        """Predictions of ``columns`` by regression as raw scores, so that ``decode`` and ``proba`` can read them."""

    def item_weights(self, targets: np.ndarray) -> np.ndarray | None:
        """Training weights (n,), mean 1, against class imbalance; None when every item counts the same."""

    def loss(self, scores: Any, encoded: Any) -> Any:
        """The torch training loss, one value a unit, of raw scores (units, width) and encoded targets."""

    def losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The same in numpy, (n,): log-loss for classes, squared error for numbers. For early stops and temperatures."""

    def decode(self, scores: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        """One answer an item from raw scores (units, width). Item i owns the units ``offsets[i]:offsets[i + 1]``; without
        ``offsets`` every item has one."""

    def proba(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (units, width); ``NotAdmissible`` where they have no meaning."""

    def outcomes(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """One row of sufficient statistics an item, (n, k) float64."""

    def score(self, outcomes: np.ndarray, weights: np.ndarray | None = None) -> float:
        """The metric under item weights. Ones: the score. Multinomial: a bootstrap. An indicator: one slice."""

    def strata(self, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """For a metric that is the plain mean over strata of means of per-item values in [0, 1]: each stratum's
        (item indices, values). None for any other metric, whose error then comes from the jackknife."""

    def rows(self, features: Features, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X, targets and blocks for rankers, heads and audits, one entry a unit: all of them, in order. With ``unitwise``,
        none of these knows a task."""

    def split(self, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices to keep and to hold out; blocks whole, classes in proportion."""

    def folds(self, examples: Examples, *, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(indices to fit on, indices held out) of up to k folds; blocks whole, classes in proportion. A task with a time
        order only fits on what came before."""

    def shrink(self, examples: Examples, amount: int, *, seed: int) -> np.ndarray:
        """Indices of a nested part with ``amount`` labels (a class)."""

    def amount(self, examples: Examples) -> int:
        """How much there is, as ``shrink`` counts it."""

    def shots(self, examples: Examples) -> int | None:
        """Examples in the smallest class; None where there are no classes."""

    def resample(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Item weights of one bootstrap draw of whole blocks."""

    def sit(self, predictor: Predictor, examples: Examples) -> np.ndarray:
        """Outcomes of ``predictor`` on labelled ``examples``, (n, k): predict and compare; control rolls out instead."""

    def check(self, examples: Examples) -> None:
        """``ProblemError`` if the examples cannot be learned from: one class, NaN labels, unknown classes."""

    def spec(self) -> dict[str, Any]:
        """The record: ``{"task": registered name, **fields}``."""


def task_from_spec(spec: Mapping[str, Any]) -> Task:
    """The task that ``spec`` records."""
    fields = {name: _tuples(value) for name, value in spec.items() if name != "task"}
    return registry.get("tasks", spec["task"])(**fields)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
