"""The exam: named arms sit it, once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headstart import _io, registry
from headstart._events import emit
from headstart.errors import NotAdmissible, ProblemError
from headstart.evidence import ALL, Arm, Cell, Evidence, Trial
from headstart.problem import Exam, Problem, shared
from headstart.stages.adapt import fold_parts
from headstart.strategy import Plan, Predictor, Recipe


def compare(
    problem: Problem,
    exam: Exam,
    arms: Sequence[Recipe],
    *,
    worth: str | None = None,
    amounts: Sequence[int | str] = (ALL,),
    seed: int = 0,
    plan: Plan | None = None,
    trials: Sequence[Trial] = (),
) -> Evidence:
    """Outcomes of every arm on the exam: refitted on train + valid, at each amount, for each seed.

    ``amounts`` are labels a class (rows, for numbers), nested for one seed, and ``"all"``. Where the plan asks for draws,
    models fitted on folds of the training data sit too, so that the verdict can count what another training sample would
    have changed; they are never used to choose. ``trials`` lends fold models that are in memory already.

    Raises ``ProblemError`` if an exam item or block stands in any part (the seal), or in what a base was trained on.
    """
    plan, worth = plan or Plan(), worth or problem.question
    check_seal(problem, exam, arms)
    whole = replace(problem, train=problem.labelled, valid=None)
    lent = {trial.recipe: trial.models for trial in trials}
    cells: list[Cell] = []
    tables: list[np.ndarray] = []
    models: dict[str, Predictor] = {}

    def sit(predictor: Predictor, cell: Cell, started: float) -> None:
        tables.append(problem.task.sit(predictor, exam))
        cells.append(replace(cell, seconds=time.perf_counter() - started))

    for recipe in arms:
        for amount in amounts:
            for offset in range(plan.refits(recipe.strategy)):
                started, one = time.perf_counter(), seed + offset
                part = whole if amount == ALL else whole.shrink(int(amount), seed=one)
                predictor = recipe.fit(part, plan=plan, seed=one)
                sit(predictor, Cell(recipe.name, str(amount), one), started)
                if amount == ALL:
                    models.setdefault(recipe.name, predictor)
        for draw, predictor in _draws(whole, recipe, plan, seed, lent.get(recipe.name, {})).items():
            sit(predictor, Cell(recipe.name, ALL, seed, draw), time.perf_counter())
        emit("stage", f"{recipe.name} has sat the exam ({len(exam)} items)", recipe=recipe.name)
    kind = registry.get("inputs", problem.kind)()
    return Evidence(
        task=problem.task,
        worth=worth,
        arms=tuple(Arm(r.name, tuple(sorted(r.uses)), r.strategy.deterministic, r.spec()) for r in arms),
        cells=tuple(cells),
        outcomes=np.stack(tables),
        blocks=exam.examples.blocks,
        slices=exam.examples.slices,
        items=tuple(exam.examples.names),
        exam=_io.fingerprint(exam),
        train_size=len(whole.train),
        unit=kind.plural,
        transductive=exam.transductive and "unlabelled" in problem.has,
        notes=_sizes(problem, amounts),
        models=models,
    )


def check_seal(problem: Problem, exam: Exam, arms: Sequence[Recipe]) -> None:
    """``ProblemError`` if anything that an arm may learn from holds an exam item or block."""
    if not exam.examples.labelled:
        raise NotAdmissible("The exam has no labels, so nothing can be scored on it. Give labelled held-out examples.")
    problems = [problem, *problem.siblings]
    parts = [(name, part) for one in problems for name, part in one.parts().items()]
    for name, part in parts:
        if name == "unlabelled" and exam.transductive:
            continue
        leaked = np.flatnonzero(shared(part, exam.examples))
        if len(leaked):
            raise ProblemError(
                f"{len(leaked)} items of '{name}' stand in the exam too, by content or by block (the first is "
                f"'{part.names[leaked[0]]:.80}'). No exam item may be learned from. Use problem.without(exam)."
            )
    known = set(exam.examples.fingerprints)
    for backbone in {id(b): b for recipe in arms for b, _ in recipe.lens.reads}.values():
        if known & backbone.card.items:
            raise ProblemError(
                f"'{backbone.card.name}' was trained on {len(known & backbone.card.items)} of the exam's items, says its card. "
                "Choose a base that has not seen them, or another exam."
            )


def _draws(whole: Problem, recipe: Recipe, plan: Plan, seed: int, lent: Mapping[str, Predictor]) -> dict[str, Predictor]:
    """Fold models of ``recipe``, by draw name: lent ones, else fitted here. None for a network trained from nothing."""
    strategy = recipe.strategy
    if not plan.draws or (strategy.costly and strategy.starts_from == "untrained"):
        return {}
    found = {draw: model for draw, model in lent.items() if draw.startswith("fold/")}
    if found:
        return found
    parts = fold_parts(whole, plan, limit=plan.inner_fits(strategy))
    return {draw: recipe.fit(part, plan=plan, seed=seed) for draw, part, _ in parts}


def _sizes(problem: Problem, amounts: Sequence[int | str]) -> dict[str, Any]:
    return {"amounts": {str(a): len(problem.labelled) if a == ALL else int(a) for a in amounts}}
