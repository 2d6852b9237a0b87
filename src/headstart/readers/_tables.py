"""Tables as columns: CSV, TSV, JSON lines and Parquet, one file or one for each part."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError
from headstart.readers._files import LONGEST_LINE, Lines

LONGEST_CELL = 8 * LONGEST_LINE  # with all its lines; a quote that is never closed would make a cell of the whole file
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})  # in columns of numbers
_one_at_a_time = Lock()  # the csv module has one limit for the whole process


@dataclass(frozen=True)
class Table:
    """Columns by name: float64 arrays (NaN: missing) or lists (None: missing). ``text``: cells are still to be read.

    ``skipped`` has the (row, counted from 0, and reason) of rows that cannot be used; ``classes`` the names that the file
    itself gives to the numbers in a column; ``row_names`` those of rows, if not ``row 1`` and so on.
    """

    path: Path
    columns: dict[str, Sequence[Any]]
    text: bool
    skipped: tuple[tuple[int, str], ...] = ()
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    row_names: tuple[str, ...] = ()
    _numbers: dict[str, np.ndarray | None] = field(default_factory=dict, repr=False)  # parsed once, asked for often

    @property
    def names(self) -> tuple[str, ...]:
        """What rows are called."""
        return self.row_names or tuple(f"row {row + 1}" for row in range(len(self)))

    @property
    def folder(self) -> Path:
        """Where paths in its cells start."""
        return self.path if self.path.is_dir() else self.path.parent

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def numbers(self, name: str, missing: frozenset[str] = MISSING) -> np.ndarray | None:
        """The column as numbers; None if it holds anything else, or nothing."""
        values = self.columns[name]
        if isinstance(values, np.ndarray):
            return values
        if missing is not MISSING:
            return self._parsed(values, missing)
        if name not in self._numbers:
            self._numbers[name] = self._parsed(values, missing)
        return self._numbers[name]

    def _parsed(self, values: Sequence[Any], missing: frozenset[str]) -> np.ndarray | None:
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


def open_table(path: Path) -> Table:
    """The table in one file, by its suffix; CSV where that says nothing."""
    openers: dict[str, Callable[[Path], Table]] = {".parquet": _parquet, ".jsonl": _jsonl, ".ndjson": _jsonl}
    try:
        return openers.get(path.suffix.lower(), _csv)(path)
    except OSError as error:
        raise ProblemError(f"The table {path} cannot be read: {error.strerror or error}. Check the path.") from error


def joined(tables: Sequence[Table], path: Path) -> Table:
    """The rows of ``tables``, one after the other. ``ProblemError`` unless they have the same columns."""
    first = tables[0]
    for other in tables[1:]:
        odd = sorted(set(other.columns) ^ set(first.columns))
        if odd or other.text != first.text:
            what = f"the column '{odd[0]}' stands in only one of them" if odd else "they are of different formats"
            raise ProblemError(f"{first.path.name} and {other.path.name} do not fit: {what}. The same columns are needed.")
    columns: dict[str, Any] = {}
    for name in first.columns:
        parts = [table.columns[name] for table in tables]
        plain = all(isinstance(part, np.ndarray) for part in parts)
        columns[name] = np.concatenate(parts) if plain else [value for part in parts for value in _listed(part)]
    starts = np.cumsum([0, *(len(table) for table in tables)]).tolist()
    skipped = [(start + row, why) for start, table in zip(starts, tables, strict=False) for row, why in table.skipped]
    names = tuple(f"{table.path.name} {name}" for table in tables for name in table.names)
    return Table(path, columns, first.text, tuple(skipped), first.classes, names)


def _listed(values: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(values, np.ndarray):
        return values
    return [None if math.isnan(value) else value for value in values.tolist()]


def _number(value: Any) -> float | None:
    if isinstance(value, str) and "_" in value:  # Python reads 1_000; tables do not mean it
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _csv(path: Path) -> Table:
    mark = "\t" if path.suffix.lower() == ".tsv" else None
    found: Table | None = None
    odd: object = None
    try:
        found = _csv_rows(path, mark, quoted=True)
        odd = _swallowing(found) if mark == "\t" else None
    except _Unclosed as error:
        odd = error
    if odd is None and found is not None:
        return found
    # Many tables are written without any quoting: then a quote is a letter, and every line has all its cells.
    try:
        found = _csv_rows(path, mark, quoted=False)
        emit("data", f"Quotes in '{path.name}' are taken for letters: those of {odd} do not match.", file=path.name)
    except (ProblemError, _Unclosed):
        if found is None:
            raise ProblemError(
                f"{path} is no readable table: the quotes of {odd} do not match. In a cell within quotes, write a quote "
                'twice (""), and close the cell with one.'
            ) from None
    return found


def _swallowing(table: Table) -> str | None:
    """The first row with a cell between whose quotes stand whole rows: one of its lines has all the tabs of a row.

    Only tabs tell. They hardly ever stand in texts, while commas and line breaks between quotes are what quotes are for.
    """
    tabs = len(table.columns) - 1
    for row, cells in enumerate(zip(*table.columns.values(), strict=True), start=1):
        for cell in cells:
            if tabs and "\t" in cell and any(line.count("\t") == tabs for line in cell.splitlines()):
                return f"row {row}"
    return None


class _Unclosed(Exception):
    pass


def _csv_rows(path: Path, mark: str | None, *, quoted: bool) -> Table:
    header: list[str] = []
    columns: list[list[str]] = []
    skipped: list[tuple[int, str]] = []
    lines = Lines(path, keep='",;\t')
    with _room_for_long_cells():
        for number, row in enumerate(_parsed(lines, mark, quoted)):
            if number == 0:
                header, columns = row, [[] for _ in row]
                _check_header(path, header)
                continue
            if len(row) != len(header):
                raise ProblemError(
                    f"Row {number} of {path} has {_cells(row)}; the header has {len(header)}. Repair the row."
                )
            if lines.long:
                lines.long.clear()
                skipped.append((number - 1, f"has a line of more than {LONGEST_LINE:,} characters"))
                row = [""] * len(row)
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
    return Table(path, dict(zip(header, columns, strict=True)), True, tuple(skipped))


def _cells(row: list[str]) -> str:
    return f"{len(row)} cell{'' if len(row) == 1 else 's'}"


def _parsed(lines: Lines, mark: str | None, quoted: bool) -> Iterator[list[str]]:
    """The rows that are not empty; ``_Unclosed`` where quotes do not match."""
    rest = iter(lines)
    first = next(rest, "")
    mark = mark or max(",;\t", key=first.count)

    def whole() -> Iterator[str]:
        yield first
        yield from rest

    number, begins = 0, 1
    try:
        quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        for row in csv.reader(whole(), delimiter=mark, quoting=quoting, strict=True):
            if row:
                yield row
                number += 1
            begins = lines.number + 1
    except csv.Error as error:
        raise _Unclosed(f"row {number} (line {begins})") from error


@contextmanager
def _room_for_long_cells() -> Iterator[None]:
    """Cells longer than the 131,072 characters that the csv module allows by itself."""
    with _one_at_a_time:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _check_header(path: Path, header: list[str]) -> None:
    if "\0" in "".join(header):
        raise ProblemError(f"{path} has zero bytes in its header, as UTF-16 without a mark has. Save it as UTF-8.")
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        more = f" (so are {len(twice) - 1} more names)" if len(twice) > 1 else ""
        raise ProblemError(f"Several columns of {path} are called '{twice[0]}'{more}. Rename them.")


def _parquet(path: Path) -> Table:
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
    return Table(path, columns, False, classes=_class_names(table.schema.metadata or {}))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """What the numbers in lists of tags mean, where the datasets library wrote it down beside them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        inner = {name: about.get("feature") or {} for name, about in features.items() if about.get("feature")}
        return {name: tuple(map(str, one["names"])) for name, one in inner.items() if one.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _jsonl(path: Path) -> Table:
    columns: dict[str, list[Any]] = {}
    skipped: list[tuple[int, str]] = []
    lines, count = Lines(path), 0
    for line in lines:
        if not line.strip():
            continue
        record: dict[str, Any] = {}
        if lines.long:
            lines.long.clear()
            skipped.append((count, f"is a line of more than {LONGEST_LINE:,} characters"))
        else:
            record = _record(line, path, lines.number)
        for name in record:
            if name not in columns:
                columns[name] = [None] * count
        for name, values in columns.items():
            values.append(record.get(name))
        count += 1
    return Table(path, dict(columns), False, tuple(skipped))


def _record(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"Line {number} of {path} is no JSON: {error}. Repair the line.") from error
    if not isinstance(record, dict):
        raise ProblemError(f"Line {number} of {path} holds a {type(record).__name__}; an object is needed.")
    return record
