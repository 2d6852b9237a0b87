"""The exam items that a predictor gets wrong, the surest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import registry
from headstart.problem import Exam
from headstart.stages import _tagged
from headstart.strategy import Predictor


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: what it should be, what was said, how surely, and safe markup that shows the item.

    Of a sentence with tags, ``truth`` and ``answer`` list the spans that differ.
    """

    name: str
    truth: str
    answer: str
    confidence: float
    html: str


def mistakes(predictor: Predictor, exam: Exam, *, most: int = 24) -> tuple[Mistake, ...]:
    """Up to ``most`` wrong answers of ``predictor`` on ``exam``. A confident mistake tells most: it comes first.

    For numbers, the largest errors; for sentences, the mean confidence of the words with a wrong tag.
    """
    examples, task = exam.examples, predictor.task
    if task.unit == "word":
        return _sentences(predictor, exam, most=most)
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


def _sentences(predictor: Predictor, exam: Exam, *, most: int) -> tuple[Mistake, ...]:
    examples, task = exam.examples, predictor.task
    found = predictor.raw(examples)
    answers, targets, proba = task.decode(found.rows, found.offsets), examples.targets, task.proba(found.rows)
    index = {tag: number for number, tag in enumerate(task.labels)}
    sure: dict[int, float] = {}
    for i, (answer, truth) in enumerate(zip(answers, targets, strict=True)):
        wrong = [word for word, (a, t) in enumerate(zip(answer, truth, strict=True)) if a != t]
        if wrong:
            chosen = [index[answer[word]] for word in wrong]
            sure[i] = float(proba[found.offsets[i] + np.array(wrong), chosen].mean())
    names, inputs, made = examples.names, examples.inputs, []
    for i in sorted(sure, key=lambda one: -sure[one]):
        one = _sentence(task, names[i], inputs[i], truth=targets[i], answer=answers[i], sure=sure[i])
        made += [one] if one is not None else []
        if len(made) == most:
            break
    return tuple(made)


def _sentence(task: Any, name: str, words: tuple[str, ...], *, truth: Any, answer: Any, sure: float) -> Mistake | None:
    """None where the tags differ and the spans do not: that is no mistake to anyone."""
    asked, said = task.spans(truth), task.spans(answer)
    missed, false = [one for one in asked if one not in said], [one for one in said if one not in asked]
    if not missed and not false:
        return None
    shown = _tagged.shown(words, _tagged.places(asked, said), name, right=task.placed)
    return Mistake(name, _tagged.listed(words, missed), _tagged.listed(words, false), sure, shown)


def _several(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (str(value),)


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
