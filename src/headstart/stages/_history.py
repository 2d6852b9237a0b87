"""The log of earlier rankings on this machine: which models did well on other problems. One JSON line a ranking.

How a model did elsewhere is the strongest thing that is known of it before it reads a row. A problem is known by some
fingerprints of its items and one of the names of its classes: with one of these in common, two data sets are the same one,
perhaps grown, and say nothing of each other. Nothing of the items themselves is kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart._events import emit
from headstart.errors import RunError
from headstart.stages._rivals import ENOUGH

if TYPE_CHECKING:
    from headstart.backbone import Backbone
    from headstart.evidence import Candidate
    from headstart.problem import Problem

SKETCH = 256  # fingerprints that stand for a data set: its smallest, so that even one item in twenty shares some
MOST = 2000  # lines that are read, the latest


@dataclass(frozen=True)
class History:
    """Earlier rankings, in the file ``path``; None: there are none, and none is kept."""

    path: Path | None = None

    def spec(self) -> str:
        return "history"  # where it lies is no part of any identity

    @classmethod
    def here(cls) -> History:
        """The log that all runs on this machine share."""
        return cls(_io.cache_folder() / "rankings.jsonl")

    def informed(self, found: Sequence[Candidate], bases: Sequence[Backbone], problem: Problem) -> list[Candidate]:
        """``found`` with the mean place, and the number of problems it is from, of each that has a place on enough others.

        Places on different problems do not compare. So only those count on which all of them have one.
        """
        own, unit, keys = _sketch(problem), problem.task.unit, [_key(base) for base in bases]
        others = [line["places"] for line in self._problems() if line["unit"] == unit and not own & set(line["data"])]
        known = {key for key in keys if sum(key in places for places in others) >= ENOUGH}
        common = [places for places in others if known <= places.keys()]
        if not known or len(common) < ENOUGH:
            return list(found)
        return [
            replace(one, past=float(np.mean([places[key] for places in common])), past_problems=len(common))
            if key in known
            else one
            for one, key in zip(found, keys, strict=True)
        ]

    def add(self, ranked: Sequence[Candidate], bases: Sequence[Backbone], problem: Problem) -> None:
        """Keep the place of each of ``ranked``: 0 the first, 1 the last; the winner of a race is the first."""
        if self.path is None or len(ranked) < 2:
            return
        key = {base.card.name: _key(base) for base in bases}
        places = {key[one.backbone]: round((one.mean_rank - 1) / (len(ranked) - 1), 4) for one in ranked}
        if ranked[0].raced:
            places[key[ranked[0].backbone]] = 0.0
        line = {"format": 1, "data": sorted(_sketch(problem)), "unit": problem.task.unit, "places": places}
        if line in self._lines():
            return  # the same again says nothing new
        try:
            _io.append_line(self.path, json.dumps(line, ensure_ascii=True))
        except RunError as error:
            emit("warning", f"This ranking is not kept for later ones. {error} HEADSTART_CACHE names another place.")

    def _problems(self) -> list[dict[str, Any]]:
        """The line of each problem that has most places, of equal ones the latest: a data set ranked twice counts once."""
        seen: set[str] = set()
        kept = []
        ordered = sorted(enumerate(self._lines()), key=lambda pair: (len(pair[1]["places"]), pair[0]), reverse=True)
        for _, line in ordered:
            if not seen & set(line["data"]):
                kept.append(line)
            seen |= set(line["data"])
        return kept

    def _lines(self) -> list[dict[str, Any]]:
        """Every line that is whole; others are passed over."""
        if self.path is None:
            return []
        try:
            text = self.path.read_text("utf-8", "replace")
        except OSError:
            return []
        rows = [row for row in text.splitlines() if row.strip()]  # between two lines there is an empty one
        return [line for row in rows[-MOST:] if (line := _parsed(row)) is not None]


def _parsed(row: str) -> dict[str, Any] | None:
    try:
        line = json.loads(row)
        whole = line["format"] == 1 and isinstance(line["unit"], str) and all(isinstance(one, str) for one in line["data"])
        return line if whole and all(0 <= place <= 1 for place in line["places"].values()) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _sketch(problem: Problem) -> set[str]:
    """Some fingerprints of all items of the data, whatever part they stand in, however it was split; one of its classes."""
    every = {item for part in problem.parts().values() for item in part.items.fingerprints}
    sketch, task = {item[:16] for item in sorted(every)[:SKETCH]}, problem.task
    if task.link == "identity":  # no classes
        return sketch
    return sketch | {"classes-" + _io.fingerprint([problem.kind, task.unit, sorted(map(str, task.labels))])[:16]}


def _key(base: Backbone) -> str:
    return base.fingerprint[:16]
