"""The exam: named arms sit it, once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart import _io, registry
from headstart._events import emit
from headstart.backbone import Backbone, feature_taps
from headstart.errors import NotAdmissible, ProblemError
from headstart.evidence import ALL, Arm, Cell, Choice, Evidence, Trial
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
    beside: Sequence[Recipe] = (),
) -> Evidence:
    """Outcomes of every arm on the exam: refitted on train + valid, at each amount, for each seed.

    ``amounts`` are labels a class (rows, for numbers), nested for one seed, and ``"all"``. Where the plan asks for draws,
    models fitted on folds of the training data sit too, so that the verdict can count what another training sample would
    have changed; they are never used to choose. ``trials`` lends fold models that are in memory already. Arms ``beside``
    answer a further question (``layer_arms``): they sit with one repeat of the folds at most.

    Raises ``ProblemError`` if an exam item or block stands in any part (the seal), or in what a base was trained on.
    """
    plan, worth = plan or Plan(), worth or problem.question
    once, arms = replace(plan, repeats=1), [*arms, *beside]
    check_seal(problem, exam, arms)
    whole = replace(problem, train=problem.labelled, valid=None)
    lent = {trial.recipe: trial.models for trial in trials}
    jobs = [
        job
        for recipe in arms
        for job in _jobs(whole, recipe, amounts, once if recipe in beside else plan, seed, lent.get(recipe.name, {}))
    ]
    alone = replace(plan, threads=1)  # two fits run side by side, one thread each, as the trials did

    def sit(job: _Job) -> _Sat:
        started = time.perf_counter()
        try:
            predictor = job.fitted or job.recipe.fit(job.part, plan=alone, seed=job.cell.seed)
            outcomes = problem.task.sit(predictor, exam.examples)
        except Exception as error:  # a method that fails on the whole data is a result about the method
            emit("warning", f"{job.recipe.name} failed at the exam: {type(error).__name__}: {error}")
            return _Sat(job, message=f"{type(error).__name__}: {error}")
        return _Sat(job, predictor, outcomes, time.perf_counter() - started)

    _read(exam, arms)
    everyone = registry.get("engines", "local")(sit, jobs, workers=plan.threads)
    done = [one for one in everyone if one.predictor is not None]
    failed = {one.job.recipe.name: one.message for one in everyone if one.predictor is None}
    if not done:
        raise NotAdmissible(f"No recipe could be fitted on the whole training data: {'; '.join(failed.values())}")
    firsts = {one.job.recipe.name: one.predictor for one in reversed(done) if one.predictor and one.job.is_first(seed)}
    kind = registry.get("inputs", problem.kind)()
    emit("stage", f"{' and '.join(firsts)}: the exam is over ({len(exam)} {kind.plural}, fits: {len(done)})")
    return Evidence(
        task=problem.task,
        worth=worth,
        arms=tuple(Arm(r.name, tuple(sorted(r.uses)), r.strategy.deterministic, r.spec()) for r in arms),
        cells=tuple(replace(one.job.cell, seconds=one.seconds) for one in done),
        outcomes=np.stack([one.outcomes for one in done]),
        blocks=exam.examples.blocks,
        slices=exam.examples.slices,
        items=tuple(exam.examples.names),
        exam=_io.fingerprint(exam),
        train_size=len(whole.train),
        unit=kind.plural,
        transductive=exam.transductive and "unlabelled" in problem.has,
        notes={"amounts": _sizes(whole, amounts, seed), "failed": failed},
        models=firsts,
    )


def layer_arms(choice: Choice, recipes: Sequence[Recipe], *, unit: str) -> tuple[Recipe, ...]:
    """What shows the worth of the right layer: the best recipe with a frozen base, as it is and read at the last layer.

    The first is left out where it is the challenger. None at all where the last layer is the right one, or no recipe reads
    one layer of a frozen base. Named by inner scores, before the exam opens.
    """
    scores = choice.inner_scores
    frozen = [one for one in recipes if choice.worth in one.uses and not one.strategy.needs & {"network", "layers"}]
    able = [one for one in frozen if scores.get(one.name) is not None and "layers" in one.lens.has]
    if not able or choice.challenger is None or choice.incumbent is None:
        return ()
    best = max(able, key=lambda one: (one is choice.challenger, scores[one.name] or 0.0))
    (backbone, read), last = best.lens.reads[0], feature_taps(best.lens.backbone, unit)[-1].name
    if read == last:
        return ()
    at_last = Recipe(best.strategy, replace(best.lens, reads=((backbone, last),)), f"{best.name} at {last}")
    return (at_last,) if best is choice.challenger else (best, at_last)


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
    for backbone in _bases(arms):
        times, until = exam.examples.times, backbone.card.until
        if times is not None and until is not None and min(str(time) for time in times) < until:
            raise ProblemError(
                f"'{backbone.card.name}' was trained on data up to {until}; the exam begins on {min(map(str, times))}. "
                "A base may not have lived through its exam. Choose an older base, or a later exam."
            )
        if known & backbone.card.items:
            raise ProblemError(
                f"'{backbone.card.name}' was trained on {len(known & backbone.card.items)} of the exam's items, says its card. "
                "Choose a base that has not seen them, or another exam."
            )


def _read(exam: Exam, arms: Sequence[Recipe]) -> None:
    """Compute the exam's features first, so that no fit's seconds hold them, and tell what was done to its items."""
    for recipe in arms:
        for backbone, tap in recipe.lens.reads if recipe.strategy.starts_from == "pretrained" else ():
            recipe.lens.store.features(backbone, exam.examples, [tap])
    for backbone in _bases(arms):
        for remark in backbone.remarks(exam.examples.inputs) if backbone.pretrained else ():
            emit("data", f"In the exam: {remark}")


def _bases(arms: Sequence[Recipe]) -> list[Backbone]:
    """Every backbone that an arm reads, once."""
    return list({id(backbone): backbone for recipe in arms for backbone, _ in recipe.lens.reads}.values())


@dataclass(frozen=True, eq=False)
class _Job:
    """One fit that sits the exam: a recipe, the part of the data it learns from, its place in the table."""

    recipe: Recipe
    part: Problem
    cell: Cell
    fitted: Predictor | None = None

    def is_first(self, seed: int) -> bool:
        return self.cell.amount == ALL and not self.cell.draw and self.cell.seed == seed


@dataclass(frozen=True, eq=False)
class _Sat:
    """What a job came to: its predictor and outcomes, or the message of its failure."""

    job: _Job
    predictor: Predictor | None = None
    outcomes: np.ndarray | None = None
    seconds: float = 0.0
    message: str = ""


def _jobs(
    whole: Problem, recipe: Recipe, amounts: Sequence[int | str], plan: Plan, seed: int, lent: Mapping[str, Predictor]
) -> Iterator[_Job]:
    """The refits of ``recipe`` at each amount and seed; then, where the plan asks for draws, its fold models.

    Fold models are lent where a trial still holds them, else fitted. A network trained from nothing gets none: it costs
    too much.
    """
    for amount in amounts:
        for one in range(seed, seed + plan.refits(recipe.strategy)):
            part = whole if amount == ALL else whole.shrink(int(amount), seed=one)
            yield _Job(recipe, part, Cell(recipe.name, str(amount), one))
    if not plan.draws or (recipe.strategy.costly and recipe.strategy.starts_from == "untrained"):
        return
    for draw, part, _ in fold_parts(whole, plan, limit=plan.inner_fits(recipe.strategy)):
        yield _Job(recipe, part, Cell(recipe.name, ALL, seed, draw), lent.get(draw))


def _sizes(whole: Problem, amounts: Sequence[int | str], seed: int) -> dict[str, int]:
    """Training items at each amount."""
    return {str(a): len((whole if a == ALL else whole.shrink(int(a), seed=seed)).train) for a in amounts}
