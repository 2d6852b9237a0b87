"""The laws of tasks, and their metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from headstart import _cutting, registry
from headstart.errors import NotAdmissible, ProblemError
from headstart.problem import Examples, Items
from headstart.tasks.classification import Classification
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression
from headstart.tasks.token_labels import TokenLabels
from headstart.testing import check_task

NAMES = ("a", "b", "c", "d")


def draw(task, seed, n=40):
    rng = np.random.default_rng(seed)
    if task.name == "regression":
        y = rng.normal(5, 3, n)
        return y, y + rng.normal(0, 1, n)
    if task.name == "token_labels":
        sentences = np.empty((2, n), dtype=object)
        for row, length in enumerate(rng.integers(1, 8, n)):
            sentences[:, row] = [tuple(tags) for tags in rng.choice(task.classes, (2, length))]
        return sentences[0], sentences[1]
    if task.name == "multi_label":
        tables = rng.random((2, n, 4)) < 0.4
        both = []
        for table in tables:
            column = np.empty(n, dtype=object)
            column[:] = [tuple(np.array(NAMES)[row]) for row in table]
            both.append(column)
        return both[0], both[1]
    return rng.choice(NAMES, n).astype(object), rng.choice(NAMES, n).astype(object)


ALL = [
    Classification(NAMES),
    Classification(NAMES, metric="balanced_accuracy"),
    Classification(NAMES, metric="macro_f1", class_weights="balanced"),
    MultiLabel(NAMES),
    MultiLabel(NAMES, metric="micro_f1"),
    Regression("price", mean=5.0, scale=3.0),
    TokenLabels(("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
]


def test_every_registered_task_is_here():
    assert {task.name for task in ALL} == set(registry.names("tasks"))


@pytest.mark.parametrize("task", ALL, ids=lambda task: f"{task.name}-{task.metric}")
def test_laws(task):
    for seed in range(3):
        check_task(task, *draw(task, seed))


@given(st.integers(0, 10**6), st.integers(12, 60))
@settings(max_examples=40, deadline=None)
def test_metrics_equal_scikit_learn(seed, n):
    truth, answer = draw(ALL[0], seed, n)
    expected = {
        "accuracy": metrics.accuracy_score(truth, answer),
        "balanced_accuracy": np.mean([(answer[truth == c] == c).mean() for c in np.unique(truth)]),
        "macro_f1": metrics.f1_score(truth, answer, average="macro", zero_division=0),
    }
    for metric, value in expected.items():
        task = Classification(NAMES, metric=metric)
        assert task.score(task.outcomes(truth, answer)) == pytest.approx(value, abs=1e-12)
    truth, answer = draw(ALL[3], seed, n)
    tables = ALL[3].encode(truth), ALL[3].encode(answer)
    for metric in ("macro", "micro"):
        task = MultiLabel(NAMES, metric=f"{metric}_f1")
        labels = [i for i in range(4) if tables[0][:, i].any() or tables[1][:, i].any()]
        value = metrics.f1_score(*tables, average=metric, labels=labels, zero_division=0)
        assert task.score(task.outcomes(truth, answer)) == pytest.approx(value, abs=1e-12)
    y, guess = draw(ALL[5], seed, n)
    assert ALL[5].score(ALL[5].outcomes(y, guess)) == pytest.approx(metrics.r2_score(y, guess), abs=1e-9)


@pytest.mark.parametrize("task", ALL[:4], ids=lambda task: f"{task.name}-{task.metric}")
def test_numpy_losses_equal_the_torch_loss(task):
    import torch

    targets, _ = draw(task, 0)
    scores = np.random.default_rng(1).normal(size=(len(targets), task.width))
    torch_loss = task.loss(torch.tensor(scores), torch.tensor(task.encode(targets))).numpy()
    assert np.allclose(task.losses(scores, targets), torch_loss, atol=1e-9)


@given(st.integers(0, 10**6), st.integers(20, 80), st.integers(2, 6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_no_cut_divides_a_block(seed, n, k, size):
    rng = np.random.default_rng(seed)
    strata, blocks = rng.integers(0, 3, n), rng.permutation(np.arange(n) // size).astype(str).astype(object)
    fold = _cutting.folds(strata, blocks, k=k, seed=seed)
    keep, held = _cutting.split(strata, blocks, fraction=0.3, seed=seed)
    part = _cutting.shrink(strata, blocks, amount=4, seed=seed)
    for block in np.unique(blocks):
        members = blocks == block
        assert len(set(fold[members])) == 1
    assert not set(blocks[keep]) & set(blocks[held])
    assert sorted([*keep, *held]) == list(range(n))
    more = _cutting.shrink(strata, blocks, amount=8, seed=seed)
    assert set(part) <= set(more)
    again = _cutting.folds(strata, blocks, k=k, seed=seed)
    assert (fold == again).all()


def test_folds_and_splits_keep_classes_in_proportion():
    strata = np.repeat([0, 1, 2], [50, 30, 10])
    blocks = np.arange(90).astype(str)
    fold = _cutting.folds(strata, blocks, k=5, seed=0)
    table = np.array([np.bincount(strata[fold == k], minlength=3) for k in range(5)])
    assert (table == [10, 6, 2]).all()
    _, held = _cutting.split(strata, blocks, fraction=1 / 5, seed=0)
    assert (np.bincount(strata[held]) == [10, 6, 2]).all()


def test_bad_targets_are_named():
    def examples(targets):
        n = len(targets)
        column = np.empty(n, dtype=object)
        column[:] = targets
        return Examples.of(Items("numbers", [np.zeros(1)] * n, tuple("x" * n), tuple(map(str, range(n))), column))

    with pytest.raises(ProblemError, match="only one class, 'a'"):
        Classification(("a",)).check(examples(["a", "a"]))
    with pytest.raises(ProblemError, match="Class 'b' has 1 training example"):
        Classification(("a", "b")).check(examples(["a", "a", "b"]))
    with pytest.raises(ProblemError, match="Class 'z' is not one of"):
        Classification(("a", "b")).encode(np.array(["z"], dtype=object))
    with pytest.raises(ProblemError, match="1 targets are not finite"):
        Regression().check(examples([1.0, 2.0, np.nan, 4.0]))
    with pytest.raises(ProblemError, match=r"Every target is 1\.0"):
        Regression().check(examples([1.0] * 5))
    with pytest.raises(NotAdmissible, match="no class probabilities"):
        Regression().proba(np.zeros((1, 1)))
    with pytest.raises(ProblemError, match="'auc' is no metric"):
        Classification(("a", "b"), metric="auc")


def test_balanced_weights_give_every_class_the_same_say():
    targets = np.array(["a"] * 9 + ["b"], dtype=object)
    weights = Classification(("a", "b"), class_weights="balanced").item_weights(targets)
    assert weights[targets == "a"].sum() == pytest.approx(weights[targets == "b"].sum())
    assert weights.mean() == pytest.approx(1)


def test_large_blocks_still_give_an_exam_where_there_are_two():
    strata, blocks = np.repeat([0, 1], 20), np.repeat([0, 1, 2, 3], 10).astype(str)
    keep, held = _cutting.split(strata, blocks, fraction=0.1, seed=0)
    assert len(held) == 20
    assert set(strata[held]) == set(strata[keep]) == {0, 1}
