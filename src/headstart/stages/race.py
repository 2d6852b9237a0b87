"""Real tuning decides between models that closed forms cannot tell apart: successive halving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart import registry
from headstart._events import emit
from headstart.backbone import Backbone
from headstart.errors import HeadstartError
from headstart.evidence import Rung
from headstart.features import FeatureStore, Lens
from headstart.problem import Problem
from headstart.stages._rows import some_rows
from headstart.stages.locate import locate
from headstart.strategy import Plan, Recipe

FIRST = 2  # epochs of the first heat; each further one has twice as many
HELD = 0.25  # of the rows, where the problem has no validation part


def race(
    problem: Problem,
    bases: Sequence[Backbone],
    *,
    store: FeatureStore | None = None,
    plan: Plan | None = None,
    seed: int = 0,
) -> dict[str, tuple[Rung, ...]]:
    """The heats that each of ``bases`` ran, the winner first (Jamieson & Talwalkar 2016, on epochs).

    In each heat the rest is tuned anew, at the cut that ``locate`` gives each, on the same rows, and scored on the same rows
    held out (``problem.valid`` where there is one; never the exam). The half with the lower log-loss runs the next heat, twice
    as long, until one is left. A base that can only be read races with a linear probe. One whose tuning fails is out.
    """
    store, plan = store or FeatureStore(), replace(plan or Plan(), views=1)
    inner, upper = _inner(problem, plan, seed), replace(plan, whole=False)  # whole networks would take too long
    seen = replace(inner, valid=None)
    left = {base.card.name: base for base in bases}
    run: dict[str, tuple[Rung, ...]] = dict.fromkeys(left, ())
    lenses: dict[str, Lens] = {}
    epochs = FIRST
    while len(left) > 1:
        for name, base in left.items():
            try:
                if name not in lenses:
                    lenses[name] = locate(seen, base, store=store, plan=upper).lens(store)
                run[name] = (*run[name], _heat(inner, base, lenses[name], plan=plan, epochs=epochs, seed=seed))
            except HeadstartError as error:
                emit("warning", f"'{name}' is out of the race: {error}")
        heat = {name: run[name][-1] for name in left if run[name] and run[name][-1].epochs == epochs}
        if not heat:
            break
        _tell(heat, problem)
        best = sorted(heat, key=lambda name: heat[name].loss)[: (len(heat) + 1) // 2]
        left = {name: left[name] for name in best}
        epochs *= 2
    order = sorted(run, key=lambda name: (-len(run[name]), run[name][-1].loss if run[name] else np.inf))
    return {name: run[name] for name in order}


def _inner(problem: Problem, plan: Plan, seed: int) -> Problem:
    """The problem with the rows that the race learns from as ``train`` and the rows that it is scored on as ``valid``."""
    rows, valid = some_rows(problem, plan.rank_rows), problem.valid
    if valid is None or not len(valid):
        keep, held = problem.task.split(rows, fraction=HELD, seed=seed)
        rows, valid = rows.take(keep), rows.take(held)
    return replace(problem, task=problem.task.fitted(rows.targets), train=rows, valid=valid)


def _heat(inner: Problem, base: Backbone, lens: Lens, *, plan: Plan, epochs: int, seed: int) -> Rung:
    held = inner.valid
    assert held is not None
    tune, probe = (registry.get("strategies", name) for name in ("fine_tune", "linear_probe"))
    recipe = Recipe(tune(epochs=epochs) if base.trainable else probe(), lens)
    fitted = recipe.fit(replace(inner, valid=None), plan=replace(plan, tuned_epochs=epochs), seed=seed)
    task, raw = fitted.task, fitted.raw(held)
    answers = task.decode(raw.rows, raw.offsets)
    return Rung(epochs, task.score(task.outcomes(held.targets, answers)), float(task.losses(raw.rows, held.targets).mean()))


def _tell(heat: Mapping[str, Rung], problem: Problem) -> None:
    epochs = next(iter(heat.values())).epochs
    metric = problem.task.metric.replace("_", " ")
    each = "; ".join(f"{name} {rung.score:.3f} (loss {rung.loss:.3f})" for name, rung in heat.items())
    emit("stage", f"Race, {epochs} epochs, {metric}: {each}")
