"""The scores of promise: published laws, closed values, and the formulas computed the long way round."""

import importlib
import inspect
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from headstart import registry
from headstart._linear import Decomposition
from headstart.rankers import Seen
from headstart.tasks.classification import Classification

SHAPES = [(60, 90), (200, 25)]
FEATURE_RANKERS = sorted(set(registry.names("rankers")) - {"leep", "nce"})
NEED_ROWS = ("sfda", "transrate")  # as published they say little of fewer rows than columns; their docstrings say so


def seen(X, labels, *, weights=None, outputs=None):
    names = np.array([f"class {k:03d}" for k in labels], dtype=object)
    task = Classification(tuple(sorted(set(names))))
    return Seen(Decomposition.of(X, weights=weights), task, names, np.arange(len(X)).astype(str), outputs)


def score(name, X, labels, *, weights=None, outputs=None):
    return registry.get("rankers", name)(seen(X, labels, weights=weights, outputs=outputs))


def world(n, d, *, classes=4, signal=1.0, seed=0):
    """Rows of unequal columns away from zero, around class means."""
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, n - classes)])
    means = signal * draw.normal(size=(classes, d))
    return (means[labels] + draw.normal(size=(n, d))) * draw.uniform(0.2, 2, d) + draw.normal(size=d), labels


def probabilities(labels, groups, sure, seed=0):
    raw = np.random.default_rng(seed).normal(size=(len(labels), groups)) + sure * np.eye(groups)[labels]
    return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)


# ── the decomposition ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_principal_scores_are_those_of_a_principal_component_analysis(n, d):
    X, _ = world(n, d)
    found, theirs = Decomposition.of(X), PCA(svd_solver="full").fit_transform(X)
    ours = found.principal()
    assert np.allclose(np.abs(ours), np.abs(theirs[:, : ours.shape[1]]), atol=1e-6)
    assert np.allclose(found.principal(7), ours[:, :7])
    assert found.principal(energy=0.8).shape == PCA(0.8, svd_solver="full").fit_transform(X).shape
    assert found.principal(2, energy=0.8).shape == (n, 2)


def test_principal_scores_keep_distances_also_with_row_weights():
    X, _ = world(50, 80)
    ours = Decomposition.of(X, weights=np.random.default_rng(1).uniform(0.2, 3, 50)).principal()
    assert np.allclose(np.linalg.norm(ours - ours[0], axis=1), np.linalg.norm(X - X[0], axis=1), atol=1e-8)


# ── from the model's own classes ────────────────────────────────────────────────────────────────────────────────────────


def test_leep_and_nce_are_zero_when_the_models_classes_are_ours_and_minus_log_c_when_they_say_nothing():
    labels = np.repeat(np.arange(4), 6)
    X = np.zeros((24, 2))
    for name in ("leep", "nce"):
        assert score(name, X, labels, outputs=np.eye(7)[labels + 2]) == pytest.approx(0)
        assert score(name, X, labels, outputs=np.tile([0.2, 0.5, 0.3], (24, 1))) == pytest.approx(np.log(1 / 4))


def test_leep_is_the_published_double_sum():
    labels = np.random.default_rng(0).integers(0, 3, 50)
    Z, n = probabilities(labels, 5, 1.0), 50
    joint = np.array([[sum(Z[i, z] for i in range(n) if labels[i] == y) / n for z in range(5)] for y in range(3)])
    told = joint / joint.sum(axis=0)
    mean = np.mean([np.log(sum(told[labels[i], z] * Z[i, z] for z in range(5))) for i in range(n)])
    assert score("leep", np.zeros((n, 2)), labels, outputs=Z) == pytest.approx(mean, abs=1e-12)


def test_nce_is_the_conditional_entropy_of_a_small_table():
    labels = np.array([0, 0, 0, 1, 1, 0])
    answers = np.array([5, 5, 5, 5, 2, 2])  # of four rows answered 5, one is of class 1; of two answered 2, one
    expected = -(4 * (-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))) + 2 * np.log(2)) / 6
    assert score("nce", np.zeros((6, 2)), labels, outputs=np.eye(6)[answers]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_a_row_of_weight_two_counts_as_two_rows(name):
    labels = np.random.default_rng(0).integers(0, 3, 40)
    Z, counts = probabilities(labels, 3, 1.0), np.random.default_rng(1).integers(1, 4, 40)
    many = np.repeat(np.arange(40), counts)
    weighted = score(name, np.zeros((40, 2)), labels, weights=counts / counts.mean(), outputs=Z)
    assert weighted == pytest.approx(score(name, np.zeros((len(many), 2)), labels[many], outputs=Z[many]), abs=1e-12)


# ── from the features ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "n"), [(name, n) for name in FEATURE_RANKERS for n in (60, 300) if n > 64 or name not in NEED_ROWS]
)
def test_features_that_hold_the_label_score_above_noise_also_when_rows_are_few(name, n):
    for seed in range(5):
        draw = np.random.default_rng(seed)
        labels, noise = np.arange(n) % 3, draw.normal(size=(n, 64))
        useful = noise.copy()
        useful[:, :3] = 3 * np.eye(3)[labels] + 0.3 * draw.normal(size=(n, 3))
        assert score(name, useful, labels) > score(name, noise, labels)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_hscore_is_the_dense_formula_with_scikit_learns_covariance(n, d, weighted):
    X, labels = world(n, d)
    w = np.random.default_rng(1).uniform(0.2, 3, n) if weighted else np.ones(n)
    w /= w.mean()
    rows = (X - w @ X / n) * np.sqrt(w)[:, None]
    covariance = LedoitWolf(assume_centered=True).fit(rows)
    between = 0.0
    for label in range(4):
        own = labels == label
        apart = w[own] @ X[own] / w[own].sum() - w @ X / n
        between += w[own].sum() / n * apart @ np.linalg.solve(covariance.covariance_, apart)
    expected = (1 - covariance.shrinkage_) * between
    assert score("hscore", X, labels, weights=w if weighted else None) == pytest.approx(expected, rel=1e-8)


def test_hscore_stays_below_the_number_of_classes_and_near_zero_for_noise():
    noise, labels = np.random.default_rng(0).normal(size=(2000, 20)), np.arange(2000) % 3
    assert 0 <= score("hscore", noise, labels) < 0.1
    X, labels = world(200, 25, signal=30)
    assert 2.9 < score("hscore", X, labels) < 3
    wide, labels = np.random.default_rng(0).normal(size=(100, 3000)), np.arange(100) % 4
    bare = Decomposition.of(wide).U.T @ (np.eye(4)[labels] / 5)  # class means in units of the covariance as it is
    assert (bare**2).sum() == pytest.approx(3)  # the most there is, from noise
    assert score("hscore", wide, labels) < 1.5


def test_gbc_is_minus_all_pairs_in_one_place_and_zero_apart():
    X = np.random.default_rng(0).normal(size=(10, 3))
    labels = np.repeat(np.arange(4), 10)
    assert score("gbc", np.tile(X, (4, 1)), labels) == pytest.approx(-4 * 3)
    apart = np.tile(X, (4, 1)) + 100 * np.eye(3)[[0, 1, 2, 0]][labels] * np.array([1, 1, 1, -1])[labels, None]
    assert score("gbc", apart, labels) == pytest.approx(0, abs=1e-12)


def test_gbc_of_two_spheres_is_the_closed_form():
    cross = np.concatenate([np.eye(2), -np.eye(2)])  # variance ½ on each axis
    X = np.concatenate([cross, np.array([1.5, 2.0]) + 3 * cross])
    middle = (0.5 + 4.5) / 2
    distance = 2.5**2 / middle / 8 + 0.5 * np.log(middle / np.sqrt(0.5 * 4.5))
    assert score("gbc", X, np.repeat([0, 1], 4)) == pytest.approx(-2 * np.exp(-distance), abs=1e-12)


def test_gbc_gives_classes_that_are_points_a_variance_of_one_ten_thousandth():
    X = np.array([[0.0, 0], [0, 0], [0.03, 0.04], [0.03, 0.04]])
    assert score("gbc", X, np.array([0, 0, 1, 1])) == pytest.approx(-2 * np.exp(-(0.05**2) / 8e-4), rel=1e-9)


def test_gbc_is_the_published_sum_on_64_axes():
    X, labels = world(150, 100, signal=0.3)
    Z = PCA(64, svd_solver="full").fit_transform(X)
    total = 0.0
    for a in range(4):
        for b in set(range(4)) - {a}:
            s, t = (np.maximum(Z[labels == k].var(axis=0), 1e-4).mean() for k in (a, b))
            squares = ((Z[labels == a].mean(axis=0) - Z[labels == b].mean(axis=0)) ** 2).sum()
            middle = (s + t) / 2
            total += np.exp(-squares / middle / 8 - 0.5 * (np.log(middle) - (np.log(s) + np.log(t)) / 2))
    assert score("gbc", X, labels) == pytest.approx(-total, rel=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_transrate_is_the_dense_formula(n, d):
    X, labels = world(n, d)
    centred = X - X.mean(axis=0)

    def rate(F):
        return 0.5 * np.linalg.slogdet(np.eye(d) + F.T @ F / (len(F) * 1e-4))[1]

    expected = rate(centred) - np.mean([rate(centred[labels == label]) for label in range(4)])
    assert score("transrate", X, labels) == pytest.approx(expected, rel=1e-8)


def test_transrate_is_zero_when_every_class_holds_the_same_rows():
    X = np.random.default_rng(0).normal(size=(20, 5))
    assert score("transrate", np.tile(X, (3, 1)), np.repeat(np.arange(3), 20)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_parc_is_the_rank_correlation_of_two_tables(n, d):
    X, labels = world(n, d)
    pairs = np.triu_indices(n, 1)
    features = 1 - np.corrcoef((X - X.mean(axis=0)) / X.std(axis=0))
    classes = 1 - np.corrcoef(np.eye(4)[labels])
    expected = 100 * spearmanr(features[pairs], np.round(classes[pairs], 9))[0]
    assert score("parc", X, labels) == pytest.approx(expected, abs=1e-8)


def test_parc_is_100_for_the_labels_themselves_and_reads_some_of_many_rows():
    labels = np.arange(60) % 3
    assert score("parc", np.eye(3)[labels], labels) == pytest.approx(100)
    X, labels = world(1600, 10, signal=0.5)
    part = score("parc", X[:900], labels[:900])
    assert abs(score("parc", X, labels) - part) < 2


@pytest.mark.parametrize("scale", [0.05, 0.3])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_sfda_is_two_dense_discriminants(n, d, scale):
    X, labels = world(n, d, signal=0.3)
    X = scale * X
    classes = [labels == label for label in range(4)]

    def fit(F, strength):
        within = sum(own.mean() * np.cov(F[own].T, bias=True) for own in classes)
        strength = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10) if strength is None else strength
        shrunk = (1 - strength) * within + strength * np.trace(within) / d * np.eye(d)
        inverse = np.linalg.inv(shrunk)
        means = np.array([F[own].mean(axis=0) for own in classes])
        raw = F @ inverse @ means.T - 0.5 * np.diag(means @ inverse @ means.T) + np.log([own.mean() for own in classes])
        return np.exp(raw - raw.max(axis=1, keepdims=True)), strength

    raised, strength = fit(X, None)
    sure = np.exp(raised / raised.sum(axis=1, keepdims=True))
    sure = (sure / sure.sum(axis=1, keepdims=True))[np.arange(n), labels]
    mixed = X.copy()
    for label, own in enumerate(classes):
        others = np.mean([X[classes[k]].mean(axis=0) for k in range(4) if k != label], axis=0)
        mixed[own] = sure[own, None] * X[own] + (1 - sure[own, None]) * others
    raised, _ = fit(mixed, strength)
    expected = (raised / raised.sum(axis=1, keepdims=True))[np.arange(n), labels].mean()
    assert score("sfda", X, labels) == pytest.approx(expected, rel=1e-5)


def test_sfda_calls_everything_perfect_when_columns_outnumber_rows():
    noise = 3 * np.random.default_rng(0).normal(size=(60, 90))
    assert score("sfda", noise, np.arange(60) % 3) > 0.999


def test_nleep_is_leep_of_soft_clusters():
    X, labels = world(200, 25, signal=0.5)
    Z = PCA(0.8, svd_solver="full").fit_transform(X)
    found = KMeans(20, n_init=1, random_state=0).fit(Z[np.argsort((Z**2).sum(axis=1))])
    squares = ((Z[:, None] - found.cluster_centers_[None]) ** 2).sum(axis=2)
    raised = np.exp(-squares / (2 * squares.min(axis=1).sum() / Z.size))
    soft = raised / raised.sum(axis=1, keepdims=True)
    told = np.array([soft[labels == label].sum(axis=0) for label in range(4)]) / soft.sum(axis=0)
    expected = np.mean([np.log(told[labels[i]] @ soft[i]) for i in range(200)])
    assert score("nleep", X, labels) == pytest.approx(expected, rel=1e-6)


def test_nleep_is_zero_for_clusters_of_one_class_and_minus_log_c_when_each_row_has_every_label():
    draw = np.random.default_rng(0)
    centres = 100 * draw.normal(size=(15, 8))
    blob = np.arange(300) % 15
    assert score("nleep", centres[blob] + 0.01 * draw.normal(size=(300, 8)), blob // 5) == pytest.approx(0, abs=1e-9)
    rows = draw.normal(size=(100, 8))
    assert score("nleep", np.tile(rows, (3, 1)), np.repeat(np.arange(3), 100)) == pytest.approx(-np.log(3), abs=1e-9)
    assert score("nleep", np.ones((60, 3)), np.arange(60) % 3) == pytest.approx(-np.log(3), abs=1e-9)


def test_nleep_does_not_apply_to_few_rows_or_many_classes():
    X = np.random.default_rng(0).normal(size=(1100, 4))
    assert score("nleep", X[:30], np.arange(30) % 3) is not None
    assert score("nleep", X[:29], np.arange(29) % 3) is None
    assert score("nleep", X, np.arange(1100) % 101) is None


# ── what all of them keep ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(set(FEATURE_RANKERS) - {"parc", "nearest"}))
def test_a_rotation_and_a_shift_change_nothing(name):
    X, labels = world(120, 20, signal=0.4)
    turned = X @ ortho_group.rvs(20, random_state=0) + 3
    assert score(name, turned, labels) == pytest.approx(score(name, X, labels), rel=1e-5)


@pytest.mark.parametrize("name", ["hscore", "logme", "nearest", "nleep", "parc", "ridge_loo"])
def test_the_unit_of_the_features_changes_nothing(name):
    X, labels = world(120, 20, signal=0.4)
    assert score(name, 40 * X, labels) == pytest.approx(score(name, X, labels), rel=1e-5)


@pytest.mark.parametrize("name", FEATURE_RANKERS)
def test_classes_that_are_points_have_a_score(name):
    labels = np.arange(60) % 3
    points = np.random.default_rng(0).normal(size=(3, 5))[labels]
    value = score(name, points, labels)
    assert np.isfinite(value)
    assert value > score(name, points[np.random.default_rng(1).permutation(60)], labels)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_a_model_without_a_head_has_no_score_from_its_classes(name):
    assert score(name, np.zeros((40, 2)), np.arange(40) % 2) is None


@pytest.mark.parametrize("name", registry.names("rankers"))
def test_every_ranker_says_when_to_prefer_it(name):
    assert "*Prefer*" in inspect.getdoc(registry.get("rankers", name))


# ── how good an order is (benchmarks/_ranks.py) ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ranks(monkeypatch):
    folder = Path(__file__).parents[1] / "benchmarks"
    if not folder.exists():
        pytest.skip("not a checkout")
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("_ranks")


def test_weighted_tau_is_one_for_the_same_order_and_counts_the_top_most(ranks):
    reached = np.array([90.0, 80, 70, 60])
    assert ranks.weighted_tau(np.exp(reached / 50), reached) == pytest.approx(1)
    assert ranks.weighted_tau(-reached, reached) == pytest.approx(-1)
    # Weights of a pair are 1/r + 1/r': the four ranks' pairs sum to 6.25, the exchanged first pair has 1.5 of it.
    assert ranks.weighted_tau(np.array([80.0, 90, 70, 60]), reached) == pytest.approx(1 - 2 * 1.5 / 6.25)
    assert ranks.weighted_tau(np.array([90.0, 80, 60, 70]), reached) == pytest.approx(1 - 2 * (1 / 3 + 1 / 4) / 6.25)


def test_regret_is_the_best_less_the_best_of_those_tried(ranks):
    reached = np.array([90.0, 80, 85, 60])
    assert [ranks.regret(np.array([1.0, 3, 2, 4]), reached, k=k) for k in (1, 2, 3, 4)] == [30, 10, 5, 0]
    assert ranks.regret(np.zeros(4), reached) == 30  # ties count against


def test_the_static_list_is_the_mean_z_score_on_the_other_targets(ranks):
    table = np.array([[1.0, 2, 3], [4, 6, 5], [10, 10, 40]])
    up, mixed = np.sqrt(1.5) * np.array([[-1, 0, 1], [-1, 1, 0]])
    last = np.array([-1, -1, 2]) / np.sqrt(2)
    expected = [(mixed + last) / 2, (up + last) / 2, (up + mixed) / 2]
    assert np.allclose(ranks.static_list(table), expected)
    table[2] = [12, 10, np.nan]  # nothing is known of the third model there
    found = ranks.static_list(table)
    assert np.allclose(found[0], [(mixed[0] + 1) / 2, (mixed[1] - 1) / 2, mixed[2]])


def test_published_tables_give_the_published_static_lists(ranks):
    tables = Path(os.environ.get("HEADSTART_DATA", "nowhere")) / "ranking_tables"
    if not tables.exists():
        pytest.skip("HEADSTART_DATA has no ranking_tables/")
    for name, golden in (("sfda_group1", 0.826), ("sfda_group2", 0.692)):
        _, _, reached = ranks.read_table(tables / f"{name}.csv", "target", model=("model",), reached="fine_tuned_accuracy")
        pairs = zip(ranks.static_list(reached), reached, strict=True)
        assert np.mean([ranks.weighted_tau(*pair) for pair in pairs]) == pytest.approx(golden, abs=5e-4)


@pytest.mark.parametrize(("n", "k"), [(60, 3), (201, 3), (200, 3), (100, 2), (400, 10)])
def test_features_that_tell_nothing_know_no_answer_by_a_rounding_error(n, k):
    names = tuple(f"class-{i:02d}" for i in range(k))
    targets, task = np.resize(np.array(names, dtype=object), n), registry.get("tasks", "classification")(classes=names)
    seen = Seen(Decomposition.of(np.ones((n, 5))), task, targets, np.arange(n).astype(str))
    assert registry.get("rankers", "ridge_loo")(seen) == pytest.approx(1 / k, abs=1.5 / n)
