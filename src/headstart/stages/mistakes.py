"""The exam items that a predictor gets wrong, the surest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart import registry
from headstart.problem import Exam
from headstart.strategy import Predictor


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: what it should be, what was said, how surely, and safe markup that shows the item."""

    name: str
    truth: str
    answer: str
    confidence: float
    html: str


def mistakes(predictor: Predictor, exam: Exam, *, most: int = 24) -> tuple[Mistake, ...]:
    """Up to ``most`` wrong answers of ``predictor`` on ``exam``. A confident mistake tells most: it comes first.

    For numbers, the largest errors.
    """
    examples, task = exam.examples, predictor.task
    answers = predictor.predict(examples)
    if task.link == "identity":
        wrong = np.asarray(answers, dtype=float) - np.asarray(examples.targets, dtype=float)
        sure = np.abs(wrong) / (np.abs(wrong).max() or 1.0)
        order = list(np.argsort(-sure, kind="stable"))
    else:
        proba = predictor.predict_proba(examples)
        sure = proba.max(axis=1) if task.link == "softmax" else np.abs(proba - 0.5).mean(axis=1) * 2
        differs = [set(_several(a)) != set(_several(t)) for a, t in zip(answers, examples.targets, strict=True)]
        order = [i for i in np.argsort(-sure, kind="stable") if differs[i]]
    kind, names, inputs = registry.get("inputs", examples.kind)(), examples.names, examples.inputs
    return tuple(
        Mistake(names[i], _said(examples.targets[i]), _said(answers[i]), float(sure[i]), kind.show(inputs[i], names[i]))
        for i in order[:most]
    )


def _several(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (str(value),)


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
