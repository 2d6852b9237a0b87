"""What a backbone costs to read, and whether that is within the limits. Known before, or soon after, reading begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.backbone import Backbone, feature_taps
from headstart.errors import NotAdmissible
from headstart.features import Features, FeatureStore, unit_offsets
from headstart.problem import Examples, Problem
from headstart.strategy import Limits

FIRST, TIMED = 8, 32  # items that open the weights, and items that are timed at most


@dataclass(frozen=True)
class Excess:
    """A cost beyond its limit: by what factor, and in words."""

    factor: float
    told: str


def excess(base: Backbone, problem: Problem, limits: Limits) -> Excess | None:
    """The worst cost beyond ``limits`` that is known before ``base`` reads anything.

    Memory is an estimate: the weights twice (file and session) and the rows of all items, twice in double precision.
    """
    unit = problem.task.unit
    rows = sum(int(unit_offsets(part, unit)[-1]) for part in problem.parts().values())
    memory = 2 * base.card.weights_bytes + 16 * rows * max(tap.width for tap in feature_taps(base, unit))
    found = []
    if limits.parameters is not None:
        allowed, has = limits.parameters, base.card.parameters
        found.append(Excess(has / allowed, f"it has {has / 1e6:.1f} million parameters, {allowed / 1e6:.1f} are allowed"))
    if limits.memory is not None:
        needs, allowed = memory / 2**20, limits.memory / 2**20
        found.append(Excess(needs / allowed, f"it needs about {needs:.0f} MB, {allowed:.0f} are allowed"))
    beyond = [one for one in found if one.factor > 1]
    return max(beyond, key=lambda one: one.factor, default=None)


@dataclass(frozen=True, eq=False)
class Read:
    """Features at each asked tap, and the seconds that one pass over all the data takes (None: all was there)."""

    features: list[Features]
    whole: float | None


def read(
    base: Backbone, problem: Problem, rows: Examples, store: FeatureStore, *, taps: Sequence[str], seconds: float | None
) -> Read | Excess:
    """The features of ``rows``. With a limit of ``seconds`` a few items that are not in the store are timed first, and if all
    of the data would take longer, nothing more is read."""
    every = sum(len(part) for part in problem.parts().values())
    missing = len(store.missing(base, rows, taps[0]))
    whole = None
    few = None if seconds is None else _new(base, problem, rows, store, tap=taps[0])
    if seconds is not None and few is not None:
        opening, timed = _timed(base, few.take(np.arange(FIRST)), store, taps), few.take(np.arange(FIRST, len(few)))
        whole = opening + every * _timed(base, timed, store, taps) / len(timed)
        if whole > seconds:
            return Excess(whole / seconds, f"one pass over the data takes about {whole:.3g} s, {seconds:.3g} are allowed")
    started = time.perf_counter()
    features = store.features(base, rows, taps)
    if missing and whole is None:
        whole = (time.perf_counter() - started) * max(1.0, every / missing)
    return Read(features, whole)


def none_left(found: Sequence[tuple[str, Excess]]) -> NotAdmissible:
    """The error for limits that no candidate keeps; it names the one that comes nearest."""
    name, nearest = min(found, key=lambda pair: pair[1].factor)
    many = f"All {len(found)} candidates are" if len(found) > 1 else "The only candidate is"
    return NotAdmissible(
        f"{many} beyond the limits. The nearest is '{name}': {nearest.told}. Raise the limit, or name a smaller model."
    )


def _new(base: Backbone, problem: Problem, rows: Examples, store: FeatureStore, *, tap: str) -> Examples | None:
    """Items to time, none of which the store has: of ``rows``, else of a part of the data. None where too few are left."""
    for part in (rows, *problem.parts().values()):
        row = {item: i for i, item in enumerate(part.fingerprints)}
        index = np.array(sorted(row[item] for item in store.missing(base, part, tap)), dtype=int)
        if len(index) >= 2 * FIRST:
            return part.take(index[np.linspace(0, len(index) - 1, min(len(index), FIRST + TIMED)).astype(int)])
    return None


def _timed(base: Backbone, rows: Examples, store: FeatureStore, taps: Sequence[str]) -> float:
    started = time.perf_counter()
    store.features(base, rows, taps)
    return time.perf_counter() - started
