"""Seconds of budget become a plan, before anything is fitted."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np

from headstart import registry
from headstart._events import emit
from headstart._training import FEW
from headstart.errors import ProblemError
from headstart.problem import Problem
from headstart.strategy import Plan

# What one epoch costs for a photo on one core of an ordinary laptop: of the slim network, or of the upper layers of a
# pre-trained one. A rough figure is enough: the plan is about orders of magnitude, and both sides of a comparison follow the
# same one.
SECONDS_PER_ITEM = 0.006
READ, LOOKING = 0.03, 0.02  # seconds to read a photo once; the part of the core-seconds that may go into further looks
TUNING = 0.8  # of the core-seconds may go into tuning
# Times as long as the upper layers takes a whole network, of which nothing is cached. Tuning all of it is worth that
# (``docs/why/freeze-plan.md``).
WHOLE = {"image": 16, "text": 4}
# Folds, seeds and epochs of tuning, from what is best to the least that is worth anything.
RUNGS = ((5, 3, 8), (3, 2, 8), (2, 1, 6), (1, 1, 4), (1, 1, 3))

# The race of the leaders may take this part of the core-seconds; in a ranking alone, as much as tuning. A racer costs as much
# as READYING epochs before its first: it is read up to the cut.
RACE, READYING = 0.03, 8


def estimate(problem: Problem, seconds: float = 600.0, *, ranking: bool = False) -> Plan:
    """The plan for ``problem`` in about ``seconds`` on this machine.

    At most a third of the time goes into one training from nothing; closed forms on many rows are repeated less, and a
    pre-trained network is tuned less often, or not at all. For a ``ranking`` alone, the race of its leaders gets the time.
    """
    if not seconds > 0:
        raise ProblemError(f"A budget of {seconds} seconds buys nothing. Give at least 10 seconds, for example 10m.")
    epoch = SECONDS_PER_ITEM * max(FEW, _work(problem))  # fewer items pass several times, so an epoch costs no less
    plan = Plan(seconds=seconds, threads=min(2, os.cpu_count() or 1))
    plan = replace(plan, epochs=int(min(80, max(4, 0.33 * seconds / epoch))))
    room = TUNING * seconds * plan.threads / epoch
    folds, seeds, epochs = next((rung for rung in RUNGS if (rung[0] + rung[1]) * rung[2] <= room), (1, 1, 0))
    reading = LOOKING * seconds * plan.threads / (READ * max(1.0, _work(problem)))  # further looks that there is time for
    plan = replace(plan, views=4 if reading >= 4 else 2 if reading >= 2 else 1)
    whole = 0 < WHOLE.get(problem.kind, 16) * (folds + seeds) * epochs <= room
    plan = replace(plan, tuned_folds=folds, seeds=seeds, tuned_epochs=epochs, whole=whole)
    if ranking or (folds, seeds, epochs) == RUNGS[0]:
        plan = replace(plan, shortlist=_racers(problem, plan, TUNING if ranking else RACE))
    if ranking and not plan.shortlist:
        needed = math.ceil(_race(2) * _race_epoch(problem, plan) / (TUNING * plan.threads))
        emit("data", f"There is no race: {seconds:g} s are too few to tune two models. About {needed} s would do.")
    # Two repeats of the folds halve what the verdict must allow for the training draw: one is a last resort.
    if len(problem.train) > 4000 or seconds < 300:
        plan = replace(plan, repeats=1)
    if seconds < 120:
        plan = replace(plan, seeds=1, folds=3, draws=False)
    return plan


def _racers(problem: Problem, plan: Plan, share: float) -> int:
    """How many candidates can race in a ``share`` of the plan's core-seconds."""
    epochs = share * plan.seconds * plan.threads / _race_epoch(problem, plan)
    return next((k for k in (8, 4, 2) if _race(k) <= epochs), 0)


def _race(k: int) -> int:
    """What a race of ``k`` costs, in epochs: in each heat half as many run twice as long."""
    return READYING * k + 2 * k * (k.bit_length() - 1)


def _race_epoch(problem: Problem, plan: Plan) -> float:
    """The seconds of one epoch on the rows of a ranking."""
    share = min(1.0, plan.rank_rows / max(1, len(problem.train)))
    return SECONDS_PER_ITEM * max(FEW, share * _work(problem))


def _work(problem: Problem) -> float:
    """How much there is to compute, in photos."""
    kind, rows = registry.get("inputs", problem.kind)(), problem.train.rows
    some = rows[np.linspace(0, len(rows) - 1, min(500, len(rows))).astype(int)]
    return len(rows) * float(np.mean([kind.work(problem.train.items.inputs[row]) for row in some])) if len(some) else 0.0
