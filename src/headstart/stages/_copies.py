"""The same content twice: within a part, across parts, under two labels, or as one block cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.problem import Examples, shared

# Whose copy stays: nothing may leave the exam, and what is learned from comes before what only checks.
RANK = {"exam": 0, "": 1, "train": 1, "valid": 2}


def originals(
    fingerprints: Sequence[str],
    parts: Sequence[str],
    *,
    names: Sequence[str],
    targets: np.ndarray,
    repeats: bool,
    may_conflict: bool,
) -> list[int]:
    """The rows that stay when exact copies go. Every copy is told.

    The exam's copy stays, then the training part's; within a part the first one. With ``repeats``, equal content may be
    different things, so copies go only where they stand in another part. ``may_conflict``: two targets for one content are
    no contradiction (measured numbers).
    """
    first: dict[str, int] = {}
    within: list[tuple[int, int]] = []
    across: list[tuple[int, int]] = []
    conflicts: list[tuple[int, int]] = []
    for row in sorted(range(len(parts)), key=lambda row: RANK[parts[row]]):
        original = first.setdefault(fingerprints[row], row)
        if original == row:
            continue
        if RANK[parts[original]] != RANK[parts[row]]:
            across.append((row, original))
        elif not repeats:
            within.append((row, original))
        if targets[original] != targets[row] and not may_conflict:
            conflicts.append((row, original))
    _tell("data", within, names, "Left out: exact duplicates within a part (the first stays)")
    _tell("data", across, names, "Left out: exact duplicates across parts (the exam's copy stays, else the one in train)")
    labelled = [f"{name} [{_said(target)}]" for name, target in zip(names, targets, strict=True)] if conflicts else []
    _tell("warning", conflicts, labelled, "Same content, different labels")
    gone = {row for row, _ in (*within, *across)}
    return [row for row in range(len(parts)) if row not in gone]


def whole_blocks(part: Examples | None, other: Examples | None, name: str, other_name: str) -> Examples | None:
    """``part`` without the items whose block stands in ``other`` too; None when nothing is left."""
    if part is None or other is None or part.items.blocks is None:
        return part
    cut = shared(part, other)
    if cut.any():
        gone = part.take(cut)
        blocks = sorted({str(block) for block in gone.blocks})
        text = f"Left out of {name}: items whose block stands in {other_name} too, {len(gone)} (blocks {some(blocks)})."
        emit("data", text, count=len(gone), items=gone.names, blocks=blocks)
        part = part.take(~cut)
    return part if len(part) else None


def some(names: Sequence[str]) -> str:
    """The first five names, each in quotes and bounded: names are data and may hold anything."""
    return ", ".join(repr(name[:80]) for name in names[:5]) + (", …" if len(names) > 5 else "")


def _said(target: Any) -> str:
    text = " ".join(map(str, target)) if isinstance(target, tuple) else str(target)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _tell(kind: str, pairs: list[tuple[int, int]], names: Sequence[str], text: str) -> None:
    if not pairs:
        return
    named = [(names[copy], names[original]) for copy, original in pairs]
    told = ", ".join(f"{copy[:80]!r} = {original[:80]!r}" for copy, original in named[:5]) + (
        ", …" if len(named) > 5 else ""
    )
    emit(kind, f"{text}, {len(pairs)}: {told}.", count=len(pairs), items=named)
