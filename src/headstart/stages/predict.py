"""After the verdict: answers for new examples, and how they are written."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from headstart.problem import Examples
    from headstart.strategy import Predictor

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet may run a cell that begins so
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
SEVERAL = "|"  # between the labels of one cell, as the table reader has it


@dataclass(frozen=True, eq=False)
class Answers:
    """One answer an item: ``predictions``, and for classes ``probabilities`` (items, ``labels``) and ``confidence``.

    ``confidence`` is the probability of the answer; of several labels, that of the one that is least sure.
    """

    names: tuple[str, ...]
    predictions: np.ndarray
    labels: tuple[str, ...]
    probabilities: np.ndarray | None = None
    confidence: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def records(self, *, proba: bool = False) -> Iterator[dict[str, Any]]:
        """One plain record an item."""
        for row, name in enumerate(self.names):
            answer = self.predictions[row]
            answer = list(answer) if isinstance(answer, tuple) else float(answer) if self.confidence is None else str(answer)
            record: dict[str, Any] = {"name": name, "prediction": answer}
            if self.confidence is not None:
                record["confidence"] = round(float(self.confidence[row]), 6)
            if proba and self.probabilities is not None:
                record["probabilities"] = dict(zip(self.labels, self.probabilities[row].round(6).tolist(), strict=True))
            yield record

    def csv(self, *, proba: bool = False, raw: bool = False) -> str:
        """A table with a header. Text that a spreadsheet would run as a formula gets a leading ``'``, unless ``raw``."""
        safe = (lambda text: text) if raw else _harmless
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        sure = ["confidence"] if self.confidence is not None else []
        columns = self.labels if proba and self.probabilities is not None else ()
        writer.writerow(["name", "prediction", *sure, *(safe(f"p({label})") for label in columns)])
        for one in self.records(proba=bool(columns)):
            answer = one["prediction"]
            answer = SEVERAL.join(answer) if isinstance(answer, list) else answer
            shown = safe(answer) if isinstance(answer, str) else f"{answer:.10g}"
            numbers = [one["confidence"]] if sure else []
            writer.writerow([safe(one["name"]), shown, *numbers, *one.get("probabilities", {}).values()])
        return out.getvalue()

    def jsonl(self, *, proba: bool = False) -> str:
        """One JSON object a line."""
        return "".join(json.dumps(one, ensure_ascii=True) + "\n" for one in self.records(proba=proba))


def predict(predictor: Predictor, examples: Examples) -> Answers:
    """``predictor``'s answers for ``examples``, in their order; probabilities where they have a meaning."""
    task = predictor.task
    found = predictor.raw(examples)
    scores = found.rows
    names, answers = tuple(examples.names), task.decode(scores, found.offsets)
    if task.link == "identity":
        return Answers(names, answers, task.labels)
    proba = task.proba(scores)
    sure = proba.max(axis=1) if task.link == "softmax" else np.maximum(proba, 1 - proba).min(axis=1)
    return Answers(names, answers, task.labels, proba, sure)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) and not _NUMBER.fullmatch(text) else text
