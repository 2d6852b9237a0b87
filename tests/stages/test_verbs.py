"""Each verb alone, on problems with known answers."""

from dataclasses import replace

import numpy as np
import pytest

from headstart import _events
from headstart.backbones import find
from headstart.errors import NotAdmissible, ProblemError, UnknownName
from headstart.evidence import Choice, Trial
from headstart.features import FeatureStore, Lens
from headstart.registry import get
from headstart.stages.adapt import adapt
from headstart.stages.choose import choose, inner_scores
from headstart.stages.compare import compare
from headstart.stages.estimate import estimate
from headstart.stages.extract import extract
from headstart.stages.locate import locate
from headstart.stages.mistakes import mistakes
from headstart.stages.rank import rank
from headstart.strategy import Plan, Recipe
from headstart.testing import toy_backbone, toy_problem


def recipe(name, *, backbone=None, tap="stage2", store=None):
    lens = Lens(((backbone or toy_backbone(), tap),), "stage1", store or FeatureStore())
    return Recipe(get("strategies", name)(), Lens() if name in ("chance", "plain") else lens)


# rank


def test_rank_puts_the_useful_backbone_first():
    problem, _ = toy_problem(n=120)
    for seed in range(3):
        ranking = rank(problem, [toy_backbone(useful=False, seed=seed), toy_backbone()])
        assert ranking.best == "toy_useful"
        assert ranking.candidates[0].mean_rank < ranking.candidates[1].mean_rank
        assert set(ranking.candidates[0].scores) == {"ridge_loo", "nearest", "logme", "nleep"}


def test_rank_reads_at_most_the_planned_rows_and_keeps_them():
    problem, _ = toy_problem(n=200)
    store = FeatureStore()
    ranking = rank(problem, [toy_backbone()], store=store, plan=Plan(rank_rows=60))
    assert ranking.rows == pytest.approx(60, abs=3)
    assert len(store.missing(find("toy_useful"), problem.train)) == 200 - ranking.rows


def test_rank_without_candidates_says_so():
    problem, _ = toy_problem(n=40)
    assert rank(problem).best is None
    assert "No pre-trained model for numbers" in rank(problem).reason


def test_an_unknown_backbone_gets_the_nearest_name():
    problem, _ = toy_problem(n=40)
    with pytest.raises(UnknownName, match="Did you mean 'efficientnet_lite0'"):
        rank(problem, ["efficientnet_lite_0"])
    heard = []
    with _events.listen(heard.append):
        ranking = rank(problem, ["efficientnet_lite_0", toy_backbone()])
    assert ranking.best == "toy_useful"
    assert any(event.kind == "warning" and "left out" in event.message for event in heard)


# locate


def test_locate_reads_the_layer_that_holds_the_answer():
    problem, _ = toy_problem(n=240, informative="features")
    profile = locate(problem, toy_backbone())
    scores = {one.tap: one.score for one in profile.scores}
    assert set(scores) == {"stage1", "stage2", "stage3"}
    assert profile.read == max(profile.scores, key=lambda one: -one.log_loss).tap
    assert profile.cut == "stage1"  # something must stand above it to tune
    lens = profile.lens()
    assert lens.reads[0][1] == profile.read
    assert lens.cut == profile.cut


def test_locate_needs_labels():
    problem, _ = toy_problem(n=40)
    bare = replace(problem, train=replace(problem.train, items=replace(problem.train.items, targets=None)))
    with pytest.raises(NotAdmissible, match="no training labels"):
        locate(bare, toy_backbone())


# extract


def test_extract_computes_each_item_once():
    problem, _ = toy_problem(n=50)
    lens = Lens(((toy_backbone(), "stage2"),))
    first, second = extract(problem, lens), extract(problem, lens)
    assert (first.items, first.computed) == (50, 50)
    assert second.computed == 0


# adapt


def test_every_recipe_is_scored_on_the_same_rows():
    problem, _ = toy_problem(n=90)
    plan = Plan(folds=4, repeats=2)
    keys = {tuple(adapt(problem, recipe(name), plan=plan).fold_scores) for name in ("chance", "plain", "linear_probe")}
    assert keys == {tuple(f"fold/{r}/{k}" for r in range(2) for k in range(4))}
    tuned = adapt(problem, recipe("fine_tune"), plan=replace(plan, epochs=2))
    assert tuple(tuned.fold_scores) == tuple(f"fold/0/{k}" for k in range(4))


def test_the_inner_score_is_honest():
    problem, exam = toy_problem(n=150, exam=1000)
    for name in ("nearest_mean", "linear_probe"):
        trial = adapt(problem, recipe(name))
        evidence = compare(problem, exam, [recipe(name)], plan=Plan(draws=False))
        assert trial.inner_score == pytest.approx(evidence.score(recipe(name).name), abs=0.08)


def test_no_fit_sees_the_held_rows(monkeypatch):
    problem, _ = toy_problem(n=60, block=5)
    seen = []
    chance = type(get("strategies", "chance")())
    fit = chance.fit

    def spy(self, problem, lens, *, plan, seed):
        seen.append(set(problem.train.blocks))
        assert problem.valid is None
        return fit(self, problem, lens, plan=plan, seed=seed)

    monkeypatch.setattr(chance, "fit", spy)
    adapt(problem, recipe("chance"), plan=Plan(folds=3, repeats=1))
    everything = set(problem.train.blocks)
    held = [everything - part for part in seen]
    assert sum(map(len, held)) == len(everything)
    assert set.union(*held) == everything
    seen.clear()
    rows = np.arange(len(problem.train))
    adapt(replace(problem, train=problem.train.take(rows[:40]), valid=problem.train.take(rows[40:])), recipe("chance"))
    assert len(seen) == 1


# choose


def trial(name, scores, *, seconds=1.0, status="done"):
    inner = float(np.mean(scores)) if status == "done" else None
    return Trial(name, (), {}, 0, status, inner, {f"fold/0/{k}": s for k, s in enumerate(scores)}, seconds)


def test_fewer_folds_are_compared_on_the_folds_they_share():
    hard, easy = [0.5, 0.9, 0.9, 0.9], [0.6]
    scores = inner_scores([trial("cheap", hard), trial("costly", easy)])
    assert scores["cheap"] == pytest.approx(0.8)
    assert scores["costly"] == pytest.approx(0.9)  # 0.1 better where both were scored
    assert inner_scores([trial("cheap", hard), trial("broken", [], status="failed")])["broken"] is None


def test_choose_names_the_best_with_and_without():
    problem, _ = toy_problem(n=90)
    recipes = [recipe(name) for name in ("chance", "plain", "nearest_mean", "linear_probe")]
    trials = [adapt(problem, one) for one in recipes]
    choice = choose(problem, trials, recipes)
    assert isinstance(choice, Choice)
    assert choice.worth == "base"
    best = max(choice.inner_scores, key=lambda name: choice.inner_scores[name] or 0)
    assert choice.challenger.name == best == "linear_probe on toy_useful"
    assert choice.incumbent.uses == frozenset()
    alone = choose(problem, trials[:2], recipes[:2])
    assert alone.challenger is None
    assert "no recipe that uses 'base'" in alone.reason


# compare


def test_compare_holds_every_arm_amount_seed_and_draw():
    problem, exam = toy_problem(n=90, exam=70)
    arms = [recipe("linear_probe"), recipe("plain")]
    evidence = compare(problem, exam, arms, amounts=(4, 10, "all"), plan=Plan(folds=3, repeats=2))
    assert evidence.outcomes.shape == (2 * (3 + 6), 70, 3)
    assert evidence.of(arms[0].name, amount="4").shape == (1, 70, 3)
    assert sorted(evidence.draws(arms[1].name)) == [f"fold/{r}/{k}" for r in range(2) for k in range(3)]
    assert evidence.score(arms[0].name, amount="all") > evidence.score(arms[0].name, amount="4")
    hits = evidence.of(arms[0].name)[0, :, 0]
    assert evidence.score(arms[0].name) == pytest.approx(hits.mean())
    first = np.zeros(70)
    first[:10] = 1
    assert evidence.score(arms[0].name, first) == pytest.approx(hits[:10].mean())


def test_lent_fold_models_give_the_same_outcomes():
    problem, exam = toy_problem(n=60, exam=50)
    one, plan = recipe("linear_probe"), Plan(folds=3, repeats=1)
    fresh = compare(problem, exam, [one], plan=plan)
    lent = compare(problem, exam, [one], plan=plan, trials=[adapt(problem, one, plan=plan)])
    assert np.array_equal(fresh.outcomes, lent.outcomes)
    assert [c.draw for c in fresh.cells] == [c.draw for c in lent.cells]


def test_evidence_survives_the_disk(tmp_path):
    problem, exam = toy_problem(n=60, exam=50)
    evidence = compare(problem, exam, [recipe("nearest_mean"), recipe("chance")])
    evidence.save(tmp_path)
    again = type(evidence).load(tmp_path)
    assert np.array_equal(again.outcomes, evidence.outcomes)
    assert again.cells == evidence.cells
    assert again.spec() == evidence.spec()


def test_an_exam_without_labels_is_refused():
    problem, exam = toy_problem(n=40, exam=20)
    bare = replace(exam, examples=replace(exam.examples, items=replace(exam.examples.items, targets=None)))
    with pytest.raises(NotAdmissible, match="exam has no labels"):
        compare(problem, bare, [recipe("chance")])


# estimate, mistakes, problem


def test_a_budget_becomes_a_plan():
    small, large = toy_problem(n=90)[0], toy_problem(n=3000)[0]
    assert estimate(small, 600).epochs > estimate(large, 600).epochs
    assert not estimate(small, 60).draws
    assert estimate(small, 600) == estimate(small, 600)
    with pytest.raises(ProblemError, match="buys nothing"):
        estimate(small, 0)


def test_mistakes_come_surest_first_and_are_mistakes():
    problem, exam = toy_problem(n=60, exam=80)
    predictor = recipe("nearest_mean").fit(problem)
    found = mistakes(predictor, exam, most=10)
    answers = dict(zip(exam.examples.names, predictor.predict(exam.examples), strict=True))
    truths = dict(zip(exam.examples.names, exam.examples.targets, strict=True))
    assert len(found) == 10
    assert all(m.truth != m.answer and m.answer == answers[m.name] and m.truth == truths[m.name] for m in found)
    assert [m.confidence for m in found] == sorted((m.confidence for m in found), reverse=True)


def test_split_shrink_and_join_keep_the_root():
    problem, _ = toy_problem(n=90, block=3)
    rest, exam = problem.split(seed=1)
    assert not set(rest.train.blocks) & set(exam.examples.blocks)
    assert rest.train.items is problem.train.items is exam.examples.items
    assert rest.train.join(exam.examples).items is problem.train.items
    smaller = problem.shrink(4, seed=0)
    assert set(smaller.train.rows) <= set(problem.shrink(9, seed=0).train.rows)
    other, _ = toy_problem(n=30, seed=9)
    both = problem.train.join(other.train)
    assert len(both) == 120
    assert both.names[-1] == other.train.names[-1]


def test_setting_is_only_a_name():
    problem, _ = toy_problem(n=90)
    assert problem.setting == "inductive"
    assert problem.shrink(3).setting == "few-shot (3 per class)"
    assert problem.question == "base"
    assert problem.has == {"labels", "classes"}
