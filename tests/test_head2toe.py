"""head2toe: the sparse fit against its optimality conditions, and worlds where one layer is and is not enough."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest

from headstart.backbone import Tap
from headstart.errors import NotAdmissible
from headstart.features import Features, FeatureStore, Lens
from headstart.registry import get
from headstart.stages.export import export
from headstart.strategies.head2toe import Head2Toe, _relevance, _Rows
from headstart.strategy import Plan, Recipe
from headstart.testing import ToyBackbone, planted, toy_problem


class Layers(ToyBackbone):
    """Stage one has the columns; the sizes along the planted directions are divided between the two above, or all in one."""

    shared = True

    @cached_property
    def fingerprint(self):
        return f"{type(self).__name__}{self.width}"

    @property
    def card(self):
        return replace(super().card, name=f"toy_{type(self).__name__.lower()}")

    def features(self, inputs, taps, *, view=""):
        rows = self.prepare(inputs).astype(np.float64)
        noise = np.sin(1e4 * rows)  # as good as random, and the same for the same row
        parts = np.abs(rows @ planted().T)
        first, second = (parts[:, :1], parts[:, 1:]) if self.shared else (parts, noise[:, :3])
        found = {
            "stage1": np.concatenate([rows, noise[:, : self.width - 12]], axis=1),
            "stage2": np.concatenate([first, 0.1 * noise], axis=1)[:, : self.width],
            "stage3": np.concatenate([second, 0.1 * noise], axis=1)[:, : self.width],
        }
        return {
            tap: Features.one_each(np.pad(found[tap], ((0, 0), (0, self.width - found[tap].shape[1]))).astype(np.float32))
            for tap in taps
        }


class Alone(Layers):
    shared = False


def lens_on(made, tap="stage2"):
    return Lens(((made(True, True, "numbers", 16, 0), tap),), None, FeatureStore())


def fitted(name, problem, lens):
    return Recipe(get("strategies", name)(), lens).fit(problem, plan=Plan(threads=1))


def scored(predictor, problem, exam):
    return problem.task.score(problem.task.sit(predictor, exam.examples))


def test_two_layers_that_each_hold_a_half_beat_the_better_one():
    for seed in range(3):
        problem, exam = toy_problem(n=240, seed=seed)
        lens = lens_on(Layers)
        both, one = fitted("head2toe", problem, lens), fitted("linear_probe", problem, lens)
        assert {tap for _, tap in both.lens.reads} >= {"stage2", "stage3"}
        assert scored(both, problem, exam) > scored(one, problem, exam) + 0.1


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_it_is_the_probe_where_other_layers_add_nothing(task):
    same, noise = 0, 0.5 if task == "regression" else 0.0  # where all is explained, one standard error is next to nothing
    for seed in range(3):
        problem, exam = toy_problem(task=task, n=120, noise=noise, seed=seed)
        lens = lens_on(Alone)
        ours, probe = fitted("head2toe", problem, lens), fitted("linear_probe", problem, lens)
        assert scored(ours, problem, exam) > scored(probe, problem, exam) - 0.02
        if not ours.notes["columns"]:
            assert np.array_equal(ours.scores(exam.examples), probe.scores(exam.examples))
            same += 1
    assert same >= 2  # a gain by chance beyond one standard error is one case in six


def test_one_layer_is_not_enough_for_it():
    class Single(Layers):
        @property
        def taps(self):
            return (Tap("stage2", 1.0, self.width),)

    problem, _ = toy_problem(n=60)
    with pytest.raises(NotAdmissible, match="'head2toe' needs features, labels, layers"):
        fitted("head2toe", problem, lens_on(Single))


def test_several_layers_are_refused_by_export_with_what_to_do(tmp_path):
    predictor = fitted("head2toe", toy_problem(n=240)[0], lens_on(Layers))
    with pytest.raises(NotAdmissible, match=r"reads \d layers.*headstart predict.*linear_probe"):
        export(predictor, tmp_path / "model.onnx")


@pytest.mark.parametrize("shape", [(40, 90), (300, 30)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_sparse_fit_meets_the_conditions_of_its_minimum(shape, weighted, monkeypatch):
    monkeypatch.setattr("headstart.strategies.head2toe.STEPS", 20_000)
    draw = np.random.default_rng(0)
    Z, labels = draw.normal(size=shape), draw.integers(0, 3, shape[0])
    Z[:, :3] += 2 * np.eye(3)[labels]
    weights = draw.uniform(0.5, 2, shape[0]) if weighted else None
    task = get("tasks", "classification")(("a", "b", "c"))
    rows = _Rows.of(task, np.array(["a", "b", "c"], dtype=object)[labels], np.arange(shape[0]).astype(str), weights)
    found = _relevance(Z, rows, 0.2)
    assert set(np.argsort(-found)[:3]) == {0, 1, 2}
    share = (rows.weights / rows.weights.sum())[:, None]
    Z0, Y0 = Z - (share * Z).sum(axis=0), rows.Y - (share * rows.Y).sum(axis=0)
    slope = np.linalg.norm(Z0.T @ (share * Y0), axis=1)
    lam, kept = 0.2 * slope.max(), found > 0
    assert 3 <= kept.sum() < shape[1]
    # With W the minimum: the slope of the squares is λ along every kept row, and at most λ at the others. Where it is λ,
    # W solves (Z'Z + λ/‖W_j‖) W = Z'Y on the kept columns, and the norms come back.
    G = Z0[:, kept].T @ (share * Z0[:, kept]) + np.diag(lam / found[kept])
    W = np.linalg.solve(G, Z0[:, kept].T @ (share * Y0))
    assert np.allclose(np.linalg.norm(W, axis=1), found[kept], rtol=1e-4, atol=1e-8)
    rest = Z0[:, ~kept].T @ (share * (Y0 - Z0[:, kept] @ W))
    assert np.linalg.norm(rest, axis=1).max() <= lam * (1 + 1e-6)


def test_settings_are_its_record():
    assert Recipe(Head2Toe(fractions=(0.5,)), lens_on(Layers)).name == "head2toe(fractions=(0.5,)) on toy_layers"
