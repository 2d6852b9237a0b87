"""Seconds of budget become a plan, before anything is fitted."""

from __future__ import annotations

import os
from dataclasses import replace

from headstart.errors import ProblemError
from headstart.problem import Problem
from headstart.strategy import Plan

# What one epoch of the slim network costs an item on one core of an ordinary laptop. A rough figure is enough: the plan is
# about orders of magnitude, and both sides of a comparison follow the same one.
SECONDS_PER_ITEM = 0.006
FEW = 400  # fewer items than this pass several times an epoch, so an epoch costs no less


def estimate(problem: Problem, seconds: float = 600.0) -> Plan:
    """The plan for ``problem`` in about ``seconds`` on this machine.

    At most a third of the time goes into one training from nothing; closed forms on many rows are repeated less.
    """
    if not seconds > 0:
        raise ProblemError(f"A budget of {seconds} seconds buys nothing. Give at least 10 seconds, for example 10m.")
    items = max(FEW, len(problem.train))
    plan = Plan(seconds=seconds, threads=min(2, os.cpu_count() or 1))
    plan = replace(plan, epochs=int(min(80, max(4, 0.33 * seconds / (SECONDS_PER_ITEM * items)))))
    # Two repeats of the folds halve what the verdict must allow for the training draw: one is a last resort.
    if len(problem.train) > 4000 or seconds < 300:
        plan = replace(plan, repeats=1)
    if seconds < 120:
        plan = replace(plan, seeds=1, folds=3, draws=False)
    return plan
