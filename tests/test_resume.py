"""A training that is killed goes on to the bit; several rates; memory that runs out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headstart import _checkpoint, _events, _training
from headstart.features import FeatureStore, Lens
from headstart.strategy import Plan, Predictor, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem

PLAN = Plan(epochs=12, tuned_epochs=8, threads=1)


class Killed(Exception):
    """As a kill would, it ends the fit where it stands."""


def fitted(name, store, *, stop=None, problem=None):
    lens = Lens(((toy_backbone(), "stage3"),), "stage1", store)
    lens = lens.untrained(slim=True) if name.startswith("scratch") else lens
    heard = []

    def hear(event):
        heard.append(event)
        if stop is not None and "held_out" in event.data and event.data["done"] == stop:
            raise Killed

    with _events.listen(hear):
        predictor = Recipe(strategy_named(name), lens).fit(problem or toy_problem(noise=0.2)[0], plan=PLAN, seed=3)
    epochs = [event.data["done"] for event in heard if "held_out" in event.data]
    return predictor, epochs


@pytest.mark.parametrize(
    "name", ["scratch:patience=1", "fine_tune+last", "lora:rank=4+last", "fine_tune:rates=0.3/1/3+l2_sp+last"]
)
def test_a_killed_training_goes_on_to_the_bit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "EVERY", 0.0)
    whole, epochs = fitted(name, FeatureStore(tmp_path / "one" / "features"))
    store = FeatureStore(tmp_path / "two" / "features")
    with pytest.raises(Killed):
        fitted(name, store, stop=5)
    (left,) = (tmp_path / "two" / "features" / "training").iterdir()
    again, others = fitted(name, FeatureStore(tmp_path / "two" / "features"))
    assert others[0] == 5
    assert others[-1] == epochs[-1]
    assert not left.exists()
    (state, arrays), (expected, wanted) = again.state(), whole.state()
    assert state == expected
    assert arrays.keys() == wanted.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, wanted[key])


def test_a_checkpoint_of_another_problem_or_a_damaged_one_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "EVERY", 0.0)
    store = FeatureStore(tmp_path / "features")
    with pytest.raises(Killed):
        fitted("fine_tune", store, stop=4)
    other, _ = toy_problem(noise=0.2, seed=9)
    assert fitted("fine_tune", store, problem=other)[1][0] == 1
    (left,) = (tmp_path / "features" / "training").iterdir()
    left.write_bytes(left.read_bytes()[:-50])
    assert fitted("fine_tune", store)[1][0] == 1


def test_of_several_rates_the_one_that_learns_goes_on():
    chosen, _ = fitted("fine_tune:rates=0.0001/1/1e30+last", FeatureStore())
    assert chosen.notes["rate"] == 1.0
    assert chosen.notes["ended"] != "diverged"
    alone, _ = fitted("fine_tune+last", FeatureStore())
    for key, array in chosen.state()[1].items():
        np.testing.assert_array_equal(array, alone.state()[1][key])


def test_where_memory_is_short_the_batch_keeps_its_size():
    def starving(loss):
        def call(work, inputs, *rest):
            if len(inputs) > 9:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            return loss(work, inputs, *rest)

        return call

    whole, _ = fitted("fine_tune:views=1+last", FeatureStore())
    heard = []
    with pytest.MonkeyPatch.context() as patch, _events.listen(heard.append):
        patch.setattr(_training, "_loss", starving(_training._loss))
        lens = Lens(((toy_backbone(), "stage3"),), "stage1", FeatureStore())
        parts = Recipe(strategy_named("fine_tune:views=1+last"), lens).fit(toy_problem(noise=0.2)[0], plan=PLAN, seed=3)
    assert parts.notes["parts"] == 4
    assert [event.message for event in heard if "in 4 parts, its size stays" in event.message]
    for key, array in parts.state()[1].items():
        np.testing.assert_allclose(array, whole.state()[1][key], atol=2e-3)


def test_an_error_that_is_not_of_memory_is_not_hidden(monkeypatch):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(_training, "_loss", broken)
    with pytest.raises(RuntimeError, match="something else"):
        fitted("fine_tune", FeatureStore())


def test_the_plan_is_part_of_which_training_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "EVERY", 0.0)
    store = FeatureStore(tmp_path / "features")
    with pytest.raises(Killed):
        fitted("fine_tune", store, stop=4)
    monkeypatch.setitem(globals(), "PLAN", replace(PLAN, tuned_epochs=7))
    assert fitted("fine_tune", store)[1][0] == 1


def test_nobody_elses_file_goes_and_a_full_disk_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "EVERY", 0.0)
    monkeypatch.setattr(_checkpoint, "FORGOTTEN", -1.0)
    theirs = tmp_path / "training" / "model.safetensors"
    theirs.parent.mkdir()
    theirs.write_bytes(b"weights of years")
    whole, _ = fitted("fine_tune+last", FeatureStore(tmp_path / "features"))
    assert theirs.exists()
    heard = []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_checkpoint.Checkpoint, "write", full)
    with _events.listen(heard.append):
        again, _ = fitted("fine_tune+last", FeatureStore(tmp_path / "other"))
    assert again.state()[0] == whole.state()[0]
    assert [event.message for event in heard if "its state is not kept" in event.message]


def test_a_record_with_settings_that_are_gone_is_still_read():
    predictor, _ = fitted("fine_tune", FeatureStore())
    state, arrays = predictor.state()
    state["strategy"] = {**state["strategy"], "decay": 0.7, "shares": [0.0, 1.0]}
    exam = toy_problem()[1].examples
    again = Predictor.restore(state, arrays, predictor.lens)
    np.testing.assert_array_equal(again.scores(exam), predictor.scores(exam))
