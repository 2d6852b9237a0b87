"""Tables: CSV, TSV, Parquet and JSON lines; a column with image paths, or columns of numbers."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError, UnknownName
from headstart.readers import IMAGE_SUFFIXES, PARTS, Found, Options

USUAL_LABELS = ("label", "target")  # the label column when none is named
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})  # in columns of numbers
NO_LABEL = frozenset({"", "nan"})  # among labels, "none" and "NA" may be names
SEVERAL = "|"  # between the labels of one cell


@dataclass(frozen=True)
class _Table:
    """Columns by name: float64 arrays (NaN: missing) or lists (None: missing). ``text``: cells are still to be read."""

    path: Path
    columns: dict[str, Sequence[Any]]
    text: bool

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def numbers(self, name: str, missing: frozenset[str] = MISSING) -> np.ndarray | None:
        """The column as numbers; None if it holds anything else, or nothing."""
        values = self.columns[name]
        if isinstance(values, np.ndarray):
            return values
        out = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if self._misses(value, missing):
                continue
            number = self._parse(value)
            if number is None:
                return None
            out[row] = number
        return out if len(out) and not np.isnan(out).all() else None

    def fits(self, value: Any) -> bool:
        """Whether one cell may stand in a column of numbers: it is one, or is missing."""
        return self._misses(value, MISSING) or self._parse(value) is not None

    def _misses(self, value: Any, missing: frozenset[str]) -> bool:
        return value is None or (self.text and value.strip().lower() in missing)

    def _parse(self, value: Any) -> float | None:
        return _number(value) if self.text or isinstance(value, (int, float)) else None


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """The rows of the table at ``path``.

    Inputs are the one column whose cells end like image files (paths start at the table's folder and may not leave it),
    or else every column of numbers that has no other role. A label column of numbers stays numbers. Several labels are a
    list (Parquet, JSON lines), or a cell with ``|`` between them (CSV). Number rows are called ``row 1``, ``row 2``, ….
    """
    table = _open(Path(path))
    if not len(table):
        raise ProblemError(f"The table {path} has no rows. A header and at least one row are needed.")
    label = options.label or _usual(table, USUAL_LABELS, "labels")
    split = options.split or _usual(table, ("split",), "parts")
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
    pictures = _picture_column(table, asked, roles)
    parts = _parts(table, split)
    targets = None if label is None else _labels(table, label)
    blocks = None if options.block is None else _words(table, options.block)
    slices = {name: _words(table, name) for name in options.slices}
    if pictures is None:
        names = tuple(f"row {row + 1}" for row in range(len(table)))
        used = asked or _number_columns(table, roles)
        rows = list(np.stack([_input_numbers(table, name) for name in used], axis=1))
        return Found("numbers", rows, names, targets, parts, blocks, slices, str(table.path.parent), tuple(used))
    inputs, names, kept, skipped = _pictures(table, pictures)
    return Found(
        kind="image",
        inputs=inputs,
        names=names,
        targets=None if targets is None else targets[kept],
        parts=tuple(parts[row] for row in kept),
        blocks=None if blocks is None else blocks[kept],
        slices={name: values[kept] for name, values in slices.items()},
        root=str(table.path.parent),
        skipped=skipped,
    )


def _usual(table: _Table, names: Iterable[str], what: str) -> str | None:
    for name in table.columns:
        if name.strip().lower() in names:
            emit("data", f"The column {name!r} was taken for the {what}, as none was named.", column=name)
            return name
    return None


def _picture_column(table: _Table, inputs: tuple[str, ...], roles: list[str]) -> str | None:
    """The column with images, if there is one."""
    found = [name for name in inputs or table.columns if name not in roles and _holds_pictures(table.columns[name])]
    if inputs and len(inputs) == 1 and not found and table.numbers(inputs[0]) is None:
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


def _pictures(table: _Table, name: str) -> tuple[list[Any], tuple[str, ...], np.ndarray, tuple[tuple[str, str], ...]]:
    """Images, their names, their rows, and the (name, reason) of those that are not taken."""
    folder = table.path.parent.resolve()
    inputs, names, rows, skipped = [], [], [], []
    for row, value in enumerate(table.columns[name]):
        content = value.get("bytes") if isinstance(value, dict) else value
        called = content if isinstance(content, str) else f"row {row + 1}"
        if content is None or content == "":
            skipped.append((called or f"row {row + 1}", "names no image"))
        elif isinstance(content, str) and not _stays(folder, content):
            skipped.append((called, "lies outside the table's folder"))
        else:
            inputs.append(folder / content if isinstance(content, str) else content)
            names.append(called)
            rows.append(row)
    return inputs, tuple(names), np.asarray(rows, dtype=int), tuple(skipped)


def _stays(folder: Path, cell: str) -> bool:
    try:
        return Path(os.path.realpath(folder / cell)).is_relative_to(folder)
    except (OSError, ValueError):
        return False


def _number_columns(table: _Table, roles: list[str]) -> list[str]:
    free = [name for name in table.columns if name not in roles]
    used = [name for name in free if table.numbers(name) is not None]
    numeric = set(used)
    left = [name for name in free if name not in numeric]
    if not used:
        raise ProblemError(
            f"The table {table.path} has neither a column of image paths nor one of numbers. Its columns: "
            f"{', '.join(table.columns)}. Name the input columns with --inputs."
        )
    if left:
        told = ", ".join(f"{name[:80]!r}{_first_word(table, name)}" for name in left[:8]) + (", …" if len(left) > 8 else "")
        emit("data", f"Not used: columns that hold other things than numbers, {len(left)}: {told}.", columns=left)
    emit("data", f"Inputs: columns of numbers, {len(used)}: {', '.join(map(repr, used[:8]))}.", columns=used)
    return used


def _first_word(table: _Table, name: str) -> str:
    """Where a column stops being numbers: one odd cell must not cost a column in silence."""
    values = table.columns[name]
    odd = [row for row, value in enumerate(values) if not table.fits(value)]
    if not odd or len(odd) > len(values) / 2:
        return ""
    return f" ({len(odd)} of {len(values)} cells, such as {str(values[odd[0]])[:40]!r} in row {odd[0] + 1})"


def _input_numbers(table: _Table, name: str) -> np.ndarray:
    found = table.numbers(name)
    if found is None and all(value in (None, "") for value in table.columns[name]):
        found = np.full(len(table), np.nan)
    if found is None:
        raise ProblemError(
            f"The input column '{name}' of {table.path.name} holds values that are no numbers{_first_word(table, name)}. "
            "Repair them, or leave the column out."
        )
    return found


def _labels(table: _Table, name: str) -> np.ndarray:
    """Raw targets: numbers, or strings, truth values and tuples; None where missing."""
    values = table.columns[name]
    padded = table.text and any(re.match(r"\s*[+-]?0\d", value or "") for value in values)
    numbers = None if padded else table.numbers(name, NO_LABEL)
    truths = not isinstance(values, np.ndarray) and any(isinstance(value, bool) for value in values)
    if numbers is not None and not truths:
        return numbers
    several = table.text and any(SEVERAL in (value or "") for value in values)
    out = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and value.strip().lower() in NO_LABEL):
            continue
        if several:
            out[row] = tuple(part.strip() for part in value.split(SEVERAL) if part.strip())
        elif isinstance(value, (list, tuple)):
            out[row] = tuple(value)
        else:
            out[row] = value
    return out


def _parts(table: _Table, name: str | None) -> tuple[str, ...]:
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


def _words(table: _Table, name: str) -> np.ndarray:
    """The column as text; empty where missing."""
    out = np.empty(len(table), dtype=object)
    for row, value in enumerate(table.columns[name]):
        if isinstance(value, (float, np.floating)):
            out[row] = "" if np.isnan(value) else f"{value:.12g}"
        else:
            out[row] = "" if value is None else str(value)
    return out


def _number(value: Any) -> float | None:
    if isinstance(value, str) and "_" in value:  # Python reads 1_000; tables do not mean it
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _open(path: Path) -> _Table:
    openers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".jsonl": _jsonl, ".ndjson": _jsonl}
    opener = openers.get(path.suffix.lower(), _csv)
    try:
        columns = opener(path)
    except OSError as error:
        raise ProblemError(f"The table {path} cannot be read: {error.strerror or error}. Check the path.") from error
    return _Table(path, columns, opener is _csv)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ProblemError(
            f"{path} is not UTF-8: byte {error.start} (line {line}) is 0x{content[error.start]:02x}. "
            "UTF-8 is needed. Save it with that encoding."
        ) from error


def _csv(path: Path) -> dict[str, Sequence[Any]]:
    text = _text(path)
    first = text.split("\n", 1)[0]
    mark = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row]
    except csv.Error as error:
        raise ProblemError(f"{path} is no readable table: {error}. Repair or export it again.") from error
    if not rows:
        return {}
    header, *body = rows
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        more = f" (so are {len(twice) - 1} more names)" if len(twice) > 1 else ""
        raise ProblemError(f"Several columns of {path} are called '{twice[0]}'{more}. Rename them.")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise ProblemError(f"Row {number} of {path} has {len(row)} cells; the header has {len(header)}. Repair the row.")
    return {name: [row[column] for row in body] for column, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, Sequence[Any]]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, ValueError) as error:
        reason = str(error).split(". ")[0][:200].rstrip(".")
        raise ProblemError(f"{path} is no readable Parquet file: {reason}. Export it again.") from error
    columns: dict[str, Sequence[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = arrow.types.is_integer(column.type) or arrow.types.is_floating(column.type)
        columns[name] = column.cast(arrow.float64(), safe=False).to_numpy() if plain else column.to_pylist()
    return columns


def _jsonl(path: Path) -> dict[str, Sequence[Any]]:
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ProblemError(f"Line {number} of {path} is no JSON: {error}. Repair the line.") from error
        if not isinstance(record, dict):
            raise ProblemError(f"Line {number} of {path} holds a {type(record).__name__}; an object is needed.")
        records.append(record)
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}
