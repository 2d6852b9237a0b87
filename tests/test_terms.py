"""What is added to the loss, and what is averaged: each equals an independent computation and does what it is for."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace

import numpy as np
import pytest

from headstart import _events, _network, _training
from headstart.backbone import Tap
from headstart.errors import NotAdmissible
from headstart.features import Features, FeatureStore, Lens
from headstart.strategy import Plan, Recipe, strategy_named
from headstart.testing import COLUMNS, DIRECTIONS, STAGES, check_strategy, planted, toy_backbone, toy_problem
from headstart.tuning import part_named

TERMS = ("l2_sp", "delta", "bss", "co_tuning", "learning_without_forgetting", "ewc")
OWN = 4  # classes that the toy base knows by itself: along which of the last planted directions a row is longest
TINY = {"layers": 2, "width": 16, "heads": 2, "inner": 32, "vocabulary": 64, "positions": 40, "eps": 1e-12, "types": 2}


@dataclass(frozen=True)
class Knowing:
    """The toy base with classes of its own."""

    toy: object

    def __getattr__(self, name):
        return getattr(self.toy, name)

    @property
    def taps(self):
        labels = tuple(f"own-{number}" for number in range(OWN))
        return (*self.toy.taps, Tap("own", 1.0, OWN, pooling="none", resumable=False, labels=labels))

    def features(self, inputs, taps, *, view=""):
        found = self.toy.features(inputs, STAGES)
        own = 4 * found["stage3"].rows[:, DIRECTIONS - OWN : DIRECTIONS]
        return {tap: (found | {"own": Features.one_each(own)})[tap] for tap in taps}

    def network(self, *, seed=0, unit="item"):
        import torch

        made = self.toy.network(seed=seed, unit=unit)
        own = torch.nn.Linear(made.width, OWN)
        with torch.no_grad():
            own.weight.zero_()
            own.weight[:, DIRECTIONS - OWN : DIRECTIONS] = 4 * torch.eye(OWN)
            own.bias.zero_()
        made.module["own"] = own
        return replace(made, classifier="own")


def lens_of(*, cut="stage1", backbone=None):
    return Lens(((backbone or Knowing(toy_backbone()), "stage3"),), cut, FeatureStore())


def work_of(name="classification", *, problem=None, cut="stage1", backbone=None, n=40, seed=0):
    """A training that is about to begin: everything above the cut moves, the head is drawn at random."""
    problem = problem or toy_problem(task=name, n=n, seed=seed)[0]
    lens = lens_of(cut=cut, backbone=backbone)
    network = lens.backbone.network()
    moving = [one for names in _network.stages_above(network, cut).values() for one in names]
    model = _network.Model.of(network, problem.task.width, cut=cut, statistics=False, moving=moving)
    model.set_head(np.random.default_rng(1).normal(size=(network.width, problem.task.width)), np.zeros(problem.task.width))
    states, labels = _network.states_of(lens, problem.train, cut), _training.Labels.of(problem.task, problem.train)

    def batches(index, generator):
        return network.collate([states[row] for row in index]), *labels.take(index)

    return _training.Work(
        model,
        batches,
        task=problem.task,
        rows=np.arange(len(problem.train)),
        held=np.zeros(0, dtype=int),
        groups=[{"params": model.parameters(), "lr": 0.1}],
        schedule=_training.Schedule(epochs=2, batch=16),
        seed=seed,
        what="a test",
    )


def double(work):
    """All of it in float64, so that tolerances can be tight."""
    work.model.network.module.double()
    work.model.head.double()

    def batches(index, generator):
        inputs, encoded, weights = work.batches(index, generator)
        return inputs.double(), encoded, weights.double()

    return replace(work, batches=batches, groups=[{"params": work.model.parameters(), "lr": 0.1}])


def moved(work, size=0.1, seed=2):
    """Move the weights from where they started."""
    draw = np.random.default_rng(seed)
    for parameter in work.model.parameters():
        parameter.data += parameter.new_tensor(size * draw.normal(size=tuple(parameter.shape)))


def step_of(work, rows=range(16)):
    inputs, encoded, _ = work.batches(np.asarray(rows), None)
    features = work.model.rows(inputs)
    return _training.Step(inputs, features, work.model.head(features), encoded)


def arrays_of(work):
    return {name: value.detach().numpy().copy() for name, value in work.model.network.module.named_parameters()}


def maps(weights, inputs):
    """What each of the two stages above the cut gives before its ReLU, and the rows, in numpy."""
    found, state = [], np.asarray(inputs)
    for stage in STAGES[1:]:
        found.append(state @ weights[f"{stage}.weight"].T + weights[f"{stage}.bias"])
        state = np.maximum(found[-1], 0)
    return found, state


def log_softmax(scores):
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def own_scores(weights, inputs):
    return maps(weights, inputs)[1] @ weights["own.weight"].T + weights["own.bias"]


def test_bss_is_the_smallest_singular_values():
    work = double(work_of())
    step = step_of(work)
    values = np.linalg.svd(step.rows.detach().numpy(), compute_uv=False)
    assert values[-3] > 1e-3, "a rank below three could not tell them apart"
    for k in (1, 3):
        found = float(part_named(f"bss:k={k},weight=0.5").start(work)(step).detach())
        assert found == pytest.approx(0.5 * (values[-k:] ** 2).sum(), rel=1e-6, abs=1e-12)


def test_bss_has_a_finite_gradient_where_singular_values_are_equal():
    import torch

    rows = torch.eye(4, requires_grad=True)
    step = _training.Step(rows, rows, rows, None)
    (slope,) = torch.autograd.grad(part_named("bss").start(work_of())(step), rows)
    assert bool(slope.isfinite().all())


def test_delta_is_the_mean_square_between_maps():
    work = double(work_of())
    before, penalty = arrays_of(work), part_named("delta:pull=3.0").start(work)
    assert float(penalty(step_of(work)).detach()) == 0.0
    moved(work)
    step = step_of(work)
    pairs = zip(maps(before, step.inputs)[0], maps(arrays_of(work), step.inputs)[0], strict=True)
    expected = sum(((now - then) ** 2).mean() for then, now in pairs)
    assert float(penalty(step).detach()) == pytest.approx(3 * expected, rel=1e-6)
    assert float(penalty(step).detach()) == pytest.approx(3 * expected, rel=1e-6), "asked twice, as mixed targets do"


def test_attention_of_delta_is_the_slope_of_the_loss_as_a_channel_fades():
    work = double(work_of())
    before = arrays_of(work)
    penalty = part_named("delta:attention=true").start(work)
    inputs, encoded, _ = work.batches(work.rows[:64], None)
    head = work.model.head.weight.detach().numpy()

    def loss(stage, scales):
        state = np.asarray(inputs)
        for name in STAGES[1:]:
            state = state @ before[f"{name}.weight"].T + before[f"{name}.bias"]
            state = np.maximum(state * scales if name == stage else state, 0)
        return -log_softmax(state @ head.T)[np.arange(len(state)), encoded].mean()

    moved(work)
    step, expected = step_of(work), 0.0
    pairs = zip(STAGES[1:], maps(before, step.inputs)[0], maps(arrays_of(work), step.inputs)[0], strict=True)
    for stage, then, now in pairs:
        steps = 1e-5 * np.eye(then.shape[1])
        rises = np.array([(loss(stage, 1 - one) - loss(stage, 1 + one)) / 2e-5 for one in steps])
        assert np.ptp(rises) > 0.01
        weights = np.exp(rises) / np.exp(rises).sum()
        expected += (((now - then) ** 2).mean(axis=0) * weights).sum()
    assert float(penalty(step).detach()) == pytest.approx(expected, rel=1e-6)


def test_hooks_of_delta_go_with_it():
    work = work_of()
    penalty = part_named("delta").start(work)
    hooked = [module for module in work.model.network.module.values() if module._forward_hooks]
    assert len(hooked) == 2
    del penalty
    gc.collect()
    assert not any(module._forward_hooks for module in hooked)


@pytest.mark.parametrize("name", ["delta", "learning_without_forgetting"])
def test_a_look_at_the_start_leaves_weights_and_gradients_alone(name):
    import torch

    work = double(work_of())
    penalty = part_named(name).start(work)
    moved(work)
    before = arrays_of(work)
    plain = torch.autograd.grad(step_of(work).scores.square().sum(), work.model.parameters())
    step = step_of(work)
    value = step.scores.square().sum() + 0 * penalty(step)
    for expected, found in zip(plain, torch.autograd.grad(value, work.model.parameters()), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    for key, array in arrays_of(work).items():
        np.testing.assert_array_equal(array, before[key])


def test_learning_without_forgetting_is_a_divergence_between_softened_answers():
    work = double(work_of())
    before, penalty = arrays_of(work), part_named("learning_without_forgetting:weight=2.0").start(work)
    moved(work)
    step = step_of(work)
    then, now = (log_softmax(own_scores(weights, step.inputs) / 2) for weights in (before, arrays_of(work)))
    expected = (np.exp(then) * (then - now)).sum(axis=1).mean()
    assert expected > 1e-3
    assert float(penalty(step).detach()) == pytest.approx(2 * expected, rel=1e-6)


def test_co_tuning_asks_for_the_own_classes_that_a_new_class_resembles():
    work = double(work_of())
    before, penalty = arrays_of(work), part_named("co_tuning:weight=2.0,temperature=1.5").start(work)
    inputs, encoded, _ = work.batches(work.rows, None)
    said = np.exp(log_softmax(own_scores(before, inputs) / 1.5))
    relation = np.stack([said[encoded.numpy() == k].mean(axis=0) for k in range(3)])
    moved(work)
    step = step_of(work)
    now = log_softmax(own_scores(arrays_of(work), step.inputs))
    expected = -(relation[step.encoded.numpy()] * now).sum(axis=1).mean()
    assert float(penalty(step).detach()) == pytest.approx(2 * expected, rel=1e-6)


def test_ewc_weighs_by_the_information_of_the_bases_own_answers():
    """With many rows the drawn labels' squared gradients are Fisher's matrix, here taken over all answers by hand."""
    import torch

    work = work_of(n=2000)
    found = part_named("ewc:rows=2000")._fisher(work)
    inputs, _, _ = work.batches(work.rows, None)
    module = work.model.network.module
    names = [f"{stage}.{part}" for stage in STAGES[1:] for part in ("weight", "bias")]
    weights = {name: value.detach() for name, value in module.named_parameters()}

    def logp(moving, row, answer):
        state, all_of_them = row, {**weights, **moving}
        for stage in STAGES[1:]:
            state = torch.relu(all_of_them[f"{stage}.weight"] @ state + all_of_them[f"{stage}.bias"])
        return (all_of_them["own.weight"] @ state + all_of_them["own.bias"]).log_softmax(0)[answer]

    moving, expected = {name: weights[name] for name in names}, dict.fromkeys(names, 0.0)
    for answer in range(OWN):
        each = torch.func.vmap(torch.func.grad(logp), in_dims=(None, 0, None))(moving, inputs, answer)
        p = torch.func.vmap(logp, in_dims=(None, 0, None))(moving, inputs, answer).exp()
        for name in names:
            expected[name] = expected[name] + torch.einsum("n,n...->...", p, each[name] ** 2)
    mine = torch.cat([one.ravel() for one in found])
    theirs = torch.cat([expected[name].ravel() for name in names])
    theirs = theirs / theirs.mean()
    assert float(mine.mean()) == pytest.approx(1, abs=1e-5)
    assert float((mine - theirs).abs().mean()) < 0.1
    assert np.corrcoef(mine.numpy(), theirs.numpy())[0, 1] > 0.98


def test_ewc_of_a_base_without_classes_goes_by_its_features():
    """One linear layer above the cut: F of a weight is the mean square of its input, where its output is above zero."""
    work = work_of(cut="stage2", backbone=toy_backbone(), n=2000)
    weight, bias = part_named("ewc:rows=2000")._fisher(work)
    inputs = np.asarray(work.batches(work.rows, None)[0])
    live = inputs @ arrays_of(work)["stage3.weight"].T + arrays_of(work)["stage3.bias"] > 0
    expected = live.T.astype(float) @ inputs**2 / len(inputs), live.mean(axis=0)
    mean = sum(one.sum() for one in expected) / sum(one.size for one in expected)
    found = np.concatenate([weight.numpy().ravel(), bias.numpy()])
    wanted = np.concatenate([one.ravel() for one in expected]) / mean
    assert np.abs(found - wanted).mean() < 0.1
    assert np.corrcoef(found, wanted)[0, 1] > 0.98


def test_ewc_is_the_weighted_square_of_the_way():
    work = double(work_of())
    part = part_named("ewc:pull=0.7")
    before, matters, penalty = arrays_of(work), part._fisher(work), part.start(work)
    moved(work)
    now = arrays_of(work)
    pairs = zip(work.model.moving, matters, strict=True)
    expected = sum((weight.numpy() * (now[name] - before[name]) ** 2).sum() for name, weight in pairs)
    assert float(penalty(step_of(work)).detach()) == pytest.approx(0.35 * expected, rel=1e-6)


@pytest.mark.parametrize("name", ["learning_without_forgetting", "co_tuning"])
def test_a_base_without_classes_of_its_own_is_refused(name):
    with pytest.raises(NotAdmissible, match=r"classes of its own.*l2_sp"):
        part_named(name).start(work_of(backbone=toy_backbone()))


def test_co_tuning_of_numbers_is_refused():
    with pytest.raises(NotAdmissible, match="needs classes, one an item; the task is regression"):
        part_named("co_tuning").start(work_of("regression"))


@pytest.mark.parametrize("name", ["learning_without_forgetting", "co_tuning"])
def test_laws_of_terms_that_need_own_classes(name):
    problem, exam = toy_problem(n=100, seed=3)
    check_strategy(strategy_named(f"fine_tune:epochs=2+{name}"), problem, exam, lens_of())


def test_maps_are_taken_at_the_last_norm_of_each_stage():
    from headstart.backbones import _convnet, _convnet_torch
    from headstart.backbones._photos import Preprocess
    from headstart.tuning.delta import _places

    built = _convnet.named("efficientnet_lite_slim", classes=7)
    network = _convnet_torch.network(built, Preprocess(32, (0.0,) * 3, (1.0,) * 3), _convnet.initial(built, 0))
    assert _places(network, "block9") == [f"_blocks.{10}._bn2", "_bn1"]
    assert network.module.get_submodule(network.classifier).out_features == 7
    built = _convnet.named("efficientnet_lite_slim")
    assert not _convnet_torch.network(built, Preprocess(32, (0.0,) * 3, (1.0,) * 3), _convnet.initial(built, 0)).classifier


# What each is for


def tuned(work, term=None, *, schedule, rate):
    """The same work after training, with the term or without."""
    penalty = part_named(term).start(work) if term else None
    groups = [{"params": work.model.parameters(), "lr": rate}, {"params": list(work.model.head.parameters()), "lr": rate}]
    _training.train(replace(work, penalty=penalty, groups=groups, schedule=schedule))
    return work


def way_of_weights(work, before, matters=None):
    after, ones = arrays_of(work), [np.ones(1)] * len(work.model.moving)
    pairs = zip(work.model.moving, matters or ones, strict=True)
    return sum((np.asarray(weight) * (after[name] - before[name]) ** 2).sum() for name, weight in pairs)


def way_of_maps(work, before):
    inputs = work.batches(work.rows, None)[0]
    return sum(((b - a) ** 2).mean() for a, b in zip(maps(before, inputs)[0], maps(arrays_of(work), inputs)[0], strict=True))


def way_of_answers(work, before):
    inputs = work.batches(work.rows, None)[0]
    return np.square(log_softmax(own_scores(arrays_of(work), inputs)) - log_softmax(own_scores(before, inputs))).mean()


@pytest.mark.parametrize("name", ["l2_sp:pull", "ewc:pull", "delta:pull", "learning_without_forgetting:weight"])
def test_a_huge_pull_keeps_what_it_pulls_at_the_start(name):
    way = {"l": way_of_weights, "e": way_of_weights, "d": way_of_maps}[name[0]] if name[:3] != "lea" else way_of_answers
    reached = {}
    for text in (f"{name}=1e+6", None):
        work = work_of()
        before, more = arrays_of(work), [part_named("ewc")._fisher(work)] if name[0] == "e" else []
        tuned(work, text, schedule=_training.Schedule(epochs=20, clip=1e9), rate=1e-3)
        reached[text] = way(work, before, *more)
    assert reached[None] > 0.01
    assert reached[f"{name}=1e+6"] < 1e-3 * reached[None]


def test_what_protects_the_old_task_keeps_more_of_it_at_equal_accuracy():
    """Old: along which of four directions a row is longest. New: along which of three its part is largest, by sign."""
    draw = np.random.default_rng(99).normal(size=(1000, COLUMNS)).astype(np.float32)
    true = np.abs(draw @ planted().T)[:, DIRECTIONS - OWN :].argmax(axis=1)
    old, new = {}, {}
    for seed in range(5):
        problem, exam = toy_problem(n=60, exam=500, seed=seed, informative="columns")
        for name in (None, "learning_without_forgetting", "ewc"):
            work = tuned(
                work_of(problem=problem, seed=seed), name, schedule=_training.Schedule(epochs=1, passes=25), rate=0.015
            )
            answers = problem.task.decode(work.model.predict(list(states(exam.examples))).rows, np.arange(501))
            new.setdefault(name, []).append((answers == exam.examples.targets).mean())
            kept = own_scores(arrays_of(work), stage1(draw)).argmax(axis=1) == true
            old.setdefault(name, []).append(kept.mean())
    for name in ("learning_without_forgetting", "ewc"):
        more = np.subtract(old[name], old[None])
        assert more.mean() > 0.1
        assert more.mean() > 4 * more.std(ddof=1) / np.sqrt(len(more))
        assert np.mean(new[name]) > np.mean(new[None]) - 0.01


def states(examples):
    return toy_backbone().states(examples.inputs, "stage1")


def stage1(rows):
    return toy_backbone().states(list(rows), "stage1")


@pytest.mark.parametrize("name", ["learning_without_forgetting", "ewc"])
def test_a_killed_training_with_a_term_goes_on_to_the_bit(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_training, "EVERY", 0.0)
    problem, _ = toy_problem(n=40, noise=0.2)
    recipe = f"fine_tune:epochs=3+{name}+last"

    def fitted(store, stop=None):
        def hear(event):
            if "held_out" in event.data and event.data["done"] == stop:
                raise KeyboardInterrupt

        lens = replace(lens_of(), store=store)
        with _events.listen(hear):
            return Recipe(strategy_named(recipe), lens).fit(problem, plan=Plan(threads=1), seed=3).state()[1]

    whole = fitted(FeatureStore())
    with pytest.raises(KeyboardInterrupt):
        fitted(FeatureStore(tmp_path / "features"), stop=2)
    assert list((tmp_path / "features" / "training").iterdir())
    for key, array in fitted(FeatureStore(tmp_path / "features")).items():
        np.testing.assert_array_equal(array, whole[key])


def texts(unit):
    """A small random encoder with a classifier on top, and a batch of texts of different length."""
    import torch

    from headstart.backbones import _encoder, _encoder_torch

    built = _encoder.Architecture("bert", **TINY)
    weights = {name: 10 * array if array.ndim > 1 else array for name, array in _encoder.initial(built, 3).items()}
    network = _encoder_torch.network(built, weights, unit=unit)
    network.module.add_module("own", torch.nn.Linear(16, 5))
    draw = np.random.default_rng(0)
    bodies = [draw.integers(4, 64, size=length) for length in (3, 7, 5, 3)]
    prepared = [np.array([[2, 0], *([one, 1] for one in body), [3, 0]], dtype=np.int32) for body in bodies]
    return replace(network, classifier="own" if unit == "item" else ""), prepared


@pytest.mark.parametrize("unit", ["item", "word"])
def test_terms_work_on_texts(unit):
    """The maps of ``delta`` are the states between layers; rows of words are rows as any other."""
    network, prepared = texts(unit)
    moving = [name for names in _network.stages_above(network, "embedding").values() for name in names]
    model = _network.Model.of(network, 3, cut="embedding", statistics=False, moving=moving)
    counts = np.array([network.count(one) for one in prepared])
    states = network.below(network.collate(prepared), "embedding")
    plain = work_of()

    def batches(index, generator):
        import torch

        rows = torch.zeros(int(counts[index].sum()), dtype=torch.int64)
        return network.below(network.collate([prepared[i] for i in index]), "embedding"), rows, rows + 1.0

    work = replace(plain, model=model, batches=batches, rows=np.arange(len(prepared)))
    names = TERMS if unit == "item" else ("l2_sp", "delta", "bss", "ewc")
    penalties = {name: part_named(name).start(work) for name in names}
    then = between(network, states)
    moved(work, 0.05)
    step = step_of(work, range(len(prepared)))
    expected = sum(float(((now - was) ** 2).mean()) for was, now in zip(then, between(network, states), strict=True))
    assert float(penalties["delta"](step).detach()) == pytest.approx(expected, rel=1e-4)
    for penalty in penalties.values():
        assert float(penalty(step).detach()) > 0
        penalty(step_of(work, range(len(prepared)))).backward()


def between(network, states):
    """The states after each layer, of a batch of states after the embedding."""
    from headstart.backbones import _encoder, _encoder_torch

    built = _encoder.Architecture("bert", **TINY)
    found = []
    for index in (1, 2):
        states = replace(states, rows=_encoder_torch._step(network.module, built, index, states))
        found.append(states.rows.detach())
    return found


# What is averaged: losses of one weight, or of two, of which the answer is known


def quadratic(places, best):
    """The loss of shares: the squared distance of the mean of ``places`` from the ``best`` one."""
    return lambda shares: float(((shares @ np.asarray(places, dtype=float) - best) ** 2).sum())


@pytest.mark.parametrize(
    ("places", "best", "shares"),
    [
        ([0, 1, 2, 4], 0, [1, 0, 0, 0]),  # nothing beats the probe
        ([0, 1, 2, 4], 4, [0, 0, 0, 1]),
        ([0, 4, 2.2, 9], 3, [0, 0.5, 0.5, 0]),  # one from either side
        ([0, 4, 2, 5], 4, [0, 1, 0, 0]),  # the best alone, which every other one would pull away
        ([1, 1, 1, 1], 3, [0.25, 0.25, 0.25, 0.25]),  # what does not raise the loss joins
    ],
)
def test_a_greedy_soup_takes_what_lowers_the_loss(places, best, shares):
    np.testing.assert_allclose(part_named("soup").weigh(3, quadratic(places, best)), shares)


def test_a_soup_is_never_worse_than_the_probe_or_any_run():
    draw = np.random.default_rng(0)
    for _ in range(50):
        places, best = draw.normal(size=(4, 2)), draw.normal(size=2)
        loss = quadratic(places, best)
        shares = part_named("soup").weigh(3, loss)
        assert shares.sum() == pytest.approx(1)
        assert shares.min() >= 0
        assert loss(shares) <= min(loss(one) for one in np.eye(4))


def test_a_soup_leaves_out_what_diverged_and_without_held_out_rows_takes_all():
    loss = quadratic([0, 1, 2, 4], 2)
    found = part_named("soup").weigh(3, lambda shares: float("nan") if shares[2] else loss(shares))
    assert found[2] == 0
    np.testing.assert_allclose(part_named("soup").weigh(2, None), [1 / 3] * 3)


def test_a_soup_of_three_trainings_ships_their_mean():
    problem, _ = toy_problem(n=120, noise=0.1)
    found = Recipe(strategy_named("fine_tune:epochs=1+soup"), lens_of()).fit(problem, plan=Plan(threads=1), seed=1)
    assert len(found.notes["shares"]) == 4
    assert sum(found.notes["shares"]) == pytest.approx(1, abs=1e-5)
    assert strategy_named("soup:rates=0.3/1").average == "soup:rates=0.3/1"
