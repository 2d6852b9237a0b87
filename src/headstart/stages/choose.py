"""The finalists, named before the exam opens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.evidence import Choice, Trial
from headstart.problem import Problem
from headstart.strategy import Recipe


def choose(problem: Problem, trials: Sequence[Trial], recipes: Sequence[Recipe], *, worth: str | None = None) -> Choice:
    """The best recipe that draws on ``worth`` against the best that does not, by mean inner score over seeds.

    Recipes scored on fewer folds are compared on those: their score is the reference's plus the mean difference to it on
    the folds they share. Failed trials take no part. Without trials that did, a side stays empty.
    """
    worth = worth or problem.question
    scores = inner_scores(trials)
    able = [recipe for recipe in recipes if scores.get(recipe.name) is not None]
    ranked = sorted(able, key=lambda recipe: (-(scores[recipe.name] or 0.0), _cost(recipe)))
    challenger = next((recipe for recipe in ranked if worth in recipe.uses), None)
    incumbent = next((recipe for recipe in ranked if worth not in recipe.uses), None)
    sides = [recipe for recipe in (challenger, incumbent) if recipe]
    cheaper = min(sides, key=_cost).name if sides else ""
    return Choice(worth, challenger, incumbent, scores, cheaper, _reason(worth, challenger, incumbent, trials))


def _cost(recipe: Recipe) -> tuple[bool, int, str]:
    """What a recipe costs to keep and use, not by the clock: a trained network before a head, then parameters to run."""
    return recipe.strategy.costly, sum(b.card.parameters for b, _ in recipe.lens.reads), recipe.name


def inner_scores(trials: Sequence[Trial]) -> dict[str, float | None]:
    """Each recipe's inner score, on comparable rows. None where it failed."""
    folds: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(trial.recipe for trial in trials):
        done = [trial for trial in trials if trial.recipe == name and trial.status == "done"]
        keys = done[0].fold_scores if done else ()
        folds[name] = {key: float(np.mean([trial.fold_scores[key] for trial in done])) for key in keys}
    most = max((len(found) for found in folds.values()), default=0)
    full = {name: float(np.mean(list(found.values()))) for name, found in folds.items() if found and len(found) == most}
    scores: dict[str, float | None] = dict.fromkeys(folds)
    scores.update(full)
    reference = max(full, key=lambda name: full[name]) if full else None
    for name, found in folds.items():
        if found and name not in full and reference is not None:
            shared = [key for key in found if key in folds[reference]]
            difference = np.mean([found[key] - folds[reference][key] for key in shared]) if shared else float("nan")
            scores[name] = float(full[reference] + difference)
    return {name: None if score is None or not np.isfinite(score) else score for name, score in scores.items()}


def _reason(worth: str, challenger: Recipe | None, incumbent: Recipe | None, trials: Sequence[Trial]) -> str:
    failed = [f"{trial.recipe}: {trial.message}" for trial in trials if trial.status == "failed"]
    if challenger is None:
        return f"no recipe that uses '{worth}' could be fitted" + (f" ({failed[0]})" if failed else "")
    if incumbent is None:
        return f"no recipe that does without '{worth}' could be fitted" + (f" ({failed[0]})" if failed else "")
    return f"{challenger.name} and {incumbent.name} have the best inner scores with and without '{worth}'"
