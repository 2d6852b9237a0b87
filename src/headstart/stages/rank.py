"""Stage one: which pre-trained model suits this data?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headstart import backbones as sources
from headstart import registry
from headstart._events import emit
from headstart.backbone import Backbone, Tap, feature_taps
from headstart.errors import HeadstartError, NotAdmissible
from headstart.evidence import Candidate, LeftOut, Ranking
from headstart.features import Features, FeatureStore, Lens
from headstart.problem import Examples, Problem
from headstart.rankers import Seen
from headstart.stages import _limits, _rivals
from headstart.stages._history import History
from headstart.stages._layers import scored, seen_at
from headstart.stages._rows import some_rows
from headstart.stages.race import race
from headstart.strategy import Limits, Plan, Recipe, strategy_named

if TYPE_CHECKING:
    from headstart.tasks import Task

PANEL = ("ridge_loo", "nearest", "logme", "nleep")
HEADS = ("leep", "nce")  # rankers that look at the model's own outputs
WORTH_TUNING = 3  # names on the shortlist, where the plan has no race


def rank(
    problem: Problem,
    backbones: Sequence[str | Backbone] | str = "suitable",
    *,
    store: FeatureStore | None = None,
    plan: Plan | None = None,
    rankers: Sequence[str] = PANEL,
    limits: Limits | None = None,
    history: History | None = None,
    absent: Sequence[LeftOut] = (),
) -> Ranking:
    """Candidates by the mean of their ranks over ``rankers``, the most promising first, and how sure that order is.

    ``backbones`` are names or backbones, or ``"suitable"``: every installed one for this kind of input. Each reads up to
    ``plan.rank_rows`` training rows once, and is scored at the layer whose linear head has the lowest leave-one-out loss. A
    paired bootstrap of the leave-one-out answers says who cannot be told apart from the leader. What is known without this
    data (published scores; places on other problems, by ``history``) settles only what the rows leave open, and its choice is
    always on the shortlist. With ``plan.shortlist`` those race on real tuning, and the winner leads. One beyond ``limits``,
    or that cannot be read, is left out and reported, as are those that ``absent`` says could not be opened.
    """
    store, plan, history = store or FeatureStore(), plan or Plan(), history or History()
    bases, failed = resolve(problem.kind, backbones, unit=problem.task.unit)
    gone = (*absent, *failed)
    if not bases:
        reason = f"No pre-trained model for {problem.kind} {'can be opened' if gone else 'is installed'} here."
        emit("stage", reason)
        return Ranking((), 0, None, reason, left_out=gone)
    rankers, rows, unitwise = _known(rankers), some_rows(problem, plan.rank_rows), problem.task.unitwise
    read, left_out = _read(problem, bases, rows, store, rankers=rankers, limits=limits or Limits())
    if all(score is None for one in read for score in one.candidate.scores.values()):
        raise NotAdmissible(
            f"None of the rankers that were named applies here: {', '.join(rankers)}. Name others (`headstart list rankers`), "
            "or leave them out for the usual panel."
        )
    bases, answers = [one.base for one in read], [one.answers for one in read]
    informed = history.informed([one.candidate for one in read], bases, problem)
    ranked = _rivals.ordered(informed, answers, unitwise)
    static, source = _rivals.static_best(ranked)
    short = _rivals.shortlist(ranked, static, size=plan.shortlist or WORTH_TUNING)
    if plan.shortlist > 1 and len(short) > 1:
        heats = race(problem, [base for base in bases if base.card.name in short], store=store, plan=plan)
        informed = [replace(one, raced=heats.get(one.backbone, ())) for one in informed]
        winner = next((name for name, rungs in heats.items() if rungs), None)
        ranked = _rivals.ordered(informed, answers, unitwise, first=winner)
    if set(rankers) == set(PANEL):  # places by other scores do not compare
        history.add(ranked, bases, problem)
    metric, plural = unitwise.metric.replace("_", " "), registry.get("inputs", rows.kind)().plural
    found = Ranking(tuple(ranked), len(rows), static, "", metric, source, short, (*gone, *left_out))
    found = replace(found, conclusion=_rivals.conclusion(found, plural, blocks=_rivals.count_blocks(answers)))
    emit("stage", found.conclusion)
    _warn_of_chance(problem, rows, ranked[0], plan)
    return found


def _warn_of_chance(problem: Problem, rows: Examples, first: Candidate, plan: Plan) -> None:
    """Say so where even the leader answers no better than a constant does."""
    task = problem.task.unitwise
    constant = Recipe(strategy_named("chance"), Lens()).fit(replace(problem, train=rows), plan=plan, seed=0)
    answers, targets, _ = problem.task.rows(constant.raw(rows), rows)
    if first.interval and first.interval.value <= task.score(task.outcomes(targets, task.decode(answers))):
        told = f"Even {first.backbone} does not answer better than a constant answer would: this order means little."
        emit("warning", f"{told} More examples a class are needed.")


def suitable(kind: str) -> list[str]:
    """Names of the installed backbones for ``kind``, the smallest first, so that a first score is there soon."""
    here = [listing for listing in sources.known(kind) if listing.installed]
    return [listing.name for listing in sorted(here, key=lambda one: one.card.parameters)]


def resolve(
    kind: str, backbones: Sequence[str | Backbone] | str = "suitable", *, unit: str = "item"
) -> tuple[list[Backbone], list[LeftOut]]:
    """The backbones that ``backbones`` names, and those that cannot be opened: an error when they are all that was named."""
    asked: list[str | Backbone] = [backbones] if isinstance(backbones, str) else list(backbones)
    found: list[Backbone] = []
    failed: list[HeadstartError] = []
    left_out: list[LeftOut] = []
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
            left_out.append(LeftOut(one if isinstance(one, str) else one.card.name, str(error)))
            emit("warning", f"'{left_out[-1].backbone}' is left out: {error}")
    if failed and not found and backbones != "suitable":
        raise failed[0]
    wrong = [base for base in found if base.card.kind != kind]
    if wrong:
        raise NotAdmissible(
            f"'{wrong[0].card.name}' reads {wrong[0].card.kind} items; these are {kind} items. Choose another."
        )
    return _apart(found), left_out


def _apart(bases: Sequence[Backbone]) -> list[Backbone]:
    """``bases``, each once. Records go by name, so that two that differ need two names."""
    found: dict[str, Backbone] = {}
    for base in bases:
        other = found.setdefault(base.card.name, base)
        if other is not base and other.fingerprint != base.fingerprint:
            raise NotAdmissible(f"Two different backbones are called '{base.card.name}'. Give each a name of its own.")
    return list(found.values())


@dataclass(frozen=True, eq=False)
class _Reading:
    """A candidate with its backbone and the leave-one-out answers of its head."""

    base: Backbone
    candidate: Candidate
    answers: _rivals.Answers


def _read(
    problem: Problem,
    bases: Sequence[Backbone],
    rows: Examples,
    store: FeatureStore,
    *,
    rankers: Sequence[str],
    limits: Limits,
) -> tuple[list[_Reading], list[LeftOut]]:
    """Those within the limits that can be read, and those left out. Weights are opened only now, and may be damaged."""
    found: list[_Reading] = []
    failed: list[HeadstartError] = []
    beyond: list[tuple[str, _limits.Excess]] = []
    left_out: list[LeftOut] = []
    for base in bases:
        name = base.card.name
        try:
            one = _limits.excess(base, problem, limits) or _candidate(problem, base, rows, store, rankers, limits.seconds)
        except HeadstartError as error:
            failed.append(error)
            left_out.append(LeftOut(name, str(error)))
            emit("warning", f"'{name}' is left out: {error}")
            continue
        if isinstance(one, _limits.Excess):
            beyond.append((name, one))
            left_out.append(LeftOut(name, one.told))
            emit("data", f"'{name}' is left out: {one.told}.", backbone=name)
        else:
            found.append(one)
    if not found:
        raise _limits.none_left(beyond) if beyond else failed[0]
    return found, left_out


def _candidate(
    problem: Problem, base: Backbone, rows: Examples, store: FeatureStore, rankers: Sequence[str], seconds: float | None
) -> _Reading | _limits.Excess:
    from scipy.special import softmax

    started, card, task = time.perf_counter(), base.card, problem.task
    if not sources.states_licence(card):
        emit("warning", f"The card of '{card.name}' names no licence. Find out whether you may use it.")
    taps = feature_taps(base, task.unit)
    own = [tap for tap in base.taps if tap.labels and tap.unit == task.unit][-1:] if set(rankers) & set(HEADS) else []
    read = _limits.read(base, problem, rows, store, taps=[tap.name for tap in (*taps, *own)], seconds=seconds)
    if isinstance(read, _limits.Excess):
        return read
    tap, seen = _best_layer(task, taps, read.features, rows)
    seen = replace(seen, outputs=softmax(read.features[-1].rows.astype(np.float64), axis=1) if own else None)
    scores = {ranker: _finite(registry.get("rankers", ranker)(seen)) for ranker in rankers}
    answers = seen.task.outcomes(seen.targets, seen.task.decode(seen.task.raw(seen.left_out)))
    took = time.perf_counter() - started
    first = next((f"{label} {value:.3f}" for label, value in scores.items() if value is not None), "no score applies")
    plural = registry.get("inputs", rows.kind)().plural
    emit("stage", f"{card.name}: {first} at {tap} on {len(rows)} training {plural} ({took:.1f} s)", backbone=card.name)
    candidate = Candidate(card.name, scores, 0.0, took, card.parameters, card.prior, whole=read.whole, tap=tap)
    return _Reading(base, candidate, _rivals.Answers(answers, seen.blocks))


def _best_layer(task: Task, taps: Sequence[Tap], features: Sequence[Features], rows: Examples) -> tuple[str, Seen]:
    """The tap whose ridge head has the lowest leave-one-out loss, and what is seen there: all taps came from one pass."""
    found: tuple[float, str, Seen] | None = None
    for tap, read in zip(taps, features, strict=False):
        seen = seen_at(task, read, rows)
        loss = scored(seen, tap).score.log_loss
        if found is None or loss < found[0]:
            found = loss, tap.name, seen
    assert found is not None
    return found[1:]


def _known(rankers: Sequence[str]) -> tuple[str, ...]:
    """``rankers``, once each; ``UnknownName`` before anything is read."""
    for name in rankers:
        registry.get("rankers", name)
    if not rankers:
        raise NotAdmissible("No ranker is named. Name at least one, or leave them out for the usual panel.")
    return tuple(dict.fromkeys(rankers))


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
