"""START HERE. ``transfer`` is the whole story on one screen; everything else is a verb or a noun that it names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headstart import _io, registry, report
from headstart._events import Listener, emit, listen
from headstart.backbone import Backbone
from headstart.errors import HeadstartError, NotAdmissible, ProblemError
from headstart.evidence import Choice, Evidence, Forgetting, Ranking, Trial, Verdict
from headstart.features import FeatureStore, Lens
from headstart.problem import Exam, Problem
from headstart.run import Run, free_folder
from headstart.stages._history import History
from headstart.stages.adapt import adapt, peak_memory
from headstart.stages.choose import choose
from headstart.stages.compare import compare, layer_arms
from headstart.stages.cost import cost
from headstart.stages.estimate import estimate
from headstart.stages.extract import extract
from headstart.stages.forget import forgetting
from headstart.stages.judge import judge, judge_layers, undecided_without
from headstart.stages.locate import locate
from headstart.stages.mistakes import Mistake, mistakes
from headstart.stages.rank import rank, resolve
from headstart.strategy import Limits, Plan, Recipe, Strategy, strategy_named

PATIENCE = 4  # a plan aims at its budget; a run that takes four times as long stops between two records


def transfer(
    problem: Problem,
    *,
    exam: Exam | None = None,
    backbones: Sequence[str | Backbone] | str = "suitable",
    strategies: Sequence[str | Strategy] | str = "suitable",
    worth: str | None = None,
    budget: float = 600.0,
    limits: Limits | None = None,
    margin: float = 0.02,
    seed: int = 0,
    out: Path | str | None = None,
    store: FeatureStore | None = None,
    on_event: Listener | None = None,
) -> Run:
    """Select a base, find its layers, extract, adapt with it and without, and judge what it is worth, on evidence.

    You get a run folder at ``out`` with every record, the predictor that ships and ``report.html``. Without ``exam``, a
    third of ``train`` is held out for one. ``backbones`` are names or backbones of your own making, ``strategies`` names
    (with settings: ``"scratch:full=true"``) or strategies; ``"suitable"`` means all that can be used. ``budget`` is in
    seconds; ``limits`` leave out models that cost too much to read. ``margin`` is the smallest gain worth having, in units
    of the score; it is fixed before the exam opens. The same call with the same data continues or rereads what is there.
    """
    started = time.perf_counter()
    if not isinstance(budget, (int, float)):
        raise ProblemError(f"The budget is {budget!r}; a number of seconds is needed, such as 600.")
    if not 0 <= margin < float("inf") or seed < 0:
        raise ProblemError(f"margin is {margin} and seed {seed}; a finite margin and a seed, neither below 0, are needed.")
    given = exam
    problem, exam = _with_exam(problem, exam, seed=seed)
    run = Run.create(out or free_folder(problem.kind), problem, exam, store=store)
    run = replace(run, deadline=time.monotonic() + PATIENCE * budget)
    with listen(on_event), listen(run.hear):
        if given is None and exam is not None:
            emit("data", f"There is no test part: {len(exam)} of the labelled items are held out as the exam.")
        bases, absent = resolve(problem.kind, backbones, unit=problem.task.unit)
        plan = run.once("plan", estimate, problem, budget)
        look = {"store": run.store, "plan": plan, "limits": limits, "history": History.here(), "absent": absent}
        ranking = run.once("ranking", rank, problem, bases, **look)
        lens = Lens(store=run.store)
        if ranking.best:
            base = next(base for base in bases if base.card.name == ranking.best)
            lens = run.once("profile", locate, problem, base, store=run.store, plan=plan).lens(run.store)
        run.once("features", extract, problem, lens)
        recipes = admissible(problem, lens, strategies=strategies, plan=plan)
        recipes = within(recipes, problem, limits=limits, plan=plan)
        trials = _adapt_all(run, problem, recipes, plan=plan, seed=seed)
        choice = run.once("choice", choose, problem, trials, recipes, worth=worth)
        evidence, layers = None, layer_arms(choice, recipes, unit=problem.task.unit)
        if not choice.arms:
            raise NotAdmissible(f"Nothing could be fitted: {choice.reason}. The trials in {run.folder} have every message.")
        if exam is not None:
            sit = {"worth": choice.worth, "plan": plan, "seed": seed, "trials": trials, "beside": layers}
            evidence = run.once("evidence", compare, problem, exam, choice.arms, **sit)
        verdict = run.once("verdict", _judged, evidence, choice, margin=margin, ranking=ranking, layers=layers)
        mark = _ship(run, problem, choice, verdict, evidence, plan=plan, seed=seed)
        if mark and exam is not None:
            run.once("mistakes", _mistaken, mark, exam, run=run)
        if mark and time.monotonic() < run.deadline:  # worth knowing, not worth failing for
            run.once("forgetting", _forgotten, mark, problem, run=run)
        cards = [replace(base.card, items=frozenset()) for base in bases]
        run.note(plan=plan, backbones=cards)
        run.spent(seconds=time.perf_counter() - started, peak_memory=peak_memory())
        run.store.trim()
    report.write(run.folder)
    return run


def _with_exam(problem: Problem, exam: Exam | None, *, seed: int) -> tuple[Problem, Exam | None]:
    """``problem`` checked, with an exam split off where none is given and there are labels to give one."""
    if exam is None and problem.train.labelled:
        problem.task.check(problem.train)
        problem, exam = problem.split(seed=seed)
        try:
            problem.task.check(problem.train)
        except ProblemError as error:
            raise ProblemError(f"Without a test part, a third is held out for the exam. Then: {error}") from None
    elif "labels" in problem.has:
        problem.task.check(problem.train)
    return problem, exam


def admissible(
    problem: Problem,
    lens: Lens,
    *,
    strategies: Sequence[str | Strategy] | str = "suitable",
    plan: Plan | None = None,
) -> list[Recipe]:
    """A recipe for each strategy that this problem and lens have enough for, each with the lens that it starts from.

    Strategies asked for by name that cannot be used are an error; with ``"suitable"`` they are left out, as are those that take
    part ``on_request`` only.
    """
    asked = strategies != "suitable"
    wanted: Sequence[str | Strategy] = [strategies] if isinstance(strategies, str) else strategies
    recipes = []
    usual = [name for name in registry.names("strategies") if not getattr(strategy_named(name), "on_request", False)]
    for one in wanted if asked else usual:
        strategy = strategy_named(one) if isinstance(one, str) else one
        starts = {"nothing": Lens(store=lens.store), "pretrained": lens}
        if strategy.starts_from == "untrained":
            starts["untrained"] = lens.untrained(slim=getattr(strategy, "slim", True)) if lens.reads else lens
        recipe = Recipe(strategy, starts[strategy.starts_from])
        slow = strategy.costly and strategy.starts_from == "pretrained" and plan is not None and not plan.tuned_epochs
        if recipe.admissible(problem) and slow and not asked:
            emit(
                "data",
                f"{recipe.name} is left out: tuning on this much data takes longer than the budget. A larger --budget "
                f"includes it, and so does --strategy {strategy.name}.",
            )
        elif recipe.admissible(problem):
            recipes.append(recipe)
        elif asked:
            missing = strategy.needs - problem.has - recipe.lens.has
            lacks = "no pre-trained model for this kind of input is installed" if not lens.reads else "this problem has none"
            raise NotAdmissible(
                f"'{strategy.name}' needs {', '.join(sorted(missing))}, and {lacks}. Leave it out, or provide it."
            )
    if lens.reads and not asked and "network" not in lens.has:
        emit("data", f"{lens.title} can be read, not tuned: strategies that train a network are left out.")
    if not recipes:
        raise NotAdmissible("No strategy can be used on this problem: there are no target labels. Add labelled examples.")
    return recipes


def within(recipes: list[Recipe], problem: Problem, *, limits: Limits | None, plan: Plan) -> list[Recipe]:
    """Those of ``recipes`` that ``fine_tune``, of whatever parts, in no more memory than ``limits`` allow, and all others; who is
    left out is told."""
    if limits is None or limits.memory is None:
        return recipes
    kept = []
    for recipe in recipes:
        try:
            needs = cost(recipe, problem, plan=plan).memory if hasattr(recipe.strategy, "built") else 0
        except NotAdmissible:  # its trial will say why
            needs = 0
        if needs <= limits.memory:
            kept.append(recipe)
            continue
        told = f"training it takes about {needs / 2**20:.0f} MB, {limits.memory / 2**20:.0f} are allowed"
        emit("data", f"{recipe.name} is left out: {told}. 'lora', 'bitfit' and 'partial:layers=1' take less.")
    return kept


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


def _judged(
    evidence: Evidence | None, choice: Choice, *, margin: float, ranking: Ranking, layers: Sequence[Recipe]
) -> Verdict:
    if evidence is None:
        return undecided_without(choice, "there is no labelled exam", margin=margin)
    if choice.challenger is None and not ranking.candidates:
        choice = replace(choice, reason=ranking.reason)
    further = judge_layers(evidence, choice, layers, margin=margin)
    return replace(judge(evidence, choice, margin=margin), further=further)


def _ship(
    run: Run, problem: Problem, choice: Choice, verdict: Verdict, evidence: Evidence | None, *, plan: Plan, seed: int
) -> str:
    """Write the predictor that the verdict ships, unless it is there already: the first refit that sat the exam.

    Gives the identity of what it was fitted from, or nothing when nothing ships.
    """
    recipe = next((arm for arm in choice.arms if arm.name == verdict.ships), None)
    if recipe is None:
        return ""
    whole, alone = replace(problem, train=problem.labelled, valid=None), replace(plan, threads=1)
    mark = _io.fingerprint([recipe, whole, alone, seed])
    if not run.shipped(mark):
        sat = evidence.models.get(recipe.name) if evidence is not None else None
        run.ship(sat or recipe.fit(whole, plan=alone, seed=seed), mark=mark)
    return mark


def _mistaken(mark: str, exam: Exam, *, run: Run) -> tuple[Mistake, ...]:
    """The mistakes of the predictor on disk, which ``mark`` identifies."""
    return mistakes(run.predictor, exam)


def _forgotten(mark: str, problem: Problem, *, run: Run) -> tuple[Forgetting, ...]:
    """What tuning cost the base, where the predictor on disk is a tuned network; nothing where it is not."""
    try:
        return (forgetting(run.predictor, problem.labelled),)
    except NotAdmissible:
        return ()
    except HeadstartError as error:
        emit("warning", f"What tuning took from the base could not be measured: {error}")
        return ()
