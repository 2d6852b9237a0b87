"""The training loop and the two strategies that use it, on the toy world where the right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headstart import _events, _network, _training
from headstart._linear import probe_head
from headstart.errors import NotAdmissible
from headstart.features import Lens
from headstart.problem import Examples
from headstart.strategies.fine_tune import FineTune
from headstart.strategies.scratch import Scratch
from headstart.strategy import Plan, Predictor, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem

PLAN = Plan(epochs=12, threads=1)


def recipe(kind: str, **fields: object) -> Recipe:
    lens = Lens(((toy_backbone(), "stage3"),), "stage1")
    if kind == "scratch":
        return Recipe(Scratch(**fields), lens.untrained(slim=True))  # type: ignore[arg-type]
    return Recipe(FineTune(**fields), lens)  # type: ignore[arg-type]


def score(predictor: Predictor, exam: object) -> float:
    return predictor.task.score(predictor.task.sit(predictor, exam.examples))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_learns_and_comes_back_from_its_state(kind, task):
    problem, exam = toy_problem(task=task, informative="columns", n=160)
    used = recipe(kind)
    predictor = used.fit(problem, plan=replace(PLAN, epochs=40), seed=1)
    scores = predictor.scores(exam.examples)
    assert score(predictor, exam) > {"classification": 0.5, "multi_label": 0.6, "regression": 0.3}[task]
    state, arrays = predictor.state()
    again = Predictor.restore(state, {name: array.copy() for name, array in arrays.items()}, used.lens)
    np.testing.assert_array_equal(again.scores(exam.examples), scores)


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
def test_the_seed_decides_and_the_order_of_rows_does_not(kind):
    problem, exam = toy_problem(informative="columns")
    used = recipe(kind, average="last") if kind == "fine_tune" else recipe(kind)
    first, same, other = (used.fit(problem, plan=PLAN, seed=seed).scores(exam.examples) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    turned = replace(problem, train=problem.train.take(np.arange(len(problem.train))[::-1]))
    np.testing.assert_array_equal(used.fit(turned, plan=PLAN, seed=3).scores(exam.examples), first)


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
def test_a_score_does_not_depend_on_the_company(kind):
    problem, exam = toy_problem()
    predictor = recipe(kind).fit(problem, plan=PLAN)
    whole = predictor.scores(exam.examples)
    single = np.concatenate([predictor.scores(exam.examples.take([i])) for i in range(5)])
    np.testing.assert_allclose(single, whole[:5], atol=1e-6)
    assert predictor.scores(exam.examples.take(np.zeros(0, dtype=int))).shape == (0, problem.task.width)


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
def test_problem_backbone_and_thread_count_are_left_alone(kind):
    import torch

    problem, _ = toy_problem()
    used, threads = recipe(kind), torch.get_num_threads()
    weights = {name: weight.copy() for name, weight in used.lens.backbone.weights.items()}  # type: ignore[attr-defined]
    before = problem.spec()
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    used.fit(problem, plan=PLAN)
    assert torch.rand(1) == drawn  # the global generator is untouched
    assert problem.spec() == before
    assert torch.get_num_threads() == threads
    for name, weight in used.lens.backbone.weights.items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(weight, weights[name])


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
def test_a_rate_that_explodes_stops_at_once_with_finite_weights(kind):
    problem, exam = toy_problem()
    heard: list[_events.Event] = []
    with _events.listen(heard.append):
        predictor = recipe(kind, rate=1e30).fit(problem, plan=PLAN)
    assert predictor.notes["ended"] == "diverged"
    assert predictor.notes["epochs"] == 1
    assert np.isfinite(predictor.scores(exam.examples)).all()
    assert any(event.kind == "warning" and "no number" in event.message for event in heard)


def test_early_stop_keeps_the_best_epoch():
    problem, _ = toy_problem(informative="nothing")
    heard: list[_events.Event] = []
    with _events.listen(heard.append):
        predictor = recipe("scratch", patience=0.1).fit(problem, plan=Plan(epochs=40, threads=1))
    held = [pair[1] for pair in predictor.notes["history"]]
    best = predictor.notes["best_epoch"]
    assert predictor.notes["ended"] == "patience"
    assert len(held) - 4 <= best <= len(held) < 40  # a tenth of the epochs without a lower one
    assert best == 0 or held[best - 1] < min(held) + 0.1
    progress = [event for event in heard if event.kind == "progress" and "scratch" in event.message]
    assert [event.data["done"] for event in progress] == list(range(1, len(held) + 1))


def test_what_was_kept_is_what_was_best():
    """The kept weights give the held-out loss of the epoch that is named, with and without a running mean."""
    import torch

    problem, _ = toy_problem(n=60)
    task, examples = problem.task, problem.train
    inputs = torch.from_numpy(toy_backbone().prepare(examples.inputs))
    labels = _training.Labels.of(task, examples)
    rows, held = np.arange(45), np.arange(45, 60)
    for average in (0.0, 0.9):
        model = _network.Model.of(toy_backbone(pretrained=False).network(), task.width)
        groups = [{"params": [*model.parameters(), *model.head.parameters()], "lr": 0.02}]
        batches = lambda index, generator: (inputs[index], *labels.take(index))  # noqa: E731
        schedule = _training.Schedule(epochs=15, batch=8, average=average)
        work = _training.Work(model, batches, task, rows, held, groups, schedule, seed=0, what="a test")
        trained = _training.train(work)
        reached = _training.evaluate(model, batches, task=task, rows=held).mean()
        assert reached == pytest.approx(trained.history[trained.best_epoch - 1][1])
        assert reached < trained.history[0][1]


def test_share_zero_is_the_probe():
    problem, exam = toy_problem(noise=0.1)
    predictor = recipe("fine_tune", average="wise_ft:shares=0").fit(problem, plan=PLAN)
    store, backbone = predictor.lens.store, predictor.lens.backbone
    rows = {
        name: store.features(backbone, part, ["stage3"])[0].rows.astype(float)
        for name, part in (("train", problem.train), ("exam", exam.examples))
    }
    head = probe_head(rows["train"], problem.task, problem.train.targets, blocks=problem.train.blocks)
    expected = rows["exam"] @ head.weights + head.bias
    # states at the cut are kept in half precision
    np.testing.assert_allclose(predictor.scores(exam.examples) * predictor.temperature, expected, atol=0.02)
    assert predictor.notes["share"] == 0.0


@pytest.mark.parametrize("n", [9, 120])  # nothing can be held out of nine
def test_where_the_last_layer_is_spoilt_the_probe_on_the_layer_that_is_read_ships(n):
    problem, exam = toy_problem(n=n)
    spoilt = toy_backbone()
    spoilt.weights["stage3.weight"][:] = 1.0  # all columns alike: one number is left of each row
    lens = Lens(((spoilt, "stage2"),), "stage2")
    predictor = Recipe(FineTune(epochs=1), lens).fit(problem, plan=PLAN, seed=0)
    probe = Recipe(strategy_named("linear_probe"), lens).fit(problem, plan=PLAN, seed=0)
    assert predictor.notes["read"] == "stage2"
    np.testing.assert_allclose(predictor.scores(exam.examples), probe.scores(exam.examples), atol=1e-6)
    state, arrays = predictor.state()
    again = Predictor.restore(state, arrays, lens)
    np.testing.assert_array_equal(again.scores(exam.examples), predictor.scores(exam.examples))


def test_a_network_that_learned_more_than_the_layer_that_is_read_ships():
    problem, exam = toy_problem(informative="columns", n=400)  # the signs are lost after the first stage
    lens = Lens(((toy_backbone(), "stage2"),), None)
    predictor = Recipe(FineTune(epochs=30, rate=5.0), lens).fit(problem, plan=replace(PLAN, tuned_epochs=30), seed=0)
    assert "read" not in predictor.notes
    assert predictor.notes["share"] > 0
    assert score(predictor, exam) > score(Recipe(strategy_named("linear_probe"), lens).fit(problem), exam) + 0.05


def test_at_most_five_hundred_items_are_held_out():
    problem, _ = toy_problem(n=4000, exam=10)
    rows, held = _training.hold_out(problem.task, problem.train, fraction=0.15, seed=0)
    assert 450 <= len(held) <= 550
    assert len(rows) + len(held) == 4000


def test_only_what_lies_above_the_cut_is_stored():
    problem, _ = toy_problem()
    _, arrays = recipe("fine_tune").fit(problem, plan=PLAN).state()
    assert {name.rsplit(".", 1)[0] for name in arrays} == {"head", "network.stage2", "network.stage3"}


def test_fine_tuning_without_a_cut_trains_from_the_input():
    problem, exam = toy_problem(task="regression", informative="columns", n=160)
    lens = Lens(((toy_backbone(), "stage3"),), None)
    floor, tuned = (Recipe(FineTune(average=one), lens).fit(problem, plan=PLAN) for one in ("wise_ft:shares=0", "last"))
    assert "network.stage1.weight" in tuned.state()[1]
    assert score(tuned, exam) > score(floor, exam) + 0.05


def test_scratch_refuses_a_pretrained_lens():
    problem, _ = toy_problem()
    with pytest.raises(NotAdmissible, match="untrained"):
        Recipe(Scratch(), Lens(((toy_backbone(), "stage3"),))).fit(problem, plan=PLAN)


@pytest.mark.parametrize("kind", ["scratch", "fine_tune"])
def test_two_rows_a_class_are_enough(kind):
    problem, exam = toy_problem(n=60)
    few = problem.shrink(2)
    predictor = recipe(kind).fit(few, plan=PLAN)
    assert predictor.notes["ended"] == "schedule"  # nothing held out: every epoch runs
    assert np.isfinite(predictor.scores(exam.examples)).all()


def test_held_out_rows_keep_blocks_whole():
    problem, _ = toy_problem(n=120, block=5)
    rows, held = _training.hold_out(problem.task, problem.train, fraction=0.15, seed=0)
    assert 0 < len(held) <= 30
    assert not set(problem.train.take(rows).blocks) & set(problem.train.take(held).blocks)


def test_the_running_mean_copies_batch_norm_statistics():
    """Averaging them from their start values gives chance for many epochs."""
    import torch

    from headstart.backbone import Network

    norm = torch.nn.BatchNorm1d(3)
    module = torch.nn.ModuleDict({"norm": norm})
    model = _network.Model.of(Network(module, None, lambda x, cut: norm(x), 3), 2)
    mean = _network.RunningMean(model, 0.999)
    norm.train()(torch.randn(64, 3) * 5 + 7)
    mean.update()
    mean.swap_in()
    np.testing.assert_array_equal(norm.running_mean.numpy(), model.tensors()["network.norm.running_mean"].numpy())
    assert norm.running_mean.abs().min() > 0.5


def test_examples_in_order_are_the_same_examples():
    problem, _ = toy_problem(n=30)
    turned = _training.in_order(problem.train.take(np.arange(30)[::-1]))
    assert isinstance(turned, Examples)
    assert turned.fingerprints == _training.in_order(problem.train).fingerprints
    assert sorted(turned.names) == sorted(problem.train.names)


def test_the_toy_backbone_is_one_network_in_numpy_torch_and_onnx():
    import onnxruntime
    import torch

    backbone, rows = toy_backbone(), toy_problem(n=40, exam=2)[0].train.inputs
    stages, network = ("stage1", "stage2", "stage3"), toy_backbone().network()
    found = backbone.features(rows, stages)
    x = torch.from_numpy(backbone.prepare(rows))
    with torch.inference_mode():
        whole = network.above(x, None)
        for stage in stages:
            state = network.below(x, stage)
            np.testing.assert_allclose(state.numpy(), found[stage].rows, atol=1e-5)
            assert torch.equal(network.above(state, stage), whole)
    session = onnxruntime.InferenceSession(backbone.onnx().SerializeToString())
    np.testing.assert_allclose(session.run(None, {"input": backbone.prepare(rows)})[0], found["stage3"].rows, atol=1e-5)


def test_the_toy_world_is_as_planted():
    from headstart.strategies.linear_probe import LinearProbe

    def probed(informative: str, **backbone: bool) -> float:
        problem, exam = toy_problem(informative=informative)
        return score(Recipe(LinearProbe(), Lens(((toy_backbone(**backbone), "stage2"),))).fit(problem), exam)

    assert probed("features") > 0.85
    assert probed("features", useful=False) < 0.55
    assert probed("columns") < 0.75
    assert probed("nothing") < 0.45
    assert toy_problem(seed=3)[0].spec() == toy_problem(seed=3)[0].spec() != toy_problem(seed=4)[0].spec()


def test_a_tie_goes_to_the_later_epoch():
    best = np.array([1.0, 2.0, 3.0, 4.0])
    assert _training._as_good(best - 0.1, best)
    assert _training._as_good(best + np.array([0.5, -0.4, 0.5, -0.4]), best)  # higher, but not by more than chance
    assert not _training._as_good(best + 0.1, best)  # higher for every row
    assert not _training._as_good(best * np.nan, best)
