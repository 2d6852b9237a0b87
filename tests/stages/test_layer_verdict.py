"""A case where the layer decides the verdict: the run says so, with the right layer and without it."""

import json

import numpy as np
import pytest

import headstart
from headstart import _io
from headstart.cli import _told
from headstart.evidence import Choice, Verdict
from headstart.features import Features, FeatureStore, Lens
from headstart.registry import get
from headstart.run import Run
from headstart.stages.compare import layer_arms
from headstart.strategy import Recipe
from headstart.testing import ToyBackbone, planted, toy_problem

NAMES = ["plain", "linear_probe"]


class Forgets(ToyBackbone):
    """Its middle stage holds the answer; its last has thrown it away."""

    asked = 0

    @property
    def fingerprint(self):
        return "forgets"

    @property
    def card(self):
        from dataclasses import replace

        return replace(super().card, name="toy_forgets")

    def features(self, inputs, taps, *, view=""):
        Forgets.asked += len(inputs)
        rows = self.prepare(inputs).astype(np.float64)
        noise = np.sin(1e4 * np.concatenate([rows, rows[:, :4]], axis=1))
        found = {"stage1": noise, "stage2": noise.copy(), "stage3": noise[:, ::-1]}
        found["stage2"][:, :6] = 3 * np.abs(rows @ planted().T)
        return {tap: Features.one_each(found[tap].astype(np.float32)) for tap in taps}


def transferred(folder, made=Forgets, strategies=NAMES, **more):
    problem, exam = toy_problem(n=300, exam=300, seed=1)
    base = made(True, True, "numbers", 16, 0)
    run = headstart.transfer(
        problem, exam=exam, backbones=[base], strategies=strategies, out=folder, store=FeatureStore(), budget=60, **more
    )
    return run, problem


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return transferred(tmp_path_factory.mktemp("layers") / "run")


def test_the_right_layer_helps_and_the_last_one_hurts(finished):
    run, _ = finished
    verdict = run.verdict
    assert run.profile.read == "stage2"
    assert (verdict.outcome, verdict.challenger) == ("helps", "linear_probe on toy_forgets")
    (last,) = verdict.further
    assert (last.outcome, last.challenger) == ("hurts", "linear_probe on toy_forgets at stage3")
    assert last.incumbent == verdict.incumbent
    assert last.sentence.startswith("Read at stage3, the last layer: transfer hurts: linear_probe on toy_forgets at stage3")
    between = run.evidence.score(last.challenger), run.evidence.score(verdict.challenger)
    assert f"Reading at stage2 instead is worth {between[1] - between[0]:.3f} (95 % interval " in last.sentence
    assert verdict.ships == "linear_probe on toy_forgets"
    assert last.ships == ""


def test_the_extra_arm_is_named_beforehand_and_never_ships(finished):
    run, _ = finished
    arms = [arm.name for arm in run.evidence.arms]
    assert arms == ["linear_probe on toy_forgets", "plain", "linear_probe on toy_forgets at stage3"]
    assert run.predictor.lens.reads[0][1] == "stage2"


def test_report_console_and_json_show_both(finished):
    run, problem = finished
    page = (run.folder / "report.html").read_text("utf-8")
    assert "With and without the right layer" in page
    assert "at stage3, the last layer" in page
    told = "\n".join(_told(run, problem))
    assert told.index("Transfer helps") < told.index("Read at stage3, the last layer: transfer hurts")
    written = json.loads(json.dumps(_io.plain(run.verdict)))
    assert written["further"][0]["outcome"] == "hurts"
    assert Verdict.from_dict(written) == run.verdict
    old = {key: value for key, value in written.items() if key != "further"}
    assert Verdict.from_dict(old).further == ()


def test_the_same_call_reads_the_record_and_asks_the_base_nothing(finished):
    run, _ = finished
    before, asked = run.verdict, Forgets.asked
    written = (run.folder / "evidence.json").stat().st_mtime_ns
    again, _ = transferred(run.folder)
    assert (again.folder / "evidence.json").stat().st_mtime_ns == written
    assert Run.open(run.folder).verdict == before
    assert not list(run.folder.glob("verdict-*.json"))
    assert Forgets.asked - asked <= 600  # a new store reads every item once; no arm asks again


def recipes(tap):
    lens = Lens(((Forgets(True, True, "numbers", 16, 0), tap),), None, FeatureStore())
    named = {
        name: Recipe(get("strategies", name)(), lens) for name in ("linear_probe", "nearest_mean", "head2toe", "fine_tune")
    }
    return {**named, "plain": Recipe(get("strategies", "plain")(), Lens())}


def chosen(found, challenger):
    scores = {one.name: 0.5 for one in found.values()} | {found["nearest_mean"].name: 0.7}
    return Choice("base", found[challenger], found["plain"], scores, "plain")


def test_nothing_is_added_where_the_last_layer_is_the_right_one():
    found = recipes("stage3")
    assert layer_arms(chosen(found, "linear_probe"), list(found.values()), unit="item") == ()


@pytest.mark.parametrize("challenger", ["fine_tune", "head2toe"])
def test_beside_a_challenger_that_reads_more_the_best_frozen_recipe_shows_it(challenger):
    found = recipes("stage2")
    here, last = layer_arms(chosen(found, challenger), list(found.values()), unit="item")
    assert here is found["nearest_mean"]
    assert (last.name, last.lens.reads[0][1]) == ("nearest_mean on toy_forgets at stage3", "stage3")


def test_without_a_frozen_recipe_or_a_rival_there_is_no_such_question():
    found = recipes("stage2")
    tuned = {name: found[name] for name in ("fine_tune", "plain")}
    choice = Choice("base", found["fine_tune"], found["plain"], {one.name: 0.5 for one in tuned.values()}, "plain")
    assert layer_arms(choice, list(tuned.values()), unit="item") == ()
    alone = Choice("base", found["linear_probe"], None, {found["linear_probe"].name: 0.5}, "")
    assert layer_arms(alone, list(found.values()), unit="item") == ()
