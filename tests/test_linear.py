"""The closed forms, against brute force and against dense formulas."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, RidgeCV

from headstart._linear import Decomposition, fit_temperature, fold_pairs, logistic, probe_head
from headstart.tasks.classification import Classification
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression

SHAPES = [(40, 90), (120, 25)]


def world(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d) + rng.normal(size=d)
    Y = np.column_stack([X[:, :3].sum(axis=1), X[:, 1] ** 2]) + rng.normal(size=(n, 2))
    return X, Y, rng.uniform(0.2, 3, n)


def refit(Z, Y, w, strength, keep):
    """Weighted ridge with a free intercept, by the normal equations."""
    A = np.column_stack([Z[keep], np.ones(keep.sum())])
    penalty = strength * np.eye(A.shape[1])
    penalty[-1, -1] = 0
    return np.linalg.solve(A.T @ (A * w[keep, None]) + penalty, A.T @ (Y[keep] * w[keep, None]))


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leave_one_out_equals_refits(n, d):
    X, Y, w = world(n, d)
    found = Decomposition.of(X, weights=w)
    for strength in found.strengths[[4, 10, 15]]:
        left_out = found.leave_one_out(Y, strength)
        for i in range(n):
            beta = refit(found.matrix, Y, found.weights, strength, np.arange(n) != i)
            assert np.abs(np.append(found.matrix[i], 1) @ beta - left_out[i]).max() < 1e-8


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leaving_blocks_out_equals_refits(n, d):
    X, Y, w = world(n, d)
    found, blocks = Decomposition.of(X, weights=w), np.repeat(np.arange(n // 4), 4)
    left_out = found.leave_one_out(Y, found.strengths[10], blocks=blocks)
    for block in range(n // 4):
        keep = blocks != block
        beta = refit(found.matrix, Y, found.weights, found.strengths[10], keep)
        rows = np.column_stack([found.matrix[~keep], np.ones(4)])
        assert np.abs(rows @ beta - left_out[~keep]).max() < 1e-8


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_select_agrees_with_the_slow_way_and_with_scikit_learn(n, d):
    X, Y, _ = world(n, d)
    found = Decomposition.of(X)
    strength, left_out = found.select(Y[:, :1])
    errors = [((Y[:, :1] - found.leave_one_out(Y[:, :1], lam)) ** 2).sum() for lam in found.strengths]
    assert strength == found.strengths[int(np.argmin(errors))]
    assert np.allclose(left_out, found.leave_one_out(Y[:, :1], strength), atol=1e-9)
    theirs = RidgeCV(alphas=found.strengths).fit(found.matrix, Y[:, 0])
    assert theirs.alpha_ == pytest.approx(strength)
    weights, bias = found.coefficients(Y[:, :1], strength)
    assert np.allclose(X @ weights[:, 0] + bias[0], theirs.predict(found.matrix), atol=1e-8)


def test_kernel_form_equals_linear_form():
    X, Y, w = world(60, 20)
    linear = Decomposition.of(X, weights=w)
    kernel = Decomposition.of_kernel(linear.matrix @ linear.matrix.T, weights=w)
    strength = linear.strengths[9]
    assert np.allclose(kernel.leave_one_out(Y, strength), linear.leave_one_out(Y, strength), atol=1e-8)
    fitted = linear.matrix @ linear.matrix.T @ kernel.dual(Y, strength)
    bias = (kernel.weights @ (Y - fitted)) / len(Y)
    weights, offset = linear.coefficients(Y, strength)
    assert np.allclose(fitted + bias, X @ weights + offset, atol=1e-8)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_evidence_is_the_largest_dense_evidence(n, d):
    X, Y, _ = world(n, d)
    found, t = Decomposition.of(X), Y[:, 0] - Y[:, 0].mean()
    basis = np.linalg.svd(np.eye(n) - 1 / n)[0][:, : n - 1]  # centred vectors live in n − 1 dimensions
    F, q = basis.T @ found.matrix, basis.T @ t

    def dense(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(n - 1) / beta + F @ F.T / alpha
        return 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1] + 0.5 * q @ np.linalg.solve(covariance, q)

    options = {"xatol": 1e-8, "fatol": 1e-11, "maxiter": 5000}
    best = min(minimize(dense, start, method="Nelder-Mead", options=options).fun for start in ([0, 0], [5, -3], [3, 3]))
    assert found.evidence(Y[:, 0]) == pytest.approx(-best / (n - 1), abs=1e-6)


def test_evidence_prefers_features_that_hold_the_answer_also_when_rows_are_few():
    rng = np.random.default_rng(0)
    for n, d in ((60, 64), (300, 64)):
        t = rng.normal(size=n)
        noise = rng.normal(size=(n, d))
        useful = noise.copy()
        useful[:, 0] = t + 0.3 * rng.normal(size=n)
        assert Decomposition.of(useful).evidence(t) > Decomposition.of(noise).evidence(t)


def test_logistic_reaches_scikit_learns_optimum():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8))
    y = (X[:, :3] + 0.5 * rng.normal(size=(200, 3))).argmax(axis=1)
    lam, unit = 0.1, float((X**2).sum() / 200)
    start = (np.zeros((8, 3)), np.zeros(3))
    W, b = logistic(X, np.eye(3)[y], lam, weights=np.ones(200), link="softmax", start=start, iterations=2000)
    theirs = LogisticRegression(C=unit / (lam * 200), tol=1e-10, max_iter=5000).fit(X, y)
    ours, other = X @ W + b, X @ theirs.coef_.T + theirs.intercept_
    assert np.abs((ours - ours.mean(1, keepdims=True)) - (other - other.mean(1, keepdims=True))).max() < 2e-2


def test_probe_head_learns_each_kind_of_target():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 10))
    names = np.array(["a", "b", "c"], dtype=object)[X[:, :3].argmax(axis=1)]
    task = Classification(("a", "b", "c"))
    head = probe_head(X[:200], task, names[:200])
    assert (task.decode(X[200:] @ head.weights + head.bias) == names[200:]).mean() > 0.9
    both = np.empty(300, dtype=object)
    both[:] = [tuple(n for n, on in zip("xy", row, strict=True) if on) for row in X[:, :2] > 0]
    many = MultiLabel(("x", "y"))
    head = probe_head(X[:200], many, both[:200])
    assert many.score(many.outcomes(both[200:], many.decode(X[200:] @ head.weights + head.bias))) > 0.9
    numbers = Regression(mean=float(X[:, 0].mean()), scale=2.0)
    head = probe_head(X[:200], numbers, X[:200, 0])
    assert numbers.score(numbers.outcomes(X[200:, 0], numbers.decode(X[200:] @ head.weights + head.bias))) > 0.99


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3))
    task = Classification(("a", "b", "c"))
    drawn = (honest + rng.gumbel(size=honest.shape)).argmax(axis=1)
    targets = np.array(task.classes, dtype=object)[drawn]
    assert fit_temperature(5 * honest, task, targets) == pytest.approx(5, rel=0.1)


def test_a_constant_column_changes_nothing():
    X, Y, _ = world(60, 10)
    plain, padded = Decomposition.of(X), Decomposition.of(np.column_stack([X, np.full(60, 7.0)]))
    assert np.allclose(plain.leave_one_out(Y, 1.0), padded.leave_one_out(Y, 1.0), atol=1e-8)
    assert np.isfinite(padded.coefficients(Y, 1.0)[0]).all()


def test_probe_head_keeps_blocks_whole_when_it_chooses():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 10)
    label = rng.permutation(np.repeat(["a", "b"], 15))[patient].astype(object)
    X = rng.normal(size=(30, 40))[patient] * 3 + 0.3 * rng.normal(size=(300, 40))  # who it is, and nothing about the label
    task = Classification(("a", "b"))
    honest = probe_head(X, task, label, blocks=patient.astype(str))
    fooled = probe_head(X, task, label)
    new = rng.normal(size=(300, 40)) * 3
    truth = rng.permutation(label)
    loss = lambda head: task.losses((new @ head.weights + head.bias) / head.temperature, truth).mean()  # noqa: E731
    assert loss(honest) < 0.9 < loss(fooled)


def test_a_rare_class_does_not_lower_the_folds_for_all():
    draw = np.random.default_rng(0)
    Y = np.eye(4)[np.concatenate([draw.integers(0, 3, 400), [3]])]
    pairs = fold_pairs(Y, np.arange(401), "softmax")
    assert len(pairs) == 5
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == list(range(401))


def test_a_block_of_more_rows_than_columns_is_left_out_exactly():
    draw = np.random.default_rng(3)
    X, Y = draw.normal(size=(60, 4)), draw.normal(size=(60, 2))
    blocks = np.where(np.arange(60) < 40, 0, np.arange(60))  # 40 rows in one block, 4 columns
    found = Decomposition.of(X)
    left = found.leave_one_out(Y, 2.5, blocks=blocks)
    hat = found.U @ np.diag(found.s2 / (found.s2 + 2.5)) @ found.U.T + 1 / 60
    part = hat[:40, :40]
    expected = Y[:40] - np.linalg.solve(np.eye(40) - part, (Y - hat @ Y)[:40])
    assert np.allclose(left[:40], expected)


@pytest.mark.parametrize("unit", [1e-4, 1e-2, 1e2])
def test_a_probe_does_not_depend_on_the_unit_of_its_features(unit):
    rng = np.random.default_rng(0)
    names = np.array([f"class-{i:02d}" for i in range(40)], dtype=object)
    task, targets = Classification(classes=tuple(names)), np.repeat(names, 4)
    X = np.repeat(rng.normal(size=(40, 64)), 4, axis=0) + 0.7 * rng.normal(size=(160, 64))
    one, other = probe_head(X, task, targets), probe_head(unit * X, task, targets)
    assert one.strength == other.strength
    np.testing.assert_allclose(unit * X @ other.weights + other.bias, X @ one.weights + one.bias, atol=1e-2)
