"""START HERE. ``transfer`` is the whole story on one screen; everything else is a verb or a noun that it names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headstart import backbones as sources
from headstart import registry, report
from headstart._events import Listener, listen
from headstart.backbone import Backbone, Card
from headstart.errors import NotAdmissible
from headstart.evidence import Choice, Evidence, Ranking, Trial, Verdict
from headstart.features import FeatureStore, Lens
from headstart.problem import Exam, Problem
from headstart.run import Run, exam_summary, free_folder
from headstart.stages.adapt import adapt, peak_memory
from headstart.stages.choose import choose
from headstart.stages.compare import compare
from headstart.stages.estimate import estimate
from headstart.stages.extract import extract
from headstart.stages.judge import judge, undecided_without
from headstart.stages.locate import locate
from headstart.stages.mistakes import mistakes
from headstart.stages.rank import rank
from headstart.strategy import Plan, Predictor, Recipe

PATIENCE = 4  # a plan aims at its budget; a run that takes four times as long stops between two records


def transfer(
    problem: Problem,
    *,
    exam: Exam | None = None,
    backbones: Sequence[str | Backbone] | str = "suitable",
    strategies: Sequence[str] | str = "suitable",
    worth: str | None = None,
    budget: float = 600.0,
    margin: float = 0.02,
    seed: int = 0,
    out: Path | str | None = None,
    store: FeatureStore | None = None,
    on_event: Listener | None = None,
) -> Run:
    """Select a base, find its layers, extract, adapt with it and without, and judge what it is worth, on evidence.

    You get a run folder at ``out`` with every record, the predictor that ships and ``report.html``. Without ``exam``, a
    third of ``train`` is held out for one. ``backbones`` and ``strategies`` are names (or backbones of
    your own making), or ``"suitable"``. ``budget`` is in
    seconds. ``margin`` is the smallest gain worth having, in units of the score; it is fixed before the exam opens. The
    same call with the same data continues or rereads what is there.
    """
    started = time.perf_counter()
    if exam is None and problem.train.labelled:
        problem, exam = problem.split(seed=seed)
    problem.task.check(problem.train)
    run = Run.create(out or free_folder(problem.kind), problem, store=store)
    run = replace(run, deadline=time.monotonic() + PATIENCE * budget)
    with listen(on_event), listen(run.hear):
        plan = run.once("plan", estimate, problem, budget)
        ranking = run.once("ranking", rank, problem, backbones, store=run.store, plan=plan)
        lens = Lens(store=run.store)
        if ranking.best:
            lens = run.once("profile", locate, problem, ranking.best, store=run.store, plan=plan).lens(run.store)
        run.once("features", extract, problem, lens)
        recipes = admissible(problem, lens, strategies=strategies)
        trials = _adapt_all(run, problem, recipes, plan=plan, seed=seed)
        choice = run.once("choice", choose, problem, trials, recipes, worth=worth)
        evidence = None
        if exam is not None and choice.arms:
            arms, asked = choice.arms, choice.worth
            evidence = run.once("evidence", compare, problem, exam, arms, worth=asked, plan=plan, seed=seed, trials=trials)
        verdict = run.once("verdict", _judged, evidence, choice, margin=margin, ranking=ranking)
        predictor = _shipped(run, problem, choice, verdict, evidence, plan=plan, seed=seed)
        if predictor and exam is not None:
            run.once("mistakes", mistakes, predictor, exam)
        run.note(problem=exam_summary(problem, exam), plan=plan, backbones=_cards(ranking))
        run.spent(seconds=time.perf_counter() - started, peak_memory=peak_memory())
        run.store.trim()
    report.write(run.folder)
    return run


def admissible(problem: Problem, lens: Lens, *, strategies: Sequence[str] | str = "suitable") -> list[Recipe]:
    """A recipe for each strategy that this problem and lens have enough for, each with the lens that it starts from.

    Strategies asked for by name that cannot be used are an error; with ``"suitable"`` they are left out.
    """
    asked = strategies != "suitable"
    names = registry.names("strategies") if not asked else [strategies] if isinstance(strategies, str) else strategies
    recipes = []
    for name in names:
        strategy = registry.get("strategies", name)()
        starts = {"nothing": Lens(store=lens.store), "pretrained": lens}
        if strategy.starts_from == "untrained":
            starts["untrained"] = lens.untrained(slim=getattr(strategy, "slim", True)) if lens.reads else lens
        recipe = Recipe(strategy, starts[strategy.starts_from])
        if recipe.admissible(problem):
            recipes.append(recipe)
        elif asked:
            missing = ", ".join(sorted(strategy.needs - problem.has - recipe.lens.has))
            raise NotAdmissible(f"'{name}' needs {missing}, which is not there. Provide it, or leave '{name}' out.")
    if not recipes:
        raise NotAdmissible("No strategy can be used on this problem: there are no target labels. Add labelled examples.")
    return recipes


def _adapt_all(run: Run, problem: Problem, recipes: list[Recipe], *, plan: Plan, seed: int) -> list[Trial]:
    """A trial a recipe. Two run side by side, one thread each, the slowest kind first; the answer keeps the given order."""
    order = sorted(
        range(len(recipes)),
        key=lambda i: (not recipes[i].strategy.costly, recipes[i].strategy.starts_from != "untrained", i),
    )
    alone = replace(plan, threads=1)
    engine = registry.get("engines", "local")
    done = engine(
        lambda i: run.once("trials", adapt, problem, recipes[i], plan=alone, seed=seed), order, workers=plan.threads
    )
    return [trial for _, trial in sorted(zip(order, done, strict=True), key=lambda pair: pair[0])]


def _cards(ranking: Ranking) -> list[Card]:
    """What is known about every candidate, without the fingerprints of what it was trained on."""
    return [replace(sources.find(one.backbone).card, items=frozenset()) for one in ranking.candidates]


def _judged(evidence: Evidence | None, choice: Choice, *, margin: float, ranking: Ranking) -> Verdict:
    if evidence is None:
        return undecided_without(choice, "there is no labelled exam", margin=margin)
    if choice.challenger is None and not ranking.candidates:
        return undecided_without(choice, ranking.reason, margin=margin)
    return judge(evidence, choice, margin=margin)


def _shipped(
    run: Run, problem: Problem, choice: Choice, verdict: Verdict, evidence: Evidence | None, *, plan: Plan, seed: int
) -> Predictor | None:
    """The predictor that the verdict ships: the model that sat the exam, or the one that an earlier call saved."""
    recipe = next((arm for arm in choice.arms if arm.name == verdict.ships), None)
    if recipe is None:
        return None
    if evidence is not None and recipe.name in evidence.models:
        run.ship(evidence.models[recipe.name])
    elif not (run.folder / "predictor" / "predictor.json").exists():
        whole = replace(problem, train=problem.labelled, valid=None)
        run.ship(recipe.fit(whole, plan=plan, seed=seed))
    return run.predictor
