"""Real tuning decides between models that closed forms cannot tell apart: successive halving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart import registry
from headstart._cutting import standard_error
from headstart._events import emit
from headstart.backbone import Backbone
from headstart.errors import HeadstartError
from headstart.evidence import Interval, Rung
from headstart.features import FeatureStore, Lens
from headstart.problem import Examples, Problem
from headstart.stages._intervals import t_quantile
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
    assert inner.valid is not None
    while len(left) > 1:
        losses: dict[str, np.ndarray] = {}
        for name, base in left.items():
            try:
                if name not in lenses:
                    lenses[name] = locate(seen, base, store=store, plan=upper).lens(store)
                rung, losses[name] = _heat(inner, base, lenses[name], plan=plan, epochs=epochs, seed=seed)
                run[name] = (*run[name], rung)
            except HeadstartError as error:
                emit("warning", f"'{name}' is out of the race: {error}")
        if not losses:
            break
        order = sorted(losses, key=lambda name: run[name][-1].loss)
        for name in order[1:]:
            behind = _behind(losses[name] - losses[order[0]], inner.valid)
            run[name] = (*run[name][:-1], replace(run[name][-1], behind=behind))
        _tell({name: run[name][-1] for name in losses}, problem)
        left = {name: left[name] for name in order[: (len(order) + 1) // 2]}
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


def _heat(inner: Problem, base: Backbone, lens: Lens, *, plan: Plan, epochs: int, seed: int) -> tuple[Rung, np.ndarray]:
    """The heat of one base, and its loss on each unit held out."""
    held = inner.valid
    assert held is not None
    tune, probe = (registry.get("strategies", name) for name in ("fine_tune", "linear_probe"))
    recipe = Recipe(tune(epochs=epochs) if base.trainable else probe(), lens)
    fitted = recipe.fit(replace(inner, valid=None), plan=replace(plan, tuned_epochs=epochs), seed=seed)
    task, raw = fitted.task, fitted.raw(held)
    score = task.score(task.outcomes(held.targets, task.decode(raw.rows, raw.offsets)))
    losses = task.losses(raw.rows, held.targets)
    return Rung(epochs, score, float(losses.mean()), len(held)), losses


def _behind(more: np.ndarray, held: Examples) -> Interval:
    """The mean of ``more``, losses above those of another on the units of ``held``; whole blocks are the sample."""
    blocks = held.blocks.astype(str)
    if len(more) != len(held):  # words
        blocks = np.repeat(blocks, [len(one) for one in held.targets])
    reach = t_quantile(0.025, max(1, len(np.unique(blocks)) - 1)) * standard_error(more, blocks)
    return Interval(float(more.mean()), float(more.mean() - reach), float(more.mean() + reach))


def _tell(heat: Mapping[str, Rung], problem: Problem) -> None:
    epochs = next(iter(heat.values())).epochs
    metric = problem.task.metric.replace("_", " ")
    each = "; ".join(f"{name} {rung.score:.3f} (loss {rung.loss:.3f})" for name, rung in heat.items())
    emit("stage", f"Race, {epochs} epochs, {metric}: {each}")
