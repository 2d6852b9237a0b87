"""The scikit-learn faces, held to scikit-learn's own checks."""

import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from headstart.errors import NotAdmissible, ProblemError, UnknownName
from headstart.estimator import HeadstartClassifier, HeadstartRegressor


@pytest.mark.parametrize("estimator", [HeadstartClassifier(), HeadstartRegressor()], ids=lambda one: type(one).__name__)
def test_scikit_learns_own_checks_pass(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_skip=None, expected_failed_checks={})
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_a_classifier_answers_in_the_words_it_was_given():
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.where(X[:, 0] > 0, 10, 9)  # as text, '10' comes before '9'
    fitted = HeadstartClassifier().fit(X, y)
    assert fitted.classes_.tolist() == [9, 10]
    assert fitted.predict(X).dtype == y.dtype
    proba = fitted.predict_proba(X)
    assert np.allclose(proba.sum(axis=1), 1)
    assert (fitted.classes_[proba.argmax(axis=1)] == fitted.predict(X)).all()
    assert cross_val_score(HeadstartClassifier(), X, y, cv=3).mean() > 0.8


def test_a_regressor_answers_numbers_and_takes_missing_ones():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 3))
    y = 5 * X[:, 0] + 100
    X[3, 1] = np.nan
    assert HeadstartRegressor().fit(X, y).score(X, y) > 0.95


def test_images_go_through_a_backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    rng = np.random.default_rng(2)
    X = rng.integers(0, 60, size=(12, 32, 32, 3)).astype(np.uint8)
    X[::2, :, :, 0] += 180  # every other one is red
    y = np.array(["red", "dark"] * 6)
    fitted = HeadstartClassifier("nearest_mean", backbone="efficientnet_lite0").fit(X, y)
    assert fitted.predict(X).tolist() == y.tolist()


def test_paths_go_through_scikit_learns_folds(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((32, 32, 3), 20 * i, dtype=np.uint8)).save(tmp_path / f"{i:02d}.png")
    paths = sorted(str(path) for path in tmp_path.iterdir())  # cross_val_score cuts an array out of this list
    y = ["dark"] * 6 + ["light"] * 6
    assert cross_val_score(HeadstartClassifier(), paths, y, cv=3, error_score="raise").mean() > 0.6


@pytest.mark.parametrize(
    ("estimator", "error", "words"),
    [
        (HeadstartClassifier("plane"), UnknownName, "Did you mean 'plain'"),
        (HeadstartClassifier("linear_probe"), NotAdmissible, "features"),
        (HeadstartClassifier("linear_probe", backbone="efficientnet_lite00"), UnknownName, "efficientnet_lite0"),
        (HeadstartClassifier("linear_probe", backbone="efficientnet_lite0"), ProblemError, "reads image items"),
    ],
)
def test_a_wrong_parameter_is_told_at_fit(estimator, error, words):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(error, match=words):
        estimator.fit(X, [0, 1] * 3)


def test_one_class_is_no_problem_to_learn():
    with pytest.raises(ProblemError, match="one class"):
        HeadstartClassifier().fit(np.eye(4), ["a"] * 4)


def test_texts_stay_texts_and_an_estimator_travels():
    """A text that ends like the name of an image is a text, and a fitted estimator can be sent to another process."""
    import pickle

    texts = [f"{word} number {n}" for n in range(12) for word in ("alpha", "beta")]
    made = HeadstartClassifier("plain").fit(texts, ["a", "b"] * 12)
    assert list(made.predict(["alpha photo.jpg"])) == ["a"]
    again = pickle.loads(pickle.dumps(made))
    assert list(again.predict(["beta env.png", "alpha"])) == ["b", "a"]
