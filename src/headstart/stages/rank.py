"""Stage one: which pre-trained model suits this data?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from headstart import backbones as sources
from headstart import registry
from headstart._events import emit
from headstart._linear import Decomposition
from headstart.backbone import Backbone, feature_taps
from headstart.errors import HeadstartError, NotAdmissible
from headstart.evidence import Candidate, Ranking
from headstart.features import FeatureStore, unit_offsets
from headstart.problem import Examples, Problem
from headstart.rankers import Seen
from headstart.strategy import Plan

PANEL = ("ridge_loo", "nearest", "logme")


def rank(
    problem: Problem,
    backbones: Sequence[str | Backbone] | str = "suitable",
    *,
    store: FeatureStore | None = None,
    plan: Plan | None = None,
    rankers: Sequence[str] = PANEL,
) -> Ranking:
    """Candidates by the mean of their ranks over ``rankers``, the most promising first; no network is trained.

    ``backbones`` are names or backbones, or ``"suitable"``: every installed one for this kind of input. Each reads up to
    ``plan.rank_rows`` training rows once, at its last feature tap. Equal mean ranks are ordered by the published score. One
    that cannot be used is left out and reported.
    """
    store, plan = store or FeatureStore(), plan or Plan()
    bases = resolve(problem.kind, backbones, unit=problem.task.unit)
    if not bases:
        reason = f"No pre-trained model for {problem.kind} is installed here."
        emit("stage", reason)
        return Ranking((), 0, None, reason)
    rows = some_rows(problem, plan.rank_rows)
    found = _candidates(problem, bases, rows, store, rankers)
    ranked = _by_mean_rank(found)
    known = [one for one in ranked if one.prior is not None]
    static = max(known, key=lambda one: one.prior or 0.0).backbone if known else None
    return Ranking(tuple(ranked), len(rows), static)


def suitable(kind: str) -> list[str]:
    """Names of the installed backbones for ``kind``, the smallest first, so that a first score is there soon."""
    here = [listing for listing in sources.known(kind) if listing.installed]
    return [listing.name for listing in sorted(here, key=lambda one: one.card.parameters)]


def resolve(kind: str, backbones: Sequence[str | Backbone] | str = "suitable", *, unit: str = "item") -> list[Backbone]:
    """The backbones that ``backbones`` names. One that cannot be had is left out and reported, unless no other is."""
    asked: list[str | Backbone] = [backbones] if isinstance(backbones, str) else list(backbones)
    found: list[Backbone] = []
    failed: list[HeadstartError] = []
    for one in suitable(kind) if backbones == "suitable" else asked:
        try:
            base = sources.find(one)
            if base.card.kind == kind:
                if backbones == "suitable" and all(tap.unit != unit for tap in base.taps):
                    continue
                feature_taps(base, unit)  # it must have rows for the unit
            found.append(base)
        except HeadstartError as error:
            failed.append(error)
            emit("warning", f"'{one}' is left out: {error}")
    if failed and not found:
        raise failed[0]
    wrong = [base for base in found if base.card.kind != kind]
    if wrong:
        raise NotAdmissible(
            f"'{wrong[0].card.name}' reads {wrong[0].card.kind} items; these are {kind} items. Choose another."
        )
    return found


def _candidates(
    problem: Problem, bases: Sequence[Backbone], rows: Examples, store: FeatureStore, rankers: Sequence[str]
) -> list[Candidate]:
    """Those that can be read. Weights are opened only now, and may be damaged."""
    found, failed = [], []
    for base in bases:
        try:
            found.append(_candidate(problem, base, rows, store, rankers))
        except HeadstartError as error:
            failed.append(error)
            emit("warning", f"'{base.card.name}' is left out: {error}")
    if not found:
        raise failed[0]
    return found


def _candidate(
    problem: Problem, backbone: Backbone, rows: Examples, store: FeatureStore, rankers: Sequence[str]
) -> Candidate:
    started, name = time.perf_counter(), backbone.card.name
    task = problem.task
    features = store.features(backbone, rows, [feature_taps(backbone, task.unit)[-1].name])[0]
    X, targets, blocks = task.rows(features, rows)
    found = Decomposition.of(X, weights=task.item_weights(rows.targets))
    seen = Seen(found, task.unitwise, targets, blocks)
    scores = {ranker: registry.get("rankers", ranker)(seen) for ranker in rankers}
    seconds = time.perf_counter() - started
    first = next((f"{label} {value:.3f}" for label, value in scores.items() if value is not None), "no score applies")
    plural = registry.get("inputs", rows.kind)().plural
    emit("stage", f"{name}: {first} on {len(rows)} training {plural} ({seconds:.1f} s)", backbone=name)
    return Candidate(name, scores, 0.0, seconds, backbone.card.parameters, backbone.card.prior)


def _by_mean_rank(found: list[Candidate]) -> list[Candidate]:
    ranks = np.zeros((len(found), 0))
    for ranker in found[0].scores:
        values = np.array([-np.inf if one.scores[ranker] is None else one.scores[ranker] for one in found], dtype=float)
        if np.isfinite(values).any():
            better = (values[None, :] > values[:, None]).sum(axis=1) + (
                (values[None, :] == values[:, None]).sum(axis=1) - 1
            ) / 2
            ranks = np.column_stack([ranks, 1 + better])
    means = ranks.mean(axis=1) if ranks.shape[1] else np.ones(len(found))
    scored = [Candidate(**{**vars(one), "mean_rank": float(mean)}) for one, mean in zip(found, means, strict=True)]
    return sorted(scored, key=lambda one: (one.mean_rank, -(one.prior or 0.0), one.parameters, one.backbone))


def some_rows(problem: Problem, most: int) -> Examples:
    """Up to ``most`` labelled items, strata in proportion, the same ones for every candidate: of ``train``, else of ``source``.

    Of texts whose words are labelled, as many as have ``most`` × 3 words: a word says less than an item.
    """
    rows = next((part for part in (problem.train, problem.source) if part is not None and part.labelled), None)
    if rows is None:
        raise NotAdmissible("There are no training labels, so no model or layer can be scored. Add labelled examples.")
    units = unit_offsets(rows, problem.task.unit)[-1]
    fraction = most / units if units == len(rows) else 3 * most / units
    if fraction >= 1:
        return rows
    _, part = problem.task.split(rows, fraction=fraction, seed=0)
    return rows.take(part)
