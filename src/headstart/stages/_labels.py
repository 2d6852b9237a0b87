"""From raw labels to targets, and to the task that they make."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import registry
from headstart._events import emit
from headstart.errors import ProblemError
from headstart.stages._tags import tag_names

if TYPE_CHECKING:
    from headstart.problem import Examples
    from headstart.tasks import Task

MAX_CLASS_NUMBERS = 20  # whole numbers with more distinct values than this are quantities, not class numbers
MANY_CLASSES = 50  # so many labels, of which most stand on one item, are free text


def is_missing(target: Any) -> bool:
    """Whether a raw label says nothing."""
    if target is None or (isinstance(target, (float, np.floating)) and np.isnan(target)):
        return True
    return isinstance(target, str) and not target.strip()


def _type_of(target: Any) -> str:
    if isinstance(target, (bool, np.bool_)):
        return "a truth value"
    if isinstance(target, (int, float, np.number)):
        return "a number"
    if isinstance(target, (tuple, list)):
        return "several labels"
    return "text" if isinstance(target, str) else f"a {type(target).__name__}"


def task_name(targets: np.ndarray, inputs: Sequence[Any]) -> str:
    """The task that suits raw labels. ``ProblemError`` if they are of several types."""
    first = {_type_of(target): target for target in reversed(targets.tolist())}
    if len(first) > 1:
        shown = ", ".join(f"{name} ({str(target)[:40]!r})" for name, target in sorted(first.items()))
        raise ProblemError(f"The labels are of mixed types: {shown}. One type is needed. Repair the label column.")
    if "several labels" in first:
        return "token_labels" if all(isinstance(raw, tuple) for raw in inputs) else "multi_label"
    if "a number" in first:
        values = np.asarray(targets, dtype=np.float64)
        whole = np.isfinite(values).all() and (values == np.round(values)).all()
        return "classification" if whole and len(np.unique(values)) <= MAX_CLASS_NUMBERS else "regression"
    return "classification"


def targets_of(task: str, targets: np.ndarray, names: Sequence[str], *, suited: str) -> np.ndarray:
    """The targets in the form of ``task``: str, tuple of str, or float64. ``suited`` is the task that they look like."""
    if task == "regression":
        return _as_numbers(targets, names)
    out = np.empty(len(targets), dtype=object)
    for i, target in enumerate(targets.tolist()):
        several = isinstance(target, (tuple, list))
        if several and task == "classification":
            shown = ", ".join(map(repr, target[:5])) + (", …" if len(target) > 5 else "")
            raise ProblemError(f"{names[i]!r} has several labels ({shown}); classification takes one. Use '{suited}'.")
        if task == "multi_label":
            out[i] = tuple(dict.fromkeys(_class_name(one) for one in (target if several else (target,))))
        else:
            out[i] = _class_name(target)
    return out


def _as_numbers(targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
    out = np.empty(len(targets), dtype=np.float64)
    for i, target in enumerate(targets.tolist()):
        try:
            out[i] = float(target)
        except (TypeError, ValueError):
            out[i] = np.nan
        if not np.isfinite(out[i]):
            raise ProblemError(
                f"{names[i]!r} has the target {str(target)[:40]!r}; regression needs finite numbers. "
                "Repair it, or use 'classification'."
            )
    return out


def _class_name(target: Any) -> str:
    if isinstance(target, (float, np.floating)) and float(target).is_integer():
        return str(int(target))
    return str(target)


def task_of(name: str, labelled: Examples, *, target: str, metric: str | None, class_weights: str | None) -> Task:
    """The task ``name`` for the labels of ``labelled``."""
    chosen = {} if metric is None else {"metric": metric}
    if class_weights is not None and name != "classification":
        raise ProblemError(f"class_weights='{class_weights}' is for classification; the task is {name}. Leave it out.")
    make = registry.get("tasks", name)
    if name == "regression":
        values = labelled.targets
        return make(target=target, mean=float(values.mean()), scale=float(values.std()) or 1.0, **chosen)
    several = name in ("multi_label", "token_labels")
    counts = Counter(one for target in labelled.targets for one in (target if several else (target,)))
    _tell_twins(counts)
    if name == "token_labels":
        return make(tag_names(labelled.targets), **chosen)
    _check_repeats(counts, target)
    if not several and class_weights is not None:
        chosen["class_weights"] = class_weights
    return make(tuple(sorted(counts)), **chosen)


def _check_repeats(counts: Counter[str], column: str) -> None:
    """``ProblemError`` for labels that are no classes, because hardly one of them stands on two items."""
    total = sum(counts.values())
    if len(counts) <= MANY_CLASSES or len(counts) <= total / 2:
        return
    numbers = [label for label in counts if _is_number(label)]
    shown = next(iter(counts))[:60]
    what, do = "free text", "Name the column with the classes (--label)"
    if len(numbers) > len(counts) / 2:
        odd = next((label for label in counts if not _is_number(label)), "")[:40]
        what, do = f"numbers{f' beside words such as {odd!r}' if odd else ''}", "For numbers, use --task regression"
    raise ProblemError(
        f"The label column{f' {column!r}' if column else ''} has {len(counts):,} different values in {total:,} items, such as "
        f"{shown!r}: these are {what}, no classes. A class needs at least two items. {do}."
    )


def _is_number(label: str) -> bool:
    try:
        return np.isfinite(float(label.replace(",", "")))
    except ValueError:
        return False


def _tell_twins(counts: Counter[str]) -> None:
    """Class names that look the same and are not: composed and decomposed letters, blanks at the ends, case."""
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        alike.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), []).append(name)
    for twins in alike.values():
        if len(twins) > 1:
            told = ", ".join(f"{name!a} ({counts[name]})" for name in twins)
            emit("warning", f"Class names that look alike are kept apart: {told}.", classes=twins)
