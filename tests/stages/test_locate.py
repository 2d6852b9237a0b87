"""Which layers transfer: the profile, the freeze plan, and a network that is tuned by it."""

import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from headstart import _events, _io, _network, cli, from_arrays, read
from headstart._linear import fit_temperature
from headstart.backbones import find, known
from headstart.backbones._images import image_backbone
from headstart.errors import NotAdmissible, RunError, UnknownName
from headstart.features import Features, FeatureStore, Lens, Move, Profile
from headstart.report._models import layers
from headstart.stages import _gradients
from headstart.stages import locate as module
from headstart.stages._gradients import relative_gradients
from headstart.stages._similarity import linear_cka
from headstart.stages.estimate import estimate
from headstart.stages.locate import locate
from headstart.strategy import Plan, Predictor, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem
from headstart.tuning import part_named

QUICK = Plan(threads=1, tuned_epochs=2, whole=True)
READING = Plan(threads=1, tuned_epochs=0)
EXAMPLES = Path(__file__).parents[2] / "examples"


def located(problem, backbone, **changes):
    heard = []
    with _events.listen(heard.append):
        found = locate(problem, backbone, plan=replace(READING, **changes))
    return found, heard


# the profile


def test_the_cut_is_the_shallowest_tap_within_one_paired_error():
    problem, _ = toy_problem(n=150, informative="features")
    base = toy_backbone()
    Y, targets = problem.task.columns(problem.train.targets), problem.train.targets
    losses = {}
    for tap in base.taps:
        X = base.features(problem.train.inputs, [tap.name])[tap.name].rows.astype(float)
        raw = brute_force(X, Y) + Y.mean(axis=0) - (Y.sum(axis=0) - Y) / (len(Y) - 1)  # class shares are taken as known
        losses[tap.name] = problem.task.losses(raw / fit_temperature(raw, problem.task, targets), targets)
    profile, _ = located(problem, base)
    for one in profile.scores:
        assert one.log_loss == pytest.approx(losses[one.tap].mean(), rel=1e-6)
    best = min(losses, key=lambda tap: losses[tap].mean())
    more = {tap: loss - losses[best] for tap, loss in losses.items()}
    error = {tap: m.std(ddof=1) / np.sqrt(len(m)) for tap, m in more.items()}
    shallowest = next(tap for tap in losses if more[tap].mean() <= error[tap])
    assert profile.read == best
    assert f"'{shallowest}' is the shallowest" in profile.reason


def brute_force(X, Y):
    """Ridge predictions of each row by a fit of the others, centred on all rows, at the strength with the least error."""
    X = X - X.mean(axis=0)
    strengths = np.geomspace(1e-4, 1e4, 20) * np.mean([v for v in np.linalg.eigvalsh(X.T @ X) if v > 1e-9])
    tried = []
    for strength in strengths:
        out = np.zeros(Y.shape)
        for i in range(len(X)):
            A, B = np.delete(np.c_[X, np.ones(len(X))], i, axis=0), np.delete(Y, i, axis=0)
            penalty = np.diag([strength] * X.shape[1] + [0.0])
            out[i] = np.r_[X[i], 1.0] @ np.linalg.solve(A.T @ A + penalty, A.T @ B)
        tried.append(((Y - out) ** 2).sum())
        if tried[-1] == min(tried):
            best = out
    return best


LITE = "efficientnet_lite0"
installed = pytest.mark.skipif(
    not any(one.name == LITE and one.installed for one in known("image")), reason=f"the weights of {LITE} are not installed"
)


@dataclass(frozen=True)
class Damaged:
    """The weights of a backbone, random above a block."""

    base: object
    above: int
    seed: int

    def __call__(self, seed):
        from headstart.backbones import _convnet

        whole, random = dict(self.base.weights(0)), _convnet.initial(self.base.architecture, self.seed)
        kept = ("_conv_stem", "_bn0", *(f"_blocks.{i}." for i in range(self.above + 1)))
        return {name: array if name.startswith(kept) else random.get(name, array) for name, array in whole.items()}


@installed
@pytest.mark.parametrize("above", [7, 10])  # the next block has no way around it
def test_the_cut_is_not_above_a_layer_that_knows_nothing(above):
    problem, _ = read(EXAMPLES / "clothing")
    problem = problem.shrink(20)
    base, hits = find(LITE), []
    small = replace(base.preprocess, side=64)
    for seed in range(2):
        weights = Damaged(base, above, seed)
        card = replace(base.card, name=f"damaged-{above}-{seed}")
        damaged = image_backbone(
            base.architecture, small, weights, card=card, identity=f"damaged-{above}-{seed}", pretrained=True
        )
        profile, _ = located(problem, damaged)
        places = [one.tap for one in profile.scores]
        hits.append(places.index(profile.cut) <= places.index(f"block{above}"))
    assert all(hits)


def test_a_record_survives_and_an_old_one_is_still_read():
    problem, _ = toy_problem(n=120)
    profile = locate(problem, toy_backbone(), plan=QUICK)
    assert profile.plan
    assert Profile.from_dict(_io.plain(profile)) == profile
    old = {k: v for k, v in _io.plain(profile).items() if k not in ("plan", "similarity")}
    assert Profile.from_dict(old) == replace(profile, plan=(), similarity=())
    assert Profile.from_dict(old).plan == ()


def test_a_layer_that_is_not_there_is_named_with_the_nearest():
    base = toy_backbone()
    with pytest.raises(UnknownName, match=r"that can be cut at is called 'stage9'\. Did you mean 'stage"):
        Lens(((base, base.taps[0].name),), cut="stage9")
    with pytest.raises(UnknownName, match="'elsewhere'"):
        Lens(((base, base.taps[0].name),), plan=(Move("elsewhere", 1.0),))


@pytest.mark.parametrize("change", [{"read": "block99"}, {"cut": "block99"}, {"plan": (Move("block99", 1.0),)}])
def test_a_damaged_profile_is_not_blamed_on_the_user(change):
    sound = Profile("efficientnet_lite0", (), "block3", "block3", "")
    with pytest.raises(
        RunError, match=r"profile of 'efficientnet_lite0' does not fit it: .*block99.* Run `headstart locate`"
    ):
        replace(sound, **change).lens()


def test_layers_are_read_in_one_pass():
    problem, _ = toy_problem(n=80)
    calls = []

    @dataclass(frozen=True, eq=False)
    class Counting(type(toy_backbone())):
        def features(self, inputs, taps, *, view=""):
            calls.append(len(inputs))
            return super().features(inputs, taps, view=view)

    locate(problem, Counting(**vars_of(toy_backbone())), plan=READING)
    assert calls == [80]


def vars_of(record):
    return {one.name: getattr(record, one.name) for one in fields(record)}


# odd data


def test_constant_features_give_a_finite_profile():
    problem, _ = toy_problem(n=60)
    flat = replaced_features(lambda rows: np.ones_like(rows))
    profile, _ = located(problem, flat)
    assert all(np.isfinite([one.score, one.log_loss, one.error]).all() for one in profile.scores)
    assert profile.cut == "stage1"
    assert not np.any(profile.similarity)  # a constant layer is like nothing


def replaced_features(change):
    @dataclass(frozen=True, eq=False)
    class Changed(type(toy_backbone())):
        def features(self, inputs, taps, *, view=""):
            found = super().features(inputs, taps, view=view)
            return {tap: Features.one_each(change(one.rows)) for tap, one in found.items()}

    return Changed(**vars_of(toy_backbone()))


def test_more_classes_than_rows_of_any_class():
    rng = np.random.default_rng(0)
    problem, _ = read(from_arrays(rng.normal(size=(40, 12)), [f"class-{i % 20:02d}" for i in range(40)]))
    profile = locate(problem, toy_backbone(), plan=QUICK)
    assert all(np.isfinite([one.score, one.log_loss, one.error]).all() for one in profile.scores)


# memory


def test_little_memory_means_fewer_rows_and_is_told(monkeypatch):
    problem, _ = toy_problem(n=400)
    monkeypatch.setattr(module, "available_memory", lambda: 3 * 8 * 16 * 100)
    store = FeatureStore()
    heard = []
    with _events.listen(heard.append):
        locate(problem, toy_backbone(), store=store, plan=READING)
    assert len(store.missing(toy_backbone(), problem.train, "stage1")) == pytest.approx(300, abs=3)
    assert any("at most 100 rows instead of 2,000" in event.message for event in heard)


def test_a_layer_too_wide_for_memory_is_left_out_and_told(monkeypatch):
    problem, _ = toy_problem(n=100)

    @dataclass(frozen=True, eq=False)
    class Wide(type(toy_backbone())):
        @property
        def taps(self):
            first, *others = super().taps
            return (replace(first, width=10**9), *others)

    monkeypatch.setattr(module, "available_memory", lambda: 10**9)
    profile, heard = located(problem, Wide(**vars_of(toy_backbone())))
    assert [one.tap for one in profile.scores] == ["stage2", "stage3"]
    assert any(event.kind == "warning" and "'stage1' (1,000,000,000 wide)" in event.message for event in heard)


def test_no_layer_fits_at_all(monkeypatch):
    problem, _ = toy_problem(n=100)
    monkeypatch.setattr(module, "available_memory", lambda: 1000)
    with pytest.raises(NotAdmissible, match="No layer of 'toy_useful' fits into memory"):
        locate(problem, toy_backbone(), plan=READING)


# how alike layers are


def test_cka_of_known_matrices():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(40, 100)), rng.normal(size=(40, 60))
    turned = A @ np.linalg.qr(rng.normal(size=(100, 100)))[0]
    found = linear_cka([A, B, 3 * turned + 5, np.ones((40, 2))])
    assert found[0, 2] == pytest.approx(1)  # rotation, scale and shift change nothing
    assert abs(found[0, 1]) < 0.1  # without debiasing, independent features with n < d come out at 0.6
    assert np.all(found[3] == 0)
    assert found[0, 1] == pytest.approx(hsic(A, B) / np.sqrt(hsic(A, A) * hsic(B, B)))
    assert not linear_cka([A[:3], B[:3]]).any()


def hsic(X, Y):
    """The unbiased estimate as Song et al. (2012) write it."""
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    K, L, n, one = X @ X.T, Y @ Y.T, len(X), np.ones(len(X))
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    both = np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ K @ L @ one)
    return both / (n * (n - 3))


# gradients


def test_relative_gradients_are_those_of_the_formula():
    problem, _ = toy_problem(n=150, noise=0.2)
    base, rows = toy_backbone(), problem.train.take(np.arange(16))
    head, bias = np.random.default_rng(1).normal(size=(16, 3)), np.zeros(3)
    model = _network.Model.of(base.network(), 3, statistics=False)
    model.set_head(head, bias)
    found = _gradients._norms(model, problem.task, rows, Lens(((base, "stage3"),)))
    below = base.features(rows.inputs, ["stage2"])["stage2"].rows.astype(float)
    W, b = base.weights["stage3.weight"].astype(float), base.weights["stage3.bias"]
    above = below @ W.T + b
    scores = np.maximum(above, 0) @ head
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    residual = raised / raised.sum(axis=1, keepdims=True) - problem.task.columns(rows.targets)
    gradient = ((residual @ head.T) * (above > 0)).T @ below / len(rows)
    assert found["stage3"] == pytest.approx(np.linalg.norm(gradient) / np.linalg.norm(W), rel=1e-4)


def test_gradients_come_from_rows_that_the_head_has_not_seen(monkeypatch):
    problem, _ = toy_problem(n=150)
    fitted, pulled = [], []
    probe, norms = _gradients._probe, _gradients._norms
    monkeypatch.setattr(
        _gradients, "_probe", lambda task, rows, lens: fitted.extend(rows.fingerprints) or probe(task, rows, lens)
    )
    monkeypatch.setattr(
        _gradients, "_norms", lambda m, t, rows, lens: pulled.append(rows.fingerprints) or norms(m, t, rows, lens)
    )
    lens = Lens(((toy_backbone(), "stage3"),))
    found = relative_gradients(problem.task, lens, problem.train)
    assert list(found) == ["stage1", "stage2", "stage3"]
    above = relative_gradients(problem.task, replace(lens, cut="stage1"), problem.train)
    assert above == pytest.approx({stage: found[stage] for stage in ("stage2", "stage3")}, rel=1e-2)  # states are halves
    assert len(pulled) >= 5
    assert fitted
    assert not set(fitted) & {item for batch in pulled for item in batch}


def test_without_time_for_the_whole_network_there_are_no_gradients_and_no_torch():
    code = """
import sys
from headstart.stages.estimate import estimate
from headstart.stages.locate import locate
from headstart.strategy import Plan
from headstart.testing import toy_backbone, toy_problem
profile = locate(toy_problem(n=60)[0], toy_backbone(), plan=Plan())
assert [move.share for move in profile.plan] == [0.0, None, None] and profile.cut == "stage1" and len(profile.similarity) == 3
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_with_time_for_the_whole_network_every_stage_moves_by_its_gradient():
    problem, _ = toy_problem(n=150, noise=0.2)
    profile, _ = located(problem, toy_backbone(), tuned_epochs=4, whole=True)
    found = relative_gradients(problem.task, Lens(((toy_backbone(), "stage3"),)), problem.train)
    assert profile.cut is None
    assert {move.stage: move.share for move in profile.plan} == {
        stage: pytest.approx(pull / max(found.values()), abs=1e-3) for stage, pull in found.items()
    }
    strongest = max(found, key=found.get)
    assert f"'{strongest}' at the full one" in profile.reason
    assert profile.lens().plan == profile.plan


def test_an_hour_is_time_for_the_whole_network_a_minute_is_not():
    problem, _ = toy_problem(n=150)
    assert estimate(problem, 3600).whole
    assert not estimate(problem, 60).whole
    assert not estimate(problem, 600).whole


def test_more_looks_are_read_only_where_there_is_time():
    problem, _ = toy_problem(n=150)
    views = [estimate(problem, seconds).views for seconds in (60, 300, 3600)]
    assert views == sorted(views)
    assert (views[0], views[-1]) == (1, 4)


# a plan is obeyed


def tuned(plan, cut=None, **changes):
    problem, exam = toy_problem(n=120, noise=0.1)
    base = toy_backbone(useful=False)
    lens = Lens(((base, "stage3"),), cut, plan=plan)
    recipe = Recipe(replace(strategy_named("fine_tune+last"), **changes), lens)
    predictor = recipe.fit(problem, plan=replace(QUICK, tuned_epochs=4), seed=0)
    after = {n: t.numpy() for n, t in predictor.scorer.model.network.module.state_dict().items()}
    moved = {
        stage
        for stage in ("stage1", "stage2", "stage3")
        if (after[f"{stage}.weight"] != base.weights[f"{stage}.weight"]).any()
    }
    return predictor, moved, exam


def test_stages_without_a_share_stay_bit_for_bit():
    plan = (Move("stage1", 0.0), Move("stage2", 1.0), Move("stage3", 0.0))
    predictor, moved, exam = tuned(plan, "stage1")
    assert moved == {"stage2"}
    state, arrays = predictor.state()
    assert not any("stage3" in name or "stage1" in name for name in arrays)
    again = Predictor.restore(_io.plain(state), arrays, predictor.lens)
    assert np.array_equal(again.scores(exam.examples), predictor.scores(exam.examples))
    assert tuned(())[1] == {"stage1", "stage2", "stage3"}


def test_stages_move_at_their_share_of_the_rate():
    network = toy_backbone().network()
    plan = (Move("stage1", 0.25), Move("stage2", 0.0), Move("stage3", 1.0))
    lens = Lens(((toy_backbone(), "stage3"),), plan=plan)
    strategy = strategy_named("fine_tune:weight_decay=0")
    speeds = part_named(strategy.moves).speeds(network, lens.cut, plan)
    model = _network.Model.of(network, 3, moving=[name for speed in speeds for name in speed.names])
    rates = {id(p): group["lr"] for group in strategy._groups(model, speeds) for p in group["params"]}
    own = dict(network.module.named_parameters())
    assert rates[id(own["stage1.weight"])] == pytest.approx(0.25 * network.rate)
    assert rates[id(own["stage3.bias"])] == pytest.approx(network.rate)
    assert id(own["stage2.weight"]) not in rates


def test_a_plan_is_part_of_a_recipe_and_nothing_is_where_there_is_none():
    lens = Lens(((toy_backbone(), "stage3"),))
    planned = replace(lens, plan=(Move("stage1", 0.0, 0.3), Move("stage2", 0.5, 0.7)))
    assert "plan" not in lens.spec()
    assert planned.spec()["plan"] == [["stage1", 0.0], ["stage2", 0.5]]
    assert Recipe(strategy_named("fine_tune"), lens).hash != Recipe(strategy_named("fine_tune"), planned).hash
    assert planned.untrained().plan == ()


def test_the_table_says_what_to_read_and_how_fast_each_layer_moves():
    problem, _ = toy_problem(n=150, noise=0.2)
    whole, _ = located(problem, toy_backbone(), tuned_epochs=4, whole=True)
    rows = {row[0]: row for row in cli._layers(whole)}
    assert "tuning" in rows["layer"]
    for move in whole.plan:
        assert f"{move.share:.2f}" in rows[move.stage]
    assert [name for name, row in rows.items() if row[-1] == "read"] == [whole.read]
    upper, _ = located(problem, toy_backbone())
    assert [row[0] for row in cli._layers(upper) if "cut" in row[-1]] == ["stage1"]


def test_the_report_shows_the_plan_and_how_alike_layers_are():
    problem, _ = toy_problem(n=150, noise=0.2)
    profile, _ = located(problem, toy_backbone(), tuned_epochs=4, whole=True)
    records = SimpleNamespace(profile=profile, task="classification", metric="accuracy")
    shown = layers(records)
    assert "What tuning moves: 3 of 3 layers" in shown
    assert shown.count("<rect") == 9
    assert "stage1 and stage3" in shown
    bare = layers(
        SimpleNamespace(profile=replace(profile, plan=(), similarity=()), task="classification", metric="accuracy")
    )
    assert "What tuning moves" not in bare
    assert "<rect" not in bare
