"""The laws of strategies and rankers, over everything registered, on toys where the answer is known."""

import numpy as np
import pytest

from headstart import registry
from headstart._linear import Decomposition
from headstart.errors import NotAdmissible, ProblemError, UnknownName
from headstart.features import FeatureStore, Lens
from headstart.rankers import Seen
from headstart.strategy import Plan, Recipe, strategy_named
from headstart.testing import check_ranker, check_strategy, toy_backbone, toy_problem

# Exceptions are declared with their reason and run as expected failures.
DECLARED: dict[tuple[str, str], str] = {}
LACKING = {"norm_only": "no norm"}  # parts for which the toy network has nothing; their laws run on texts
ANY_TARGETS = ("ridge_loo", "nearest", "logme")  # the other rankers are defined for one class a row


def lens_for(strategy):
    full = Lens(((toy_backbone(), "stage2"),), "stage1", FeatureStore())
    starts = {"nothing": Lens(), "pretrained": full}
    return full.untrained(slim=True) if strategy.starts_from == "untrained" else starts[strategy.starts_from]


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
@pytest.mark.parametrize("name", [*registry.names("strategies"), *registry.names("tuning")])
def test_laws_of_strategies(name, task, request):
    if (name, task) in DECLARED:
        request.applymarker(pytest.mark.xfail(reason=DECLARED[name, task], strict=True))
    strategy = strategy_named(name)
    informative = "columns" if strategy.starts_from != "pretrained" else "features"
    problem, exam = toy_problem(task=task, informative=informative, n=150, seed=3)
    if "own_classes" in strategy.needs:  # the toy has none; tests/test_terms.py has one that does
        with pytest.raises(NotAdmissible, match="own_classes"):
            Recipe(strategy, lens_for(strategy)).fit(problem)
        return
    if "classes" in strategy.needs and task != "classification":
        with pytest.raises(NotAdmissible, match="classes"):
            Recipe(strategy, lens_for(strategy)).fit(problem)
        return
    if name in LACKING:
        with pytest.raises(NotAdmissible, match=LACKING[name]):
            Recipe(strategy, lens_for(strategy)).fit(problem)
        return
    check_strategy(strategy, problem, exam, lens_for(strategy))


@pytest.mark.parametrize("name", registry.names("strategies"))
def test_names_and_facts(name):
    strategy = registry.get("strategies", name)()
    assert strategy.name == name
    assert strategy.starts_from in ("nothing", "untrained", "pretrained")
    assert "Prefer" in type(strategy).__doc__ or name in ("plain", "scratch", "chance"), "say when to prefer it"


@pytest.mark.parametrize("name", registry.names("tuning"))
def test_parts_say_where_they_belong_and_when_to_prefer_them(name):
    part = registry.get("tuning", name)()
    assert part.name == name
    assert part.slot in ("moves", "term", "average")
    assert "Prefer it when" in " ".join(type(part).__doc__.split())
    assert strategy_named(name).said in (name, "fine_tune", f"fine_tune+{name}")


@pytest.mark.parametrize("name", registry.names("rankers"))
@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_laws_of_rankers(name, task):
    problem, _ = toy_problem(task=task, n=90)
    features = toy_backbone().features(problem.train.inputs, ["stage2"])["stage2"].rows.astype(float)
    outputs = own_classes(problem.task.columns(problem.train.targets))
    score, found = registry.get("rankers", name), Decomposition.of(features)
    value = score(Seen(found, problem.task, problem.train.targets, np.arange(90).astype(str), outputs))
    assert (value is not None) == (task == "classification" or name in ANY_TARGETS)
    check_ranker(score, problem.task, features, problem.train.targets, outputs=outputs)


def own_classes(columns):
    """What the head of a model that knows these columns among five classes of its own says of them."""
    raw = np.random.default_rng(0).normal(size=(len(columns), 5))
    raw[:, : columns.shape[1]] += 2 * columns
    return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)


def test_the_law_suite_can_fail():
    class Forgetful(registry.get("strategies", "nearest_mean")):
        def fit(self, problem, lens, *, plan, seed):
            found = super().fit(problem, lens, plan=plan, seed=seed)
            found.scorer.bias[:] += np.random.default_rng().normal()
            return found

    problem, exam = toy_problem(n=60)
    with pytest.raises(AssertionError, match="same seed"):
        check_strategy(Forgetful(), problem, exam, lens_for(Forgetful()))
    X = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(AssertionError, match="permuted"):
        check_ranker(lambda *_: 0.5, problem.task, X, problem.train.targets)


def test_typo_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="Did you mean 'linear_probe'"):
        registry.get("strategies", "linear_prob")


def test_a_recipe_knows_what_it_draws_on():
    full = Lens(((toy_backbone(), "stage2"),))
    probe = registry.get("strategies", "linear_probe")()
    assert Recipe(probe, full).uses == {"base"}
    assert Recipe(probe, full.untrained()).uses == frozenset()
    with pytest.raises(NotAdmissible, match="'linear_probe' needs features, labels"):
        Recipe(probe, Lens()).fit(toy_problem(n=30)[0], plan=Plan())


def test_settings_can_be_named_and_show_in_the_recipe():
    found = strategy_named("scratch:full=true,batch=32,rate=1e-3")
    assert (found.full, found.batch, found.rate) == (True, 32, 1e-3)
    assert strategy_named("fine_tune:rates=0.3/1").rates == (0.3, 1.0)
    assert strategy_named("scratch") == registry.get("strategies", "scratch")()
    assert Recipe(strategy_named("plain:rows=50"), Lens()).name == "plain(rows=50)"
    assert Recipe(strategy_named("plain"), Lens()).name == "plain"
    both = strategy_named("fine_tune:epochs=3+partial:layers=1+l2_sp:pull=1e+2")
    assert (both.epochs, both.moves, both.terms, both.average) == (3, "partial:layers=1", ("l2_sp:pull=1e+2",), "wise_ft")
    assert Recipe(both, Lens()).name == "fine_tune(epochs=3)+partial:layers=1+l2_sp:pull=1e+2"
    assert strategy_named("full+last") == strategy_named("fine_tune:moves=full,average=last")
    assert Recipe(strategy_named("full+last"), Lens()).name == "full+last"
    assert Recipe(strategy_named("last"), Lens()).name == "fine_tune+last"
    with pytest.raises(ProblemError, match="'full' and 'partial' both say what moves"):
        strategy_named("full+partial")
    with pytest.raises(ProblemError, match="'linear_probe' has no parts to add 'l2_sp' to"):
        strategy_named("linear_probe+l2_sp")
    with pytest.raises(ProblemError, match="'l2_sp' is no part of the kind 'moves'"):
        strategy_named("fine_tune:moves=l2_sp")
    with pytest.raises(UnknownName, match="Or did you mean 'lora'"):
        strategy_named("lorra")
    with pytest.raises(UnknownName, match="Did you mean 'l2_sp'"):
        strategy_named("fine_tune+l2sp")
    with pytest.raises(UnknownName, match="Did you mean 'batch'"):
        strategy_named("scratch:batsh=3")
    with pytest.raises(ProblemError, match="'many' is no value for scratch:batch; it takes int"):
        strategy_named("scratch:batch=many")


def test_scores_for_the_temperature_leave_the_rows_own_block_out():
    from headstart.strategies.nearest_mean import _without_own_block

    draw = np.random.default_rng(0)
    Z, Y = draw.normal(size=(60, 8)), np.eye(4)[draw.integers(0, 4, 60)]
    for blocks in (np.arange(60), np.arange(60) // 3, np.where(np.arange(60) < 30, np.arange(60), 99)):
        found = _without_own_block(Z, Y, blocks.astype(str))
        for row in range(60):
            others = blocks != blocks[row]
            sums = Y[others].T @ Z[others]
            assert np.allclose(found[row], (sums / np.linalg.norm(sums, axis=1, keepdims=True)) @ Z[row])
