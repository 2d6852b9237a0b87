"""One row of numbers: missing values, scales, and the columns themselves as features."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import _io
from headstart.errors import ProblemError

SHOWN = 12  # columns in ``show``
LARGEST = 1e100  # beyond it, squares and sums leave the range of float64


@dataclass(frozen=True)
class Numbers:
    """A row of numbers, (columns,) float. NaN means missing; an infinity, or a number beyond 1e100, is an error."""

    name = "numbers"
    plural = "rows"
    repeats = True  # two equal rows may be two things; two equal files are a copy

    def check(self, raw: Any) -> None:
        """``ProblemError`` unless it is a row of finite or missing numbers."""
        row = self.load(raw)
        if np.isinf(row).any():
            raise ProblemError(f"has an infinite number in column {int(np.flatnonzero(np.isinf(row))[0]) + 1}")
        large = np.flatnonzero(np.abs(row) > LARGEST)
        if len(large):
            column = int(large[0])
            raise ProblemError(f"has {row[column]:.3g} in column {column + 1}; at most {LARGEST:.0e} can be used")

    def load(self, raw: Any) -> np.ndarray:
        """The row as float64, (columns,)."""
        try:
            row = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ProblemError(f"is no row of numbers ({str(error)[:80]})") from error
        if row.ndim != 1 or row.size == 0:
            raise ProblemError(f"has the shape {row.shape}; one row with at least one number is needed")
        return row

    def fingerprint(self, raw: Any) -> str:
        """The digest of the float64 bytes. All NaN are one, and so are 0 and -0."""
        row = self.load(raw)
        return _io.digest(np.where(np.isnan(row), np.nan, row + 0.0).tobytes())

    def fit_plain(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Per column: median, mean and scale after filling, whether it varies, whether values are missing."""
        table = self._table(inputs)
        missing = np.isnan(table)
        seen = ~missing.all(axis=0)
        median = np.zeros(table.shape[1])
        median[seen] = np.nanmedian(table[:, seen], axis=0)
        filled = np.where(missing, median, table)
        mean, scale = filled.mean(axis=0), filled.std(axis=0)
        varies = scale > 1e-12 * np.maximum(1, np.abs(mean))
        flagged = missing.any(axis=0) & seen
        return {"median": median, "mean": mean, "scale": np.where(varies, scale, 1.0), "varies": varies, "flagged": flagged}

    def plain(self, inputs: Sequence[Any], state: dict[str, np.ndarray]) -> np.ndarray:
        """Standardised columns, then a column of 0 and 1 for each that had missing values: (n, 1, width).

        A missing number becomes the median. Columns that did not vary in training are left out.
        """
        varies, flagged = state["varies"].astype(bool), state["flagged"].astype(bool)
        table = self._table(inputs) if len(inputs) else np.zeros((0, len(varies)))
        if table.shape[1] != len(varies):
            raise ProblemError(f"The rows have {table.shape[1]} columns; in training they had {len(varies)}. Give the same.")
        missing = np.isnan(table)
        filled = np.where(missing, state["median"], table)
        scaled = ((filled - state["mean"]) / state["scale"])[:, varies]
        return np.concatenate([scaled, missing[:, flagged].astype(np.float64)], axis=1)[:, None, :]

    def views(self, count: int) -> tuple[str, ...]:
        """None: another row is another thing."""
        return ()

    def work(self, raw: Any) -> float:
        return 1.0

    def show(self, raw: Any, name: str) -> str:
        """A one-row table with an escaped caption."""
        caption = html.escape(name.encode("utf-8", "backslashreplace").decode())
        try:
            row = self.load(raw)
        except ProblemError as error:
            return f"<figure><p>{html.escape(str(error))}</p><figcaption>{caption}</figcaption></figure>"
        cells = "".join(f"<td>{value:.4g}</td>" for value in row[:SHOWN])
        rest = "<td>…</td>" if len(row) > SHOWN else ""
        return f"<figure><table><tr>{cells}{rest}</tr></table><figcaption>{caption}</figcaption></figure>"

    def _table(self, inputs: Sequence[Any]) -> np.ndarray:
        rows = [self.load(raw) for raw in inputs]
        widths = {len(row) for row in rows}
        if len(widths) != 1:
            raise ProblemError(f"The rows have {sorted(widths)} columns; the same number in every row is needed.")
        return np.stack(rows)
