"""Who leads a ranking, who cannot be told apart from the leader, and what would have been chosen without looking.

The rows of a ranking are resampled, whole blocks at a time and with the same weights for every candidate: the
leave-one-out answers of their linear heads are scored again in each draw. That is the error of the choice as far as these
rows go; it does not speak of other training rows, nor of tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headstart.evidence import Candidate, Interval, Ranking

if TYPE_CHECKING:
    from headstart.tasks import Task

DRAWS = 1000
ENOUGH = 3  # other problems, before their log says more about a model than what was published
FEW = 5  # blocks; resampling fewer says nothing of how sure an order is
Z2 = 1.96**2


@dataclass(frozen=True, eq=False)
class Answers:
    """The leave-one-out outcomes of one candidate's linear head, (units, k), and the block of each unit."""

    outcomes: np.ndarray
    blocks: np.ndarray


def ordered(
    found: Sequence[Candidate], answers: Sequence[Answers], task: Task, *, first: str | None = None
) -> list[Candidate]:
    """``found`` by mean rank, each with its interval and with what parts it from the leader.

    Equal mean ranks go by score, and equal scores by the prior. The prior also says who leads of those whose score is within
    one standard error of the difference to the first one's. ``first`` names a leader that was decided otherwise.
    """
    _, prior = known_before(found)
    ranks = mean_ranks(found)
    scores = np.array([task.score(one.outcomes) for one in answers])
    known = [-np.inf if value is None else value for value in prior]
    keys = [(ranks[i], -scores[i], -known[i], one.parameters, one.backbone) for i, one in enumerate(found)]
    order = sorted(range(len(found)), key=keys.__getitem__)
    draws = bootstrap(task, [one.outcomes for one in answers], answers[0].blocks)
    named = [i for i in order if found[i].backbone == first]
    lead = named[0] if named else _leader(order, scores, draws, prior)
    blocks, told = count_blocks(answers), []
    for i in [lead, *(i for i in order if i != lead)]:
        same = i != lead and np.array_equal(answers[i].outcomes, answers[lead].outcomes)
        behind = None if i == lead else _interval(scores[lead] - scores[i], draws[:, lead] - draws[:, i])
        told.append(
            replace(
                found[i],
                mean_rank=float(ranks[i]),
                interval=_certain(_interval(scores[i], draws[:, i]), blocks),
                behind=behind,
                tied=behind is None or behind.low <= 0 or blocks < FEW,
                note=f"Answers every row as {found[lead].backbone} does." if same else found[i].note,
            )
        )
    return told


def count_blocks(answers: Sequence[Answers]) -> int:
    """How many blocks the rows stand in, the same for every candidate."""
    return len(np.unique(answers[0].blocks.astype(str)))


def bootstrap(task: Task, tables: Sequence[np.ndarray], blocks: np.ndarray, *, draws: int = DRAWS) -> np.ndarray:
    """The score of each of ``tables`` (outcomes of the same units) under weights that all share: (draws, tables)."""
    names, block_of = np.unique(blocks.astype(str), return_inverse=True)
    even = np.full(len(names), 1 / len(names))
    weights = np.random.default_rng(0).multinomial(len(names), even, size=draws)[:, block_of].astype(float)
    return np.stack([_scores(task, table, weights) for table in tables], axis=1)


def mean_ranks(found: Sequence[Candidate]) -> np.ndarray:
    """The mean of each candidate's ranks over the rankers; equal scores share a rank. One that scores none does not count."""
    ranks = []
    for ranker in found[0].scores:
        values = np.array([-np.inf if one.scores[ranker] is None else one.scores[ranker] for one in found], dtype=float)
        if np.isfinite(values).any():
            above, level = (values > values[:, None]).sum(axis=1), (values == values[:, None]).sum(axis=1)
            ranks.append(above + (level + 1) / 2)
    return np.mean(ranks, axis=0) if ranks else np.ones(len(found))


def known_before(found: Sequence[Candidate]) -> tuple[str, list[float | None]]:
    """What is known of each candidate without this data, higher is better: ``("card", …)`` the published scores, ``("log", …)``
    the places on other problems, where at least as many candidates have enough of these."""
    past = [-one.past if one.past is not None and one.past_problems >= ENOUGH else None for one in found]
    card = [one.prior for one in found]
    count = sum(value is not None for value in past)
    return ("log", past) if count >= max(2, sum(value is not None for value in card)) else ("card", card)


def static_best(found: Sequence[Candidate]) -> tuple[str | None, str]:
    """Whom the prior alone would choose, and where it is from."""
    source, prior = known_before(found)
    known = [(value, -one.parameters, one.backbone) for one, value in zip(found, prior, strict=True) if value is not None]
    return (max(known)[2] if known else None), source


def shortlist(ranked: Sequence[Candidate], static: str | None, *, size: int) -> tuple[str, ...]:
    """The leader, the prior's choice, and as many of those that cannot be told apart as make ``size``, in order."""
    names = [one.backbone for one in ranked if one.tied][:size]
    if static is not None and static not in names:
        names = [*names[: max(1, size - 1)], static]
    return tuple(names)


def conclusion(found: Ranking, plural: str, *, blocks: int) -> str:
    """Who leads, who cannot be told apart, and what would have been chosen without looking: one sentence."""
    first, *others = found.candidates
    score = f"{first.interval.value:.3f}" if first.interval else "none"
    if not others:
        return f"{first.backbone} is the only candidate: leave-one-out {found.metric} {score} on {found.rows} {plural}."
    source = "places on other problems" if found.static_from == "log" else "published scores"
    its = f"its leave-one-out {found.metric} is {score} on {found.rows} {plural}"
    told = f"{first.backbone} leads with a leave-one-out {found.metric} of {score} on {found.rows} {plural}"
    if first.raced:
        told = f"{_won(found.candidates)}; {its}"
    elif first.mean_rank > min(one.mean_rank for one in others):
        told = f"{first.backbone} is put first by {source}, which settle what the rows leave open; {its}"
    told += _apart(others, blocks)
    if found.static_best is None:
        return f"{told}."
    same = "the same" if found.static_best == first.backbone else found.static_best
    return f"{told}; {source} alone would have chosen {same}."


def _won(found: Sequence[Candidate]) -> str:
    """How the first of ``found`` won the race, and from whom its last heat does not tell it."""
    first, *others = found
    racers = [one for one in others if one.raced]
    told = f"{first.backbone} wins the race of {len(racers) + 1} on {first.raced[-1].held} rows held out"
    last = [one for one in racers if len(one.raced) == len(first.raced)]  # the others lost to another leader, perhaps
    level = [one.backbone for one in last if (after := one.raced[-1].behind) is not None and after.low <= 0]
    return f"{told} (not told apart there: {', '.join(level)})" if level else told


def _apart(others: Sequence[Candidate], blocks: int) -> str:
    """What parts ``others`` from the leader. The winner of a race may be behind some of them on the rows alone."""
    if blocks < FEW:
        return f"; {blocks} block{' is' if blocks == 1 else 's are'} too few to tell the others apart from it"
    ahead = [one for one in others if one.behind and one.behind.high < 0]
    level = [one for one in others if one.tied and one not in ahead]
    told = ""
    if ahead:
        told += f"; on these rows alone {_listed(ahead)} {'is' if len(ahead) == 1 else 'are'} clearly ahead of it"
    if level:
        told += f"; {_listed(level)} cannot be told apart from it"
    return told if level or ahead else "; every other is clearly behind"


def _listed(some: Sequence[Candidate]) -> str:
    named = [one.backbone + (f" ({_by(one.behind)})" if one.behind else "") for one in some[:3]]
    return ", ".join(named) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _by(behind: Interval) -> str:
    if behind.value < 0:
        return f"ahead by {-behind.value:.3f}, {0 - behind.high:.3f} to {-behind.low:.3f}"
    return f"behind by {behind.value:.3f}, {behind.low:.3f} to {behind.high:.3f}"


def _leader(order: Sequence[int], scores: np.ndarray, draws: np.ndarray, prior: Sequence[float | None]) -> int:
    """Whom the prior prefers among those within one standard error of the first of ``order``."""
    first = order[0]
    if prior[first] is None:
        return first
    error = np.nanstd(draws - draws[:, [first]], axis=0)
    near = [(value, i) for i in order if (value := prior[i]) is not None and abs(scores[first] - scores[i]) <= error[i]]
    return max(near, key=lambda pair: pair[0])[1]


def _scores(task: Task, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    strata = task.strata(table)
    if strata is None:
        return np.array([task.score(table, row) for row in weights])
    parts = []
    for index, values in strata:
        total = weights[:, index].sum(axis=1)
        with np.errstate(invalid="ignore"):
            parts.append(weights[:, index] @ values / total)  # a class that a draw lacks has no mean there
    return np.nanmean(parts, axis=0)


def _interval(value: float, draws: np.ndarray) -> Interval:
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (value, value)
    return Interval(float(value), float(low), float(high))


def _certain(found: Interval, blocks: int) -> Interval:
    """``found``; where no draw differs, as when every answer is right, as wide as Wilson's interval is then."""
    if found.low < found.high or not 0 <= found.value <= 1:
        return found
    half = Z2 / (blocks + Z2)
    return Interval(found.value, max(0.0, found.value - half), min(1.0, found.value + half))
