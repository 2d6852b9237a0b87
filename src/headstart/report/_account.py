"""What was done and what it cost: the user's data, time and memory, and how to predict with the result."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from headstart.report import _page, _svg
from headstart.report._records import Records

_GROUPS = 40
_LINES = 25
_PARTS = (
    ("train", "Training"),
    ("valid", "Validation"),
    ("exam", "Exam"),
    ("source", "Source"),
    ("unlabelled", "Unlabelled"),
)


def data(records: Records) -> str:
    """The parts and classes, then every change and warning; alike ones are counted together."""
    told = [one for one in records.events if one.get("kind") in ("data", "warning")]
    if not told and not records.counts:
        return ""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in told:
        message = str(one.get("message") or "")
        groups.setdefault((str(one["kind"]), _shape(message)), []).append(message)
    lines = [_group(kind, messages) for (kind, _), messages in list(groups.items())[:_GROUPS]]
    if len(groups) > _GROUPS:
        lines.append(f"{len(groups) - _GROUPS} more kinds of messages are in events.jsonl.")
    changed = _page.listing(lines) if lines else "<p>Nothing was dropped, changed or repaired.</p>"
    return _parts(records) + changed + _classes(records)


def spent(records: Records) -> str:
    """Seconds of every stage, as bars; the whole, the memory and the machine."""
    run = records.run
    stages = run.get("stages") if isinstance(run.get("stages"), Mapping) else {}
    pairs = [("Whole run", _page.duration(run.get("seconds")))] if run.get("seconds") else []
    pairs += [("Peak memory", _page.memory(run["peak_memory"]))] if run.get("peak_memory") else []
    pairs += [("Machine", _page.text(run["machine"]))] if run.get("machine") else []
    known = {str(name): float(value) for name, value in (stages or {}).items() if isinstance(value, (int, float))}
    longest = max(known.values(), default=0.0) or 1.0
    rows = [
        [_page.text(name), _page.duration(value), _svg.bar(value / longest, told=f"{value / longest:.0%} of the longest")]
        for name, value in list(known.items())[:40]
    ]
    listed = _page.table(["Stage", "Time", ""], rows, numeric="-nw", kind="tight") if rows else ""
    return (_page.facts(pairs) if pairs else "") + listed


def predict(records: Records) -> str:
    """Commands to copy. Paths are relative to where the run folder lies."""
    if not records.predictor:
        return "<p>There is no predictor in this run, so it cannot predict yet.</p>" if records.run else ""
    name = _page.visible(records.folder)
    folder = shlex.quote(name)
    kind = str(records.problem.get("kind"))
    new = {"image": "photos/", "numbers": "rows.csv", "text": "texts.csv"}.get(kind, "new/")
    new = "sentences.txt" if records.task == "token_labels" else new
    shell = f"headstart predict {folder} {new}\nheadstart predict {folder} {new} --json"
    if kind != "text":  # one file holds no tokeniser
        shell += f"\nheadstart export {folder} --format onnx"
    code = _page.code(_snippet(records, name, new))
    return f"<p>From the folder that holds this run:</p>{_page.code(shell)}<p>In Python:</p>{code}"


def _snippet(records: Records, name: str, new: str) -> str:
    task = ", task='token_labels'" if records.task == "token_labels" else ""
    return (
        f"import headstart\n\npredictor = headstart.Run.open({name!r}).predictor\n"
        f"answers = predictor.predict(headstart.read_examples({new!r}{task}))"
    )


def _shape(message: str) -> str:
    """What alike messages have in common: names in quotes and numbers are left out."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", message)[:300]


def _group(kind: str, messages: Sequence[str]) -> str:
    word = '<span class="tag bad">warning</span>' if kind == "warning" else ""
    unique = dict.fromkeys(messages)
    first = _page.message(messages[0])
    if len(messages) == 1:
        return first + word
    if len(unique) == 1:
        return f"{first} <b>{len(messages)} times</b>{word}"
    lines = [_page.message(one) for one in list(unique)[:_LINES]]
    if len(unique) > _LINES:
        lines.append(f"and {len(unique) - _LINES} more, in events.jsonl")
    return f"<b>{len(messages)} like this:</b> {first}{word}" + _page.folded("All of them", _page.listing(lines))


def _parts(records: Records) -> str:
    pairs = [(word, _page.counted(records.counts[part])) for part, word in _PARTS if records.counts.get(part)]
    setting = records.problem.get("setting")
    if setting:
        pairs.append(("Setting", _page.text(setting, limit=40)))
    return _page.facts(pairs) if pairs else ""


def _classes(records: Records) -> str:
    found = records.problem.get("classes")
    if not isinstance(found, Mapping) or not found:
        return ""
    numbers = {str(name): value for name, value in found.items() if isinstance(value, (int, float))}
    most: Any = max(numbers.values(), default=0) or 1
    order = sorted(numbers, key=lambda name: (-numbers[name], name))
    rows = [
        [_page.text(name), _page.counted(numbers[name]), _svg.bar(numbers[name] / most, told=_page.counted(numbers[name]))]
        for name in order[:60]
    ]
    rest = _page.note(f"{len(order) - 60} more classes have fewer.") if len(order) > 60 else ""
    listed = _page.table(["Class", "Training", ""], rows, numeric="-nw", kind="tight")
    return _page.folded(f"{_page.plural(len(order), 'class', 'classes')} and their sizes", listed + rest)
