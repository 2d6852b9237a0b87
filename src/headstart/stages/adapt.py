"""Stage five, with transfer and without: fit a recipe, and score it on rows it has not seen."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headstart._events import emit
from headstart.evidence import Trial
from headstart.problem import Examples, Problem
from headstart.strategy import Plan, Predictor, Recipe


def adapt(problem: Problem, recipe: Recipe, *, plan: Plan | None = None, seed: int = 0) -> Trial:
    """``recipe`` fitted and scored on inner rows, the same for every recipe: ``problem.valid``, else block folds of ``train``.

    A fold's fit sees only the other folds. A recipe that fails becomes a trial with ``status="failed"`` and its message.
    """
    plan, started = plan or Plan(), time.perf_counter()
    scores: dict[str, float | None] = {}
    tables: dict[str, list[np.ndarray]] = {}
    models: dict[str, Predictor] = {}
    status, message, notes = "done", "", {}
    try:
        for draw, part, held in inner_parts(problem, recipe, plan):
            predictor = recipe.fit(part, plan=plan, seed=seed)
            outcomes = problem.task.sit(predictor, held)
            score = problem.task.score(outcomes)
            scores[draw] = score if np.isfinite(score) else None  # one row alone has no R²
            tables.setdefault(draw.rpartition("/")[0], []).append(outcomes)
            models[draw], notes = predictor, dict(predictor.notes)
    except Exception as error:  # any failure of a method is a result about the method, and is shown
        status, message = "failed", f"{type(error).__name__}: {error}"
        emit("warning", f"{recipe.name} failed: {message}")
    # The folds of a repeat are pooled, so that a metric of many rows (R², F1) is taken over many rows.
    pooled = [problem.task.score(np.concatenate(parts)) for parts in tables.values()]
    inner = float(np.mean(pooled)) if pooled and status == "done" and np.isfinite(pooled).all() else None
    seconds = time.perf_counter() - started
    if inner is not None:
        metric = problem.task.metric.replace("_", " ")
        emit("stage", f"{recipe.name}: inner {metric} {inner:.3f} ({seconds:.1f} s)", recipe=recipe.name)
    uses = tuple(sorted(recipe.uses))
    memory = peak_memory()
    return Trial(recipe.name, uses, recipe.spec(), seed, status, inner, scores, seconds, memory, message, notes, models)


def inner_parts(problem: Problem, recipe: Recipe, plan: Plan) -> Iterator[tuple[str, Problem, Examples]]:
    """(draw name, problem without the held rows, held rows) of each inner fit that the plan gives ``recipe``."""
    if problem.valid is not None and len(problem.valid):
        yield "valid", replace(problem, valid=None), problem.valid
        return
    yield from fold_parts(problem, plan, limit=plan.inner_fits(recipe.strategy))


def fold_parts(problem: Problem, plan: Plan, *, limit: int) -> Iterator[tuple[str, Problem, Examples]]:
    """The first ``limit`` of the plan's repeats × folds of ``train``; blocks whole, strata in proportion."""
    given = 0
    for repeat in range(plan.repeats):
        for k, (fit, held) in enumerate(problem.task.folds(problem.train, k=plan.folds, seed=repeat)):
            if given == limit:
                return
            given += 1
            yield f"fold/{repeat}/{k}", replace(problem, train=problem.train.take(fit)), problem.train.take(held)


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
