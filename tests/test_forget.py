"""What tuning cost the base: nothing where nothing moved, much where it ran wild, and the report says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from headstart import _io, report, workflow
from headstart.errors import NotAdmissible
from headstart.evidence import Forgetting
from headstart.features import FeatureStore, Lens
from headstart.run import READERS
from headstart.stages import forget
from headstart.stages._references import Reference, reference
from headstart.stages.forget import forgetting
from headstart.strategy import Plan, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem

PLAN = Plan(epochs=6, tuned_epochs=6, threads=1)
OWN = 4  # classes that the toy base knows by itself: which of the first planted directions is the longest
PROBLEM, EXAM = toy_problem(noise=0.1)


@dataclass(frozen=True)
class Knowing:
    """The toy base with classes of its own."""

    toy: object

    def __getattr__(self, name):
        return getattr(self.toy, name)

    def network(self, *, seed=0, unit="item"):
        made = self.toy.network(seed=seed, unit=unit)
        own = torch.nn.Linear(made.width, OWN)
        with torch.no_grad():
            own.weight.zero_()
            own.weight[:, :OWN] = 4 * torch.eye(OWN)
            own.bias.zero_()
        made.module["own"] = own
        return replace(made, classifier="own")


def known_task():
    """What the base is good at, and was not tuned for: the longest of six directions."""
    return Reference("rows", toy_problem(classes=6, n=200, seed=9)[0].train)


def tuned(name, *, backbone=None):
    lens = Lens(((backbone or toy_backbone(), "stage3"),), "stage1", FeatureStore())
    return Recipe(strategy_named(name), lens).fit(PROBLEM, plan=PLAN, seed=2)


def gone_wild(predictor):
    """The same, but with random weights in all that moved."""
    drawn, tensors = torch.Generator().manual_seed(0), predictor.scorer.model.tensors()
    predictor.scorer.model.load({name: torch.randn(value.shape, generator=drawn) for name, value in tensors.items()})
    return predictor


KEPT, MILD = "fine_tune+wise_ft:shares=0", "fine_tune+full+last"


def test_a_base_that_did_not_move_forgot_exactly_nothing():
    found = forgetting(tuned(KEPT, backbone=Knowing(toy_backbone())), EXAM.examples)
    assert (found.measured, found.items, found.before, found.after) == ("answers", 150, 1.0, 1.0)
    assert (found.lost, found.divergence, found.error) == (0.0, 0.0, 0.0)
    probed = forgetting(tuned(KEPT), EXAM.examples, known=known_task())
    assert (probed.measured, probed.items, probed.divergence) == ("probe", 200, None)
    assert probed.lost == 0.0
    assert probed.before > 0.6  # of six classes


def test_a_base_that_ran_wild_forgot_much_and_a_tuned_one_less():
    one = tuned(MILD, backbone=Knowing(toy_backbone()))
    mild, wild = forgetting(one, EXAM.examples), forgetting(gone_wild(one), EXAM.examples)
    assert 0 < mild.lost < 0.3 < wild.lost
    assert 0 < mild.divergence < 0.2 < wild.divergence
    one = tuned(MILD)
    mild = forgetting(one, EXAM.examples, known=known_task())
    wild = forgetting(gone_wild(one), EXAM.examples, known=known_task())
    assert abs(mild.lost) < 0.1
    assert wild.lost > 4 * wild.error > 0


def test_what_was_lost_is_counted_rightly():
    before, after = (
        np.log([[0.5, 0.5 - 1e-9], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]),
        np.log([[0.4, 0.6], [0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]),
    )
    found = forget._answers(before, after, backbone="a base", reference="images")
    expected = np.mean(
        [0.5 * np.log(0.5 / 0.4) + 0.5 * np.log(0.5 / 0.6), 0, 0.2 * np.log(0.2 / 0.7) + 0.8 * np.log(0.8 / 0.3), 0]
    )
    assert found.after == 0.5
    assert np.isclose(found.divergence, expected, atol=1e-6)
    assert np.isclose(found.error, 0.25)
    right = forget._probes(
        np.array([True, True, True, False]), np.array([True, False, True, True]), backbone="b", reference="r"
    )
    assert (right.before, right.after, right.lost) == (0.75, 0.75, 0.0)
    assert np.isclose(right.error, np.std([0, 1, 0, -1]) / 2)


def test_a_probe_has_not_seen_the_item_that_it_names():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    assert forget._named(np.eye(4)[labels] + 0.01 * draw.normal(size=(60, 4)), labels).all()
    assert forget._named(draw.normal(size=(60, 200)), labels).mean() < 0.5  # it could fit these rows exactly


def test_at_most_so_many_items_are_asked_about_evenly_spread(monkeypatch):
    monkeypatch.setattr(forget, "MOST", 5)
    assert forget._some(EXAM.examples).rows.tolist() == EXAM.examples.rows[[0, 37, 74, 112, 149]].tolist()
    assert len(forget._some(EXAM.examples.take([3, 4]))) == 2


def test_only_a_tuned_network_of_a_base_can_forget():
    lens = Lens(((toy_backbone(), "stage3"),), "stage1", FeatureStore())
    probe = Recipe(strategy_named("linear_probe"), lens).fit(PROBLEM, plan=PLAN)
    scratch = Recipe(strategy_named("scratch"), lens.untrained(slim=True)).fit(PROBLEM, plan=PLAN)
    plain = Recipe(strategy_named("plain"), Lens()).fit(PROBLEM, plan=PLAN)
    for predictor in (probe, scratch, plain):
        with pytest.raises(NotAdmissible, match="shipped no tuned network"):
            forgetting(predictor, EXAM.examples)
    moved = tuned(MILD)
    with pytest.raises(NotAdmissible, match="no reference task for the kind 'numbers'"):
        forgetting(moved, EXAM.examples)
    with pytest.raises(NotAdmissible, match="stand for words"):
        forgetting(replace(moved, scorer=replace(moved.scorer, unit="word")), EXAM.examples)


def test_a_run_records_it_where_it_can_be_measured():
    one = SimpleNamespace(predictor=tuned(MILD, backbone=Knowing(toy_backbone())))
    (found,) = workflow._forgotten("mark", PROBLEM, run=one)
    assert found.items == 120
    assert workflow._forgotten("mark", PROBLEM, run=SimpleNamespace(predictor=tuned(MILD))) == ()
    assert READERS["forgetting"]({"items": [_io.plain(found)]}) == (found,)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_references_are_small_balanced_and_always_the_same(kind):
    found, again = reference(kind), reference(kind)
    if found is None:
        pytest.skip("this Python came without its manual")
    classes, counts = np.unique(found.examples.targets.astype(str), return_counts=True)
    assert set(counts) == {20}
    assert len(classes) == 10 or (kind == "text" and 7 <= len(classes) < 10)  # the manual differs from version to version
    assert len(set(found.examples.fingerprints)) == 20 * len(classes)
    assert found.examples.fingerprints == again.examples.fingerprints
    assert reference("numbers") is None


ANSWERS = Forgetting("efficientnet_lite0", "answers", "images", 200, 1.0, 0.795, 0.029, 0.391)
PROBED = Forgetting("<b>minilm</b>", "probe", "handwritten digits", 200, 0.95, 0.92, 0.012)


def test_sentences_say_how_much():
    assert ANSWERS.sentence == (
        "Of 200 images, 80% still get the answer that efficientnet_lite0 gave them among its own classes before it was tuned "
        "(mean divergence 0.391 nats)."
    )
    assert "names 92.0% of 200 handwritten digits, one on the base 95.0%: tuning took 3.0 points (± 1.2)" in PROBED.sentence
    assert "tuning added 3.0 points" in replace(PROBED, before=0.92, after=0.95).sentence


@pytest.mark.parametrize(("one", "numbers"), [(ANSWERS, ("79.5%", "0.391 nats")), (PROBED, ("95.0%", "92.0%"))])
def test_the_report_shows_one_sentence_and_two_numbers(tmp_path, one, numbers):
    _io.write_json(tmp_path / "run.json", {"format": 1, "name": "new"})
    assert 'id="forgetting"' not in report.build(tmp_path)
    _io.write_json(tmp_path / "forgetting.json", {"items": [], "inputs": "3f"})
    assert 'id="forgetting"' not in report.build(tmp_path)
    _io.write_json(tmp_path / "forgetting.json", {"items": [_io.plain(one)], "inputs": "3f"})
    section = report.build(tmp_path).split('<section id="forgetting"')[1].split("</section>")[0]
    assert "<b>minilm" not in section
    for number in numbers:
        assert f"<dd>{number}</dd>" in section
    assert "tuned" in section
    _io.write_json(tmp_path / "forgetting.json", {"items": [{"nonsense": 1}]})
    assert "forgetting.json could not be read" in report.build(tmp_path)
