"""What the shipped recipe answers on the exam: confusions, recall of every class, slices, telling mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headstart.evidence import Evidence
from headstart.report import _page, _svg
from headstart.report._records import Records

_CLASSES = 30  # as many as a matrix shows legibly
_VALUES = 30
_FOLDED = 300  # classes with a higher recall that are there when asked for
_PHOTOS = 24
_MARKUP = 500_000  # characters that pictures may take


def confusion(records: Records) -> str:
    """Rows are the truth, columns the answers; the mean over seeds."""
    found = _counts(records)
    if found is None:
        return ""
    _, table, classes = found
    tops = _confused(table, classes)
    if len(classes) <= _CLASSES:
        return f'<div class="beside">{_matrix(table, classes)}{tops}</div>'
    return _page.note(f"{len(classes)} classes are too many for a matrix.") + tops


def recall(records: Records) -> str:
    """How much of each class is found, by both finalists."""
    found = _counts(records)
    if found is None or records.evidence is None:
        return ""
    arm, table, classes = found
    other = next((name for name in records.finalists if name != arm), None)
    beside = _table(records.evidence, other, len(classes)) if other else None
    ours, theirs = _rates(table), _rates(beside) if beside is not None else [None] * len(classes)
    answered = table.sum(axis=0)
    precision = [table[c, c] / answered[c] if answered[c] else None for c in range(len(classes))]
    scale, sides = _svg.Scale(0.0, 1.0, 3, 97), (records.side(arm), records.side(other))
    order = sorted((c for c in range(len(classes)) if table[c].sum()), key=lambda c: (ours[c] or 0.0, c))
    rows = []
    for c in order[: _VALUES + _FOLDED]:
        cells = [_page.text(classes[c]), _page.counted(table[c].sum()), _page.number(ours[c])]
        cells += [_svg.pair(scale, ours[c], theirs[c], sides=sides)]
        cells += ([_page.number(theirs[c])] if other else []) + [_page.number(precision[c])]
        rows.append(cells)
    head = ["Class", "Exam", "Recall", _svg.ruler(scale), *(["Other finalist"] if other else []), "Precision"]
    label, numeric = f"Recall and precision of {_page.text(arm)}; the lowest recall first", "-nnwnn" if other else "-nnwn"
    shown, rest = _page.table(head, rows[:_VALUES], numeric=numeric, label=label), len(order) - _VALUES
    if rest <= 0:
        return shown
    told = f"{_page.plural(rest, 'more class has', 'more classes have')} a higher recall"
    return shown + _page.folded(told, _page.table(head, rows[_VALUES:], numeric=numeric))


def slices(records: Records) -> str:
    """Scores of both finalists on every value of every slice."""
    found = records.evidence
    if found is None or not found.slices:
        return ""
    parts = []
    for name, values in list(found.slices.items())[:12]:
        rows = _slice(records, found, np.asarray([str(value) for value in values], dtype=object))
        if rows:
            head = [_page.text(name), _unit(records), *(_page.text(arm, limit=40) for arm in records.finalists)]
            wide = len(records.finalists) == 2
            parts.append(_page.table(head + (["Gain"] if wide else []), rows, numeric="-nnn" + "n" * wide))
    told = "Slices have no intervals of their own: with few items a difference means little."
    return "".join(parts) + _page.note(told) if parts else ""


def mistakes(records: Records) -> str:
    """The items that went wrong with the most confidence, as pictures or as texts."""
    figures: list[str] = []
    texts = records.problem.get("kind") == "text"
    room = _MARKUP
    for one in records.mistakes[:_PHOTOS]:
        # A number comes with no confidence.
        figure = _figure(one, sure=records.task != "regression", limit=200 if texts else 40)
        room -= len(figure)
        if room < 0:
            break
        figures.append(figure)
    if not figures:
        return ""
    left = len(records.mistakes) - len(figures)
    words = f"{left} more are not shown. " if left > 0 else ""
    if records.task == "token_labels":
        words += "Under each: what was answered, how sure it was of the wrong words, and the truth, where the two differ."
    return f'<div class="{"texts" if texts else "photos"}">{"".join(figures)}</div>' + _page.note(words)


def _figure(one: Mapping[str, Any], *, sure: bool, limit: int) -> str:
    share = one.get("confidence")
    how = f" ({_page.number(100 * share, decimals=0)} %)" if sure and isinstance(share, (int, float)) else ""
    return (
        f'<figure><div class="shown">{_page.picture(one.get("html") or "")}</div><figcaption>'
        f"<b>{_answer(one.get('answer'), limit)}</b>{how}<br>"
        f'<span class="truth">truth: {_answer(one.get("truth"), limit)}</span>'
        f"<small>{_page.text(one.get('name') or '', limit=40)}</small></figcaption></figure>"
    )


def _answer(value: Any, limit: int) -> str:
    if isinstance(value, float):
        return _page.number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_page.text(part, limit=32) for part in value[:12]) or "none of them"
    return _page.text(value, limit=limit)


def _counts(records: Records) -> tuple[str, np.ndarray, tuple[str, ...]] | None:
    """The arm to show, its confusions (mean over seeds) and the classes. None for a task without such a table."""
    found = records.evidence
    if found is None or found.task.name != "classification" or found.outcomes.ndim != 3 or found.outcomes.shape[2] != 3:
        return None
    names = [arm.name for arm in found.arms]
    arm = next((name for name in (records.shipped, records.challenger, *names) if name in names), None)
    table = _table(found, arm, found.task.width) if arm else None
    return None if arm is None or table is None else (arm, table, tuple(found.task.labels))


def _table(found: Evidence, arm: str, width: int) -> np.ndarray | None:
    outcomes = found.of(arm)
    if not len(outcomes):
        return None
    truth, answer = outcomes[..., 1].astype(int).ravel(), outcomes[..., 2].astype(int).ravel()
    if min(truth.min(initial=0), answer.min(initial=0)) < 0 or max(truth.max(initial=0), answer.max(initial=0)) >= width:
        return None
    table = np.zeros((width, width))
    np.add.at(table, (truth, answer), 1.0)
    return table / len(outcomes)


def _rates(table: np.ndarray) -> list[float | None]:
    return [float(row[c] / row.sum()) if row.sum() else None for c, row in enumerate(table)]


def _matrix(table: np.ndarray, classes: Sequence[str]) -> str:
    head = "".join(f'<th scope="col"><span class="v">{_page.text(name, limit=22)}</span></th>' for name in classes)
    body = []
    for c, name in enumerate(classes):
        total = table[c].sum()
        cells = "".join(
            _page.cell(table[c, a], table[c, a] / total if total else 0.0, right=a == c) for a in range(len(classes))
        )
        body.append(f'<tr><th scope="row">{_page.text(name, limit=22)}</th>{cells}</tr>')
    small = " small" if len(classes) > 16 else ""
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="Confusion matrix">'
        f'<table class="heat{small}">'
        "<caption><span>Rows are the truth, columns the answers; mean counts over seeds</span></caption>"
        f'<thead><tr><th scope="col">truth ╲ answer</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _confused(table: np.ndarray, classes: Sequence[str]) -> str:
    wrong = table.copy()
    np.fill_diagonal(wrong, 0.0)
    order = [
        (int(i), int(j))
        for i, j in zip(*np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape), strict=True)
    ]
    most = [(i, j) for i, j in order[: 8 if len(classes) <= _CLASSES else 24] if wrong[i, j] > 0]
    if not most:
        return _page.note("There were no wrong answers.")
    rows = [
        [
            _page.text(classes[i]),
            _page.text(classes[j]),
            _page.counted(wrong[i, j]),
            _page.number(wrong[i, j] / table[i].sum()),
        ]
        for i, j in most
    ]
    return _page.table(["Truth", "Answer", "Items", "Of the class"], rows, numeric="--nn", label="Most confused pairs")


def _slice(records: Records, found: Evidence, values: np.ndarray) -> list[list[str]]:
    rows = []
    kinds, sizes = np.unique(values.astype(str), return_counts=True)
    order = sorted(range(len(kinds)), key=lambda k: (-sizes[k], kinds[k]))[:_VALUES]
    arms = [name for name in records.finalists if len(found.of(name))]
    if len(arms) != len(records.finalists):
        return []
    for k in order:
        scores = [found.score(name, (values.astype(str) == kinds[k]).astype(float)) for name in arms]
        few = '<span class="tag">few</span>' if sizes[k] < 20 else ""
        cells = [_page.text(kinds[k]) + few, _page.counted(int(sizes[k])), *(_page.number(score) for score in scores)]
        rows.append(cells + ([_page.signed(scores[0] - scores[1])] if len(arms) == 2 else []))
    return rows


def _unit(records: Records) -> str:
    return _page.text(records.plural, limit=24).capitalize()
