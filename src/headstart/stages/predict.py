"""After the verdict: answers for new examples, and how they are written."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.errors import ProblemError
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
        return _lines(self.records(proba=proba))


@dataclass(frozen=True, eq=False)
class Tagged:
    """A tag for every word: ``tags`` and ``words`` (one tuple a sentence) and ``spans`` (type, first word, word after the
    last, counted from 0).

    ``probabilities`` (words, ``labels``) and ``confidence``, the probability of each word's tag, go through all sentences.
    """

    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    tags: np.ndarray
    spans: tuple[list[tuple[str, int, int]], ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def records(self, *, proba: bool = False) -> Iterator[dict[str, Any]]:
        """One plain record a sentence. ``words[start:end]`` of a span are its words."""
        at = 0
        for name, words, tags, spans in zip(self.names, self.words, self.tags, self.spans, strict=True):
            part = slice(at, at + len(words))
            at = part.stop
            found = [
                {"type": kind, "start": start, "end": end, "text": " ".join(words[start:end])} for kind, start, end in spans
            ]
            record: dict[str, Any] = {"name": name, "words": list(words), "tags": list(tags), "spans": found}
            record["confidence"] = self.confidence[part].round(6).tolist()
            if proba:
                rows = self.probabilities[part].round(6).tolist()
                record["probabilities"] = [dict(zip(self.labels, row, strict=True)) for row in rows]
            yield record

    def csv(self, *, proba: bool = False, raw: bool = False) -> str:
        """A table with a header and a row a word, counted from 1. Guarded like that of ``Answers``."""
        safe = (lambda text: text) if raw else _harmless
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = [safe(f"p({label})") for label in self.labels] if proba else []
        writer.writerow(["name", "word_number", "word", "prediction", "confidence", *columns])
        for one in self.records(proba=proba):
            for at, (word, tag, sure) in enumerate(zip(one["words"], one["tags"], one["confidence"], strict=True)):
                more = one["probabilities"][at].values() if proba else ()
                writer.writerow([safe(one["name"]), at + 1, safe(word), safe(tag), sure, *more])
        return out.getvalue()

    def jsonl(self, *, proba: bool = False) -> str:
        """One JSON object a line, a line a sentence."""
        return _lines(self.records(proba=proba))


def predict(predictor: Predictor, examples: Examples) -> Answers | Tagged:
    """``predictor``'s answers for ``examples``, in their order; probabilities where they have a meaning."""
    if not isinstance(predictor, Predictor) or not isinstance(examples, Examples):
        raise ProblemError(
            f"predict takes a predictor and examples, not a {type(predictor).__name__} and a {type(examples).__name__}. "
            "Make them with Run.open(folder).predictor and read_examples(path), or read_examples(from_arrays(texts))."
        )
    task: Any = predictor.task
    if task.unit == "word":
        return _tagged(predictor, examples)
    found = predictor.raw(examples)
    scores = found.rows
    names, answers = tuple(examples.names), task.decode(scores, found.offsets)
    if task.link == "identity":
        return Answers(names, answers, task.labels)
    proba = task.proba(scores)
    sure = proba.max(axis=1) if task.link == "softmax" else np.maximum(proba, 1 - proba).min(axis=1)
    return Answers(names, answers, task.labels, proba, sure)


def _tagged(predictor: Predictor, examples: Examples) -> Tagged:
    task: Any = predictor.task
    words = tuple(examples.inputs)
    for name, one in zip(examples.names, words, strict=True):
        if not isinstance(one, tuple):
            raise ProblemError(
                f"'{name:.60}' is one text; {task.name} answers for words. Give sentences that are split into words: one a "
                "line of a .txt file, blanks between the words."
            )
    found = predictor.raw(examples)
    tags, proba = task.decode(found.rows, found.offsets), task.proba(found.rows)
    index = {tag: number for number, tag in enumerate(task.labels)}
    chosen = [index[tag] for sentence in tags for tag in sentence]
    spans = tuple(task.spans(one) if task.placed else [] for one in tags)
    return Tagged(tuple(examples.names), words, tags, spans, task.labels, proba, proba[np.arange(len(proba)), chosen])


def _lines(records: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(one, ensure_ascii=True) + "\n" for one in records)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) and not _NUMBER.fullmatch(text) else text
