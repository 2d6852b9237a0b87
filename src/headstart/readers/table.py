"""Tables: CSV, TSV, Parquet and JSON lines; a column with texts or image paths, or columns of numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError, UnknownName
from headstart.readers import IMAGE_SUFFIXES, PARTS, Found, Options, part_of
from headstart.readers._tables import Table, joined, open_table
from headstart.readers._texts import Texts, find_texts

USUAL_LABELS = ("label", "target")  # the label column when none is named
USUAL_TEXT_LABELS = ("labels", "category", "class", "sentiment", "intent", "topic")  # the same beside texts
NO_LABEL = frozenset({"", "nan"})  # among labels, "none" and "NA" may be names
SEVERAL = "|"  # between the labels of one cell
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class _Inputs:
    """The items of a table, their rows in it, and the (name, reason) of those that are not taken."""

    kind: str
    inputs: Sequence[Any]
    names: tuple[str, ...]
    rows: Sequence[int]
    columns: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = field(default=())


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """The rows of the table at ``path``; of all tables in a folder whose names say train, valid or test.

    Inputs are the one column whose cells end like image files (paths start at the table's folder and may not leave it);
    or else a column of texts, or of lists of words; or else every column of numbers that has no other role. A label column
    of numbers stays numbers. Several labels, and the tags of words, are a list (Parquet, JSON lines); several labels also a
    cell with ``|`` between them (CSV). Rows without paths are called ``row 1``, ``row 2``, ….
    """
    table, parts = _opened(Path(path))
    if not len(table):
        raise ProblemError(f"The table {path} has no rows. A header and at least one row are needed.")
    label = options.label or _usual(table, USUAL_LABELS, "labels")
    split = None if parts else options.split or _usual(table, ("split",), "parts")
    roles = [name for name in (label, split, options.block, *options.slices) if name]
    asked = tuple(dict.fromkeys(options.inputs))
    for name in (*roles, *asked):
        if name not in table.columns:
            raise UnknownName.of(f"column of {table.path.name}", name, table.columns)
    for taken, role in ((label, "label"), (split, "split")):
        if taken in asked:
            raise ProblemError(
                f"'{taken}' is the {role} column and cannot be an input too. Name another column with --inputs."
            )
    guess = _named(table, USUAL_TEXT_LABELS) if label is None else None
    found, texts = _inputs(table, asked, roles, guess)
    if texts is not None and label is None:
        label = texts.tags or (_usual(table, USUAL_TEXT_LABELS, "labels") if guess not in asked else None)
    parts = parts or _parts(table, split)
    targets = None if label is None else _labels(table, label)
    blocks = None if options.block is None else _words(table, options.block)
    slices = {name: _words(table, name) for name in options.slices}
    bad = dict(table.skipped)
    kept = [i for i, row in enumerate(found.rows) if row not in bad]
    rows = np.asarray(found.rows, dtype=int)[kept]
    return Found(
        kind=found.kind,
        inputs=[found.inputs[i] for i in kept],
        names=tuple(found.names[i] for i in kept),
        targets=None if targets is None else targets[rows],
        parts=tuple(parts[row] for row in rows),
        blocks=None if blocks is None else blocks[rows],
        slices={name: values[rows] for name, values in slices.items()},
        root=str(table.folder),
        columns=found.columns,
        skipped=(*((table.names[row], why) for row, why in table.skipped), *found.skipped),
    )


def part_files(folder: Path) -> list[tuple[Path, str]]:
    """The tables in ``folder`` whose names say to which part they belong, with the part."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    found = [(file, part_of(file.stem)) for file in files if not file.name.startswith(".")]
    return sorted(((file, part) for file, part in found if part), key=lambda one: ("train", "valid", "exam").index(one[1]))


def _opened(path: Path) -> tuple[Table, tuple[str, ...]]:
    """The table, and each row's part where file names say it."""
    if not path.is_dir():
        return open_table(path), ()
    files = part_files(path)
    if not files:
        raise ProblemError(f"The folder {path} holds no table called train, valid or test. Name them so, or give one table.")
    tables = [open_table(file) for file, _ in files]
    told = ", ".join(f"'{file.name}' ({part}, {len(t)} rows)" for (file, part), t in zip(files, tables, strict=True))
    emit("data", f"Tables that were read together: {told}.", files=[file.name for file, _ in files])
    parts = tuple(part for (_, part), table in zip(files, tables, strict=True) for _ in range(len(table)))
    return joined(tables, path), parts


def _inputs(table: Table, asked: tuple[str, ...], roles: list[str], guess: str | None) -> tuple[_Inputs, Texts | None]:
    """``guess`` is the column that has the labels if these turn out to be texts."""
    pictures = _picture_column(table, asked, roles)
    if pictures is not None:
        return _pictures(table, pictures), None
    every = range(len(table))
    texts = find_texts(table, asked, [*roles, *([guess] if guess and guess not in asked else [])])
    if texts is not None:
        return _Inputs("text", texts.inputs, table.names, every, texts.columns), texts
    used = asked or tuple(_number_columns(table, roles))
    rows = np.stack([_input_numbers(table, name) for name in used], axis=1)
    return _Inputs("numbers", list(rows), table.names, every, tuple(used)), None


def _usual(table: Table, names: Sequence[str], what: str) -> str | None:
    name = _named(table, names)
    if name is not None:
        emit("data", f"The column {name!r} was taken for the {what}, as none was named.", column=name)
    return name


def _named(table: Table, names: Sequence[str]) -> str | None:
    return next((name for name in table.columns if name.strip().lower() in names), None)


def _picture_column(table: Table, inputs: tuple[str, ...], roles: list[str]) -> str | None:
    """The column with images, if there is one."""
    found = [name for name in inputs or table.columns if name not in roles and _holds_pictures(table.columns[name])]
    if len(inputs) == 1 and not found and _holds_files(table, inputs[0]):
        return inputs[0]
    if not found or (inputs and len(inputs) > 1 and len(found) < len(inputs)):
        return None
    if len(found) > 1:
        raise ProblemError(f"The columns {', '.join(found)} all hold images. One is needed. Name it with --inputs.")
    return found[0]


def _holds_pictures(values: Sequence[Any]) -> bool:
    seen = [] if isinstance(values, np.ndarray) else [value for value in values if value not in (None, "")]
    alike = sum(_is_picture(value) for value in seen)
    return alike > len(seen) / 2


def _is_picture(value: Any) -> bool:
    if isinstance(value, dict):  # what the datasets library writes
        return isinstance(value.get("bytes"), bytes)
    return isinstance(value, bytes) or (isinstance(value, str) and value.strip().lower().endswith(IMAGE_SUFFIXES))


def _holds_files(table: Table, name: str) -> bool:
    """Whether the first cells name files that are there: images whose names have no suffix."""
    values, folder = table.columns[name], table.folder.resolve()
    seen = [] if isinstance(values, np.ndarray) else [value for value in values if value][:20]
    there = [isinstance(value, str) and _stays(folder, value) and os.path.isfile(folder / value) for value in seen]
    return sum(there) > len(there) / 2


def _pictures(table: Table, name: str) -> _Inputs:
    folder = table.folder.resolve()
    inputs, names, rows, skipped, row_names = [], [], [], [], table.names
    for row, value in enumerate(table.columns[name]):
        content = value.get("bytes") if isinstance(value, dict) else value
        called = content if isinstance(content, str) else row_names[row]
        if content is None or content == "":
            skipped.append((called or row_names[row], "names no image"))
        elif isinstance(content, str) and not _stays(folder, content):
            skipped.append((called, "lies outside the table's folder"))
        else:
            inputs.append(folder / content if isinstance(content, str) else content)
            names.append(called)
            rows.append(row)
    return _Inputs("image", inputs, tuple(names), rows, skipped=tuple(skipped))


def _stays(folder: Path, cell: str) -> bool:
    try:
        return Path(os.path.realpath(folder / cell)).is_relative_to(folder)
    except (OSError, ValueError):
        return False


def _number_columns(table: Table, roles: list[str]) -> list[str]:
    free = [name for name in table.columns if name not in roles]
    used = [name for name in free if table.numbers(name) is not None]
    numeric = set(used)
    left = [name for name in free if name not in numeric]
    if not used:
        raise ProblemError(
            f"The table {table.path} has neither texts, nor image paths, nor numbers, as far as its cells tell. Its columns: "
            f"{', '.join(table.columns)}. Name the input column with --text or --inputs."
        )
    if left:
        told = ", ".join(f"{name[:80]!r}{_first_word(table, name)}" for name in left[:8]) + (", …" if len(left) > 8 else "")
        emit("data", f"Not used: columns that hold other things than numbers, {len(left)}: {told}.", columns=left)
    emit("data", f"Inputs: columns of numbers, {len(used)}: {', '.join(map(repr, used[:8]))}.", columns=used)
    return used


def _first_word(table: Table, name: str) -> str:
    """Where a column stops being numbers: one odd cell must not cost a column in silence."""
    values = table.columns[name]
    odd = [row for row, value in enumerate(values) if not table.fits(value)]
    if not odd or len(odd) > len(values) / 2:
        return ""
    return f" ({len(odd)} of {len(values)} cells, such as {str(values[odd[0]])[:40]!r} in row {odd[0] + 1})"


def _input_numbers(table: Table, name: str) -> np.ndarray:
    found = table.numbers(name)
    if found is None and all(value in (None, "") for value in table.columns[name]):
        found = np.full(len(table), np.nan)
    if found is None:
        raise ProblemError(
            f"The input column '{name}' of {table.path.name} holds values that are no numbers{_first_word(table, name)}. "
            "Repair them, or leave the column out."
        )
    return found


def _labels(table: Table, name: str) -> np.ndarray:
    """Raw targets: numbers, or strings, truth values and tuples; None where missing."""
    values = table.columns[name]
    padded = table.text and any(re.match(r"\s*[+-]?0\d", value or "") for value in values)
    numbers = None if padded else table.numbers(name, NO_LABEL)
    truths = not isinstance(values, np.ndarray) and any(isinstance(value, bool) for value in values)
    if numbers is not None and not truths:
        return numbers
    several = table.text and any(SEVERAL in (value or "") for value in values)
    called = dict(enumerate(table.classes.get(name, ())))
    out = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and value.strip().lower() in NO_LABEL):
            continue
        if several:
            out[row] = tuple(part.strip() for part in value.split(SEVERAL) if part.strip())
        elif isinstance(value, (list, tuple)):
            out[row] = tuple(called.get(one, one) if isinstance(one, int) else one for one in value)
        else:
            out[row] = value
    return out


def _parts(table: Table, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ("",) * len(table)
    out = []
    for row, value in enumerate(_words(table, name)):
        if value.strip().lower() not in PARTS:
            raise ProblemError(
                f"Row {row + 1} of {table.path.name} has '{value[:40]}' in the split column '{name}'. "
                f"One of {', '.join(PARTS)} is needed. Repair it, or name another column with --split."
            )
        out.append(PARTS[value.strip().lower()])
    return tuple(out)


def _words(table: Table, name: str) -> np.ndarray:
    """The column as text; empty where missing."""
    out = np.empty(len(table), dtype=object)
    for row, value in enumerate(table.columns[name]):
        if isinstance(value, (float, np.floating)):
            out[row] = "" if np.isnan(value) else f"{value:.12g}"
        else:
            out[row] = "" if value is None else str(value)
    return out
