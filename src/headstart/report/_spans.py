"""What a tagger finds on the exam: precision, recall and F1 of every type, and what is taken for what."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.evidence import Evidence
from headstart.report import _page, _svg
from headstart.report._records import Records
from headstart.stages import _intervals

_TYPES = 40
_FEW = 20  # entities of a type that say little
_PARTS = 200  # parts of the exam that the intervals leave out in turn; more parts would not narrow them


def types(records: Records) -> str:
    """Every type of span or tag: how many there are, and how well both finalists find them."""
    found = _found(records)
    if found is None:
        return ""
    evidence, arm = found
    other = next((name for name in records.finalists if name != arm and len(evidence.of(name))), None)
    ours = evidence.task.by_type(_pooled(evidence, arm))  # type: ignore[attr-defined]
    theirs = evidence.task.by_type(_pooled(evidence, other)) if other else []  # type: ignore[attr-defined]
    gains = _gains(evidence, arm, other) if other else []
    scale, sides = _svg.Scale(0.0, 1.0, 3, 97), (records.side(arm), records.side(other))
    order = sorted((t for t in range(len(ours)) if ours[t][1]), key=lambda t: (-ours[t][1], ours[t][0]))
    rows = []
    for t in order[:_TYPES]:
        name, count, precision, recall, f1 = ours[t]
        few = '<span class="tag">few</span>' if count < _FEW else ""
        cells = [_page.text(name) + few, _page.counted(count), _page.number(precision), _page.number(recall)]
        cells += [_page.number(f1), _svg.pair(scale, _known(f1), _known(theirs[t][4]) if other else None, sides=sides)]
        rows.append([*cells, *([_page.number(theirs[t][4]), gains[t]] if other else [])])
    head = ["Type", "Exam", "Precision", "Recall", "F1", _svg.ruler(scale), *(["Other finalist", "Gain"] if other else [])]
    named = f"{_page.text(arm)}, beside {_page.text(other)}" if other else _page.text(arm)
    drawn = _page.table(
        head, rows, numeric="-nnnnw" + ("nn" if other else ""), label=f"{named}; the most frequent type first"
    )
    rest = f"{len(order) - _TYPES} more types are rarer. " if len(order) > _TYPES else ""
    told = "Intervals of the gain are 95 %, for these trained models, each type for itself: of many, some miss by chance. "
    told += f"Types of which the exam has fewer than {_FEW} have none."
    return drawn + _page.note(rest + (told if other else ""))


def confusion(records: Records) -> str:
    """Spans by true and answered type, with those that were missed, were false, or had other borders."""
    found = _found(records)
    if found is None:
        return ""
    evidence, arm = found
    task: Any = evidence.task
    table = task.confusion(_pooled(evidence, arm))
    if table is None:
        return _page.note(f"{len(task.types)} types are too many to count what was answered for what.")
    rows, columns = [*task.types, "nothing"], [*task.types, "other borders", "missed"]
    kept = [column for column in range(len(columns)) if column < len(task.types) or table[:, column].any()]
    body = []
    for row, name in enumerate(rows):
        total, cells = table[row].sum(), ""
        if row == len(task.types) and not total:
            continue
        for column in kept:
            none = row == len(task.types) and column >= len(task.types)
            share = table[row, column] / total if total else 0.0
            cells += "<td></td>" if none else _page.cell(table[row, column], share, right=row == column)
        body.append(f'<tr><th scope="row">{_named(name, row, task)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col"><span class="v">{_named(columns[at], at, task)}</span></th>' for at in kept)
    told = "Rows are the truth, columns what was answered over the same words; mean counts over seeds."
    told += " In the last row, answers that touch no entity." if table[-1].any() else ""
    return _page.note(told) + (
        '<div class="scroll" tabindex="0" role="group" aria-label="Confusion of types"><table class="heat">'
        f'<thead><tr><th scope="col">truth ╲ answer</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _named(name: str, at: int, task: Any) -> str:
    shown = _page.text(name, limit=22)
    return shown if at < len(task.types) else f"<em>{shown}</em>"


def _found(records: Records) -> tuple[Evidence, str] | None:
    """The evidence of a tagger, and the arm to show. None for another task."""
    found = records.evidence
    if found is None or found.task.name != "token_labels" or found.outcomes.ndim != 3:
        return None
    names = [arm.name for arm in found.arms]
    arm = next((name for name in (records.shipped, records.challenger, *names) if name in names), None)
    return (found, arm) if arm is not None and len(found.of(arm)) else None


def _pooled(evidence: Evidence, arm: str) -> np.ndarray:
    """Outcomes of the exam items, mean over seeds."""
    pooled: np.ndarray = evidence.of(arm).mean(axis=0)
    return pooled


def _gains(evidence: Evidence, arm: str, other: str) -> list[str]:
    """For each type the F1 of ``arm`` minus that of ``other``, with its jackknife interval over blocks."""
    T = len(evidence.task.types)  # type: ignore[attr-defined]
    part = np.unique(evidence.blocks.astype(str), return_inverse=True)[1] % _PARTS
    scores = []
    for name in (arm, other):
        counts = _pooled(evidence, name)[:, : 3 * T].reshape(-1, 3, T)
        sums = np.zeros((int(part.max()) + 1, 3, T))
        np.add.at(sums, part, counts)
        whole = sums.sum(axis=0)
        scores.append(_f1(np.concatenate([whole[None], whole - sums])))
    counts = whole[0] + whole[2]
    gains = scores[0] - scores[1]
    shown = []
    for t in range(T):
        found = _intervals.jackknife(float(gains[0, t]), gains[1:, t])
        low, high = max(-1.0, found.low), min(1.0, found.high)
        known = np.isfinite([found.low, found.high]).all()
        known = known and counts[t] >= _FEW  # so few entities tell nothing of their spread
        shown.append(_page.signed(found.value) + (f"<br><small>{_page.span(low, high, sign=True)}</small>" if known else ""))
    return shown


def _f1(counts: np.ndarray) -> np.ndarray:
    hit, false, missed = counts[:, 0], counts[:, 1], counts[:, 2]
    with np.errstate(invalid="ignore"):
        found: np.ndarray = 2 * hit / (2 * hit + false + missed)
    return found


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
