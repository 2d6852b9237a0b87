"""The finalists, named before the exam opens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.errors import UnknownName
from headstart.evidence import Choice, Trial
from headstart.problem import INGREDIENTS, Problem
from headstart.strategy import Recipe


def choose(problem: Problem, trials: Sequence[Trial], recipes: Sequence[Recipe], *, worth: str | None = None) -> Choice:
    """The best recipe that draws on ``worth`` against the best that does not, by mean inner score over seeds.

    Recipes scored on fewer folds are compared on those: their score is the reference's plus the mean difference to it on
    the folds they share. Failed trials take no part. Without trials that did, a side stays empty.
    """
    worth = worth or problem.question
    if worth not in INGREDIENTS:
        raise UnknownName.of("ingredient", worth, INGREDIENTS)
    scores = inner_scores(trials)
    able = [recipe for recipe in recipes if scores.get(recipe.name) is not None]
    ranked = sorted(able, key=lambda recipe: (-(scores[recipe.name] or 0.0), _cost(recipe)))
    challenger = next((recipe for recipe in ranked if worth in recipe.uses), None)
    incumbent = next((recipe for recipe in ranked if worth not in recipe.uses), None)
    sides = [recipe for recipe in (challenger, incumbent) if recipe]
    cheaper = min(sides, key=_cost).name if sides else ""
    return Choice(worth, challenger, incumbent, scores, cheaper, _reason(worth, challenger, incumbent, trials))


def _cost(recipe: Recipe) -> tuple[bool, int, int, str]:
    """What a recipe costs to keep and use, not by the clock: a trained network before a head, then parameters to run, then
    how much it needs."""
    strategy, parameters = recipe.strategy, sum(b.card.parameters for b, _ in recipe.lens.reads)
    return strategy.costly, parameters, len(strategy.needs), recipe.name


def inner_scores(trials: Sequence[Trial]) -> dict[str, float | None]:
    """Each recipe's inner score, on comparable rows. None where it failed."""
    done = {name: [t for t in trials if t.recipe == name and t.inner_score is not None] for name in _names(trials)}
    most = max((len(found[0].fold_scores) for found in done.values() if found), default=0)
    mean = {name: float(np.mean([trial.inner_score for trial in found])) for name, found in done.items() if found}
    full = {name: score for name, score in mean.items() if len(done[name][0].fold_scores) == most}
    reference = max(full, key=lambda name: full[name]) if full else None
    scores: dict[str, float | None] = {name: full.get(name) for name in done}
    for name in mean.keys() - full.keys():
        gaps = [_gap(one, other) for one in done[name] for other in done[str(reference)]]
        known = [gap for gap in gaps if gap is not None]
        scores[name] = full[str(reference)] + float(np.mean(known)) if known else mean[name]
    return scores


def _names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(trial.recipe for trial in trials))


def _gap(one: Trial, other: Trial) -> float | None:
    """Mean difference of two trials over the folds that both have a score on."""
    both = [(score, other.fold_scores.get(draw)) for draw, score in one.fold_scores.items()]
    known = [mine - theirs for mine, theirs in both if mine is not None and theirs is not None]
    return float(np.mean(known)) if known else None


def _reason(worth: str, challenger: Recipe | None, incumbent: Recipe | None, trials: Sequence[Trial]) -> str:
    failed = [f"{trial.recipe}: {trial.message}" for trial in trials if trial.status == "failed"]
    if challenger is None:
        return f"no recipe that uses '{worth}' could be fitted" + (f" ({failed[0]})" if failed else "")
    if incumbent is None:
        return f"no recipe that does without '{worth}' could be fitted" + (f" ({failed[0]})" if failed else "")
    return f"{challenger.name} and {incumbent.name} have the best inner scores with and without '{worth}'"
