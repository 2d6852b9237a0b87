"""From files to a problem: every item is opened once, checked, and told apart from its copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io, registry
from headstart._events import Event, emit, listen
from headstart.errors import ProblemError, RunError, UnknownName
from headstart.problem import Exam, Examples, Items, Problem
from headstart.readers import Found, Options
from headstart.stages._copies import originals, some, whole_blocks
from headstart.stages._labels import is_missing, targets_of, task_name, task_of
from headstart.stages._sources import find
from headstart.stages._tags import tags_of

if TYPE_CHECKING:
    from headstart.inputs import Kind
    from headstart.tasks import Task

THREADS = 4  # decoding leaves the interpreter lock; more threads only help on fast disks
RULES = 1  # what makes a file usable; raise it with the rules, so that files are checked again
PIECE = 16  # items a thread takes at once


def read(
    source: str | Path | Found,
    *,
    reader: str = "auto",
    task: str = "auto",
    options: Options = Options(),  # noqa: B008 (frozen)
    metric: str | None = None,
    class_weights: str | None = None,
    strict: bool = False,
) -> tuple[Problem, Exam | None]:
    """The problem that stands in ``source``, and its exam if it has a test part.

    ``source`` is a path, or what a reader found. Items that cannot be used, items without a label and copies are left
    out, each with an event; ``strict`` makes an item that cannot be used a ``ProblemError``. A copy of an exam item
    leaves the training part, never the exam. ``task="auto"`` takes a label for every word for ``token_labels``, several
    labels an item for ``multi_label``, numbers that are not whole or have more than 20 distinct values for ``regression``,
    anything else for ``classification``.
    """
    told: list[Event] = []
    with listen(told.append):
        problem, exam = _read(source, reader, task, options, metric, class_weights, strict)
    # The run that uses this problem lists what was done to the data.
    root = replace(problem.train.items, notes=tuple(event for event in told if event.kind != "progress"))
    noted = lambda part: None if part is None else replace(part, items=root)  # noqa: E731
    problem = replace(problem, train=replace(problem.train, items=root), valid=noted(problem.valid))
    return problem, None if exam is None else Exam(replace(exam, items=root))


def _read(
    source: str | Path | Found,
    reader: str,
    task: str,
    options: Options,
    metric: str | None,
    class_weights: str | None,
    strict: bool,
) -> tuple[Problem, Examples | None]:
    found = find(source, reader, options, task)
    if found.targets is None and len(found.inputs):
        raise ProblemError(
            f"The items in {_told(source, found)} have no labels. "
            "Put images or texts in one folder a class, or name the label column (--label)."
        )
    kind = registry.get("inputs", found.kind)()
    usable = _with_label(_usable(found, kind, strict), kind)
    usable, task = _with_targets(usable, task)
    # Sentences with tags repeat (headlines, "." alone), and published scores count every one of them.
    repeats = getattr(kind, "repeats", False) or task == "token_labels"
    usable = _without_copies(usable, repeats=repeats, may_conflict=task == "regression")
    train, valid, exam = usable.examples()
    train = whole_blocks(train, exam, "train", "the exam")
    valid = whole_blocks(whole_blocks(valid, exam, "valid", "the exam"), train, "valid", "train")
    if train is None:
        raise ProblemError(
            f"There are no training items{'' if exam is None else f' beside the {len(exam)} of the exam'}, or every one was "
            "left out (a copy of an exam item, or in a block with one). Training items of its own are needed."
        )
    built = task_of(task, train.join(valid), target=options.label or "", metric=metric, class_weights=class_weights)
    _check(built, train, exam)
    counts = {name: len(part) for name, part in {"train": train, "valid": valid, "exam": exam}.items() if part}
    words = ", ".join(f"{count} {kind.plural} in {name}" for name, count in counts.items())
    emit(
        "stage",
        f"Read {words}; the task is {task}.",
        name="read",
        task=task,
        skipped=len(found.inputs) - sum(counts.values()),
        **counts,
    )
    return Problem(built, train, valid), exam


def read_examples(
    source: str | Path | Found,
    *,
    reader: str = "auto",
    options: Options = Options(),  # noqa: B008 (frozen)
    strict: bool = False,
    labelled: bool = False,
    task: str = "auto",
) -> Examples:
    """The items in ``source``, all parts together, copies included: what a predictor answers.

    Labels are left out unless ``labelled``; then items without one are left out, and ``task`` says what form labels take
    (as for ``read``). With ``task="token_labels"``, every line of a .txt file without columns is a sentence. Items that
    cannot be used are left out, each with an event; ``strict`` makes them a ``ProblemError``.
    """
    try:
        found = find(source, reader, options, task)
    except UnknownName:
        if labelled:
            raise
        try:  # new data need not have the label column
            found = find(source, reader, Options(inputs=options.inputs), task)
        except UnknownName:
            if task != "token_labels":
                raise
            found = find(source, reader, Options(), task)  # nor the columns of a table, when it is a file of sentences
    kind = registry.get("inputs", found.kind)()
    usable = _usable(found, kind, strict)
    if labelled:
        if found.targets is None:
            raise ProblemError(f"The items in {_told(source, found)} have no labels; labelled ones are needed here.")
        usable, _ = _with_targets(_with_label(usable, kind), task)
    else:
        usable = usable.retarget(None)
    emit("stage", f"Read {len(usable.found.inputs)} {kind.plural}.", name="read", items=len(usable.found.inputs))
    return Examples.of(usable.items())


@dataclass(frozen=True, eq=False)
class _Usable:
    """What was found and can be used, with the identity of each item."""

    found: Found
    fingerprints: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> _Usable:
        index = np.asarray(rows, dtype=int)
        pick = lambda values: None if values is None else values[index]  # noqa: E731
        found = replace(
            self.found,
            inputs=[self.found.inputs[i] for i in rows],
            names=tuple(self.found.names[i] for i in rows),
            targets=pick(self.found.targets),
            parts=tuple(self.found.parts[i] for i in rows),
            blocks=pick(self.found.blocks),
            slices={name: values[index] for name, values in self.found.slices.items()},
        )
        return _Usable(found, tuple(self.fingerprints[i] for i in rows))

    def retarget(self, targets: np.ndarray | None) -> _Usable:
        return replace(self, found=replace(self.found, targets=targets))

    def items(self) -> Items:
        found = self.found
        blocks = found.blocks
        if blocks is not None:  # an item that names no block is its own
            blocks = np.array([b or f for b, f in zip(blocks, self.fingerprints, strict=True)], dtype=object)
        memo = {"columns": found.columns} if found.columns else {}
        return Items(
            found.kind, found.inputs, found.names, self.fingerprints, found.targets, blocks, found.slices, memo=memo
        )

    def examples(self) -> tuple[Examples | None, Examples | None, Examples | None]:
        """The train, valid and exam views of one root; None for a part without items."""
        items = self.items()
        parts = np.asarray([part or "train" for part in self.found.parts])
        views = [Examples(items, np.flatnonzero(parts == name)) for name in ("train", "valid", "exam")]
        train, valid, exam = (view if len(view) else None for view in views)
        return train, valid, exam


def _told(source: str | Path | Found, found: Found) -> str:
    return found.root or "the data" if isinstance(source, Found) else f"'{source}'"


def _usable(found: Found, kind: Kind, strict: bool) -> _Usable:
    """Without the items that cannot be used, which are reported."""
    total = len(found.inputs)
    marks: list[str] = []
    pieces = [found.inputs[start : start + PIECE] for start in range(0, total, PIECE)]
    seen = _Seen(kind.name)
    with ThreadPoolExecutor(THREADS) as pool:
        for piece in pool.map(lambda piece: [_look(kind, raw, seen) for raw in piece], pieces):
            emit("progress", f"checking {kind.plural}", done=len(marks), total=total)
            marks += piece
    emit("progress", f"checking {kind.plural}", done=total, total=total)
    seen.keep()
    bad = [*found.skipped, *((found.names[i], mark[1:]) for i, mark in enumerate(marks) if mark.startswith("!"))]
    if bad:
        listed = "; ".join(f"{name[:80]!r} {reason}" for name, reason in bad[:5]) + ("; …" if len(bad) > 5 else "")
        if strict:
            raise ProblemError(
                f"Of {total + len(found.skipped)} {kind.plural}, {len(bad)} cannot be used: {listed}. "
                "Repair or remove them, or read without --strict to leave them out."
            )
        emit("data", f"Left out: {kind.plural} that cannot be used, {len(bad)}: {listed}.", count=len(bad), items=bad)
    good = [i for i, mark in enumerate(marks) if not mark.startswith("!")]
    if not good:
        name, reason = bad[0]
        raise ProblemError(
            f"None of the {total + len(found.skipped)} {kind.plural} can be used: {name[:80]!r} {reason}"
            f"{'; …' if len(bad) > 1 else ''}. At least one is needed."
        )
    return _Usable(found, tuple(marks)).take(good)


def _look(kind: Kind, raw: Any, seen: _Seen) -> str:
    """The fingerprint of a good item; ``!`` and the reason for a bad one. A file's content is decoded only the first time."""
    try:
        mark = kind.fingerprint(raw)
        if not isinstance(raw, Path) or mark not in seen.good:
            kind.check(raw)
            if isinstance(raw, Path):
                seen.new.append(mark)
        return mark
    except ProblemError as error:
        return f"!{error}"


class _Seen:
    """Fingerprints of files that were whole when they were checked, by earlier calls and this one. Only a shortcut: the
    content is read and hashed every time; losing the list costs one more decoding."""

    def __init__(self, kind: str) -> None:
        self.path = _io.cache_folder() / "checked" / f"{kind}-{RULES}.txt"
        self.new: list[str] = []
        try:
            self.good = set(self.path.read_text("ascii").split())
        except (OSError, ValueError):
            self.good = set()

    def keep(self) -> None:
        if self.new:
            with suppress(RunError):  # a cache that cannot be written is no reason to stop
                _io.write_text(self.path, "\n".join(sorted(self.good.union(self.new))) + "\n")


def _with_label(usable: _Usable, kind: Kind) -> _Usable:
    targets = usable.found.targets
    assert targets is not None
    missing = [i for i, target in enumerate(targets) if is_missing(target)]
    if not missing:
        return usable
    names = [usable.found.names[i] for i in missing]
    if len(missing) == len(targets):
        raise ProblemError(f"None of the {len(targets)} {kind.plural} has a label. Check the label column.")
    emit(
        "data",
        f"Left out: {kind.plural} without a label, {len(missing)}: {some(names)}.",
        count=len(names),
        items=names,
    )
    gone = set(missing)
    return usable.take([i for i in range(len(targets)) if i not in gone])


def _with_targets(usable: _Usable, task: str) -> tuple[_Usable, str]:
    """With targets in the form of ``task``, and its name if it was "auto"."""
    targets = usable.found.targets
    assert targets is not None
    suited = task_name(targets, usable.found.inputs)
    task = suited if task == "auto" else task
    if task == "token_labels":
        return usable.retarget(tags_of(usable.found.inputs, targets, usable.found.names)), task
    return usable.retarget(targets_of(task, targets, usable.found.names, suited=suited)), task


def _without_copies(usable: _Usable, *, repeats: bool, may_conflict: bool) -> _Usable:
    found = usable.found
    assert found.targets is not None
    rows = originals(
        usable.fingerprints,
        found.parts,
        names=found.names,
        targets=found.targets,
        repeats=repeats,
        may_conflict=may_conflict,
    )
    return usable if len(rows) == len(found.parts) else usable.take(rows)


def _check(task: Task, train: Examples, exam: Examples | None) -> None:
    task.check(train)
    known = set(getattr(task, "classes", ()))
    if exam is None or not known:
        return
    seen = Counter(one for target in exam.targets for one in (target if isinstance(target, tuple) else (target,)))
    unknown = sorted(set(seen) - known)
    if unknown:
        count, what = seen[unknown[0]], "Tag" if task.unit == "word" else "Class"
        raise ProblemError(
            f"{what} {unknown[0]!r} has {count} {task.unit}{'' if count == 1 else 's'} in the "
            f"exam and none to learn from{f' (so have {len(unknown) - 1} more)' if len(unknown) > 1 else ''}. "
            "Every one needs some in training. Add them, or remove it from the exam."
        )
