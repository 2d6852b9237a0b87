"""One strategy with scikit-learn's face: fit, predict, predict_proba, score, so that it fits pipelines and searches.

There is no verdict here: an estimator does what it is told. ``headstart.transfer`` says whether it is worth it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from headstart import _io
from headstart.backbones import find
from headstart.errors import ProblemError
from headstart.features import FeatureStore, Lens
from headstart.problem import Problem
from headstart.readers.arrays import from_arrays
from headstart.stages.locate import locate
from headstart.stages.read import read, read_examples
from headstart.workflow import admissible

if TYPE_CHECKING:
    from headstart.problem import Examples
    from headstart.strategy import Predictor


class HeadstartClassifier(ClassifierMixin, BaseEstimator):
    """A classifier on rows of numbers or on images, by one strategy.

    ``strategy`` is a registered name: ``plain`` needs no pre-trained model, ``linear_probe``, ``nearest_mean``,
    ``fine_tune`` and ``scratch`` read ``backbone``. ``X`` is (n, d) numbers (NaN: missing), a list of image paths, or uint8
    images (n, height, width, 3). Features are kept in the cache: a second fit on the same images computes none.

    >>> HeadstartClassifier().fit([[0.0], [0.1], [1.0], [1.1]], ["low", "low", "high", "high"]).predict([[0.05]]).tolist()
    ['low']
    """

    def __init__(self, strategy: str = "plain", *, backbone: str | None = None, seed: int = 0) -> None:
        self.strategy = strategy
        self.backbone = backbone
        self.seed = seed

    def fit(self, X: Any, y: Any) -> HeadstartClassifier:
        """Learn from ``X`` and one class an item. ``ProblemError`` (a ``ValueError``) if they make no problem."""
        X, y = _given(self, X, y)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ProblemError(f"y has one class, {self.classes_[0]!r}; 2 or more classes are needed. Add items of another.")
        # Classes may be of any type; inside they bear numbers whose order as text is the order of ``classes_``.
        names = np.array([f"{number:09d}" for number in index], dtype=object)
        self.predictor_ = _fitted(self, X, names, "classification")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of every item, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities (n, classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        return self.predictor_.predict_proba(_asked(self, X))

    def __sklearn_tags__(self) -> Any:
        return _tags(super().__sklearn_tags__())


class HeadstartRegressor(RegressorMixin, BaseEstimator):
    """A regressor on rows of numbers or on images, by one strategy. Parameters are those of ``HeadstartClassifier``."""

    def __init__(self, strategy: str = "plain", *, backbone: str | None = None, seed: int = 0) -> None:
        self.strategy = strategy
        self.backbone = backbone
        self.seed = seed

    def fit(self, X: Any, y: Any) -> HeadstartRegressor:
        """Learn from ``X`` and one number an item. ``ProblemError`` (a ``ValueError``) if they make no problem."""
        X, y = _given(self, X, y, numbers=True)
        self.predictor_ = _fitted(self, X, y.astype(np.float64), "regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """One number an item, (n,)."""
        check_is_fitted(self)
        return self.predictor_.predict(_asked(self, X))

    def __sklearn_tags__(self) -> Any:
        return _tags(super().__sklearn_tags__())


def _tags(tags: Any) -> Any:
    tags.input_tags.allow_nan = True
    return tags


def _given(estimator: BaseEstimator, X: Any, y: Any, *, numbers: bool = False) -> tuple[Any, np.ndarray]:
    """``X`` and ``y``, checked the way scikit-learn does where ``X`` is a table."""
    if _files(X):
        y = column_or_1d(y, warn=True)
    else:
        X, y = validate_data(estimator, X, y, dtype=np.float64, ensure_all_finite="allow-nan", y_numeric=numbers)
        y = column_or_1d(y, warn=True)
    if len(X) < 2:
        raise ProblemError(f"X has n_samples={len(X)}; at least 2 are needed. Add items.")
    return X, y


def _asked(estimator: BaseEstimator, X: Any) -> Examples:
    if not _files(X):
        X = validate_data(estimator, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
    # The kind is that of the training data: a text that ends like the name of an image is a text.
    found = from_arrays(X, kind=estimator.kind_ if _files(X) else None)
    return read_examples(found, strict=True)  # strict: an answer for every item, or an error


def _files(X: Any) -> bool:
    """Whether ``X`` holds texts or images (texts, paths, file contents, arrays of more than two dimensions), not a table."""
    if isinstance(X, (list, tuple)):
        return bool(len(X)) and (isinstance(X[0], (str, bytes)) or hasattr(X[0], "__fspath__") or np.ndim(X[0]) > 1)
    table = np.asarray(X) if not hasattr(X, "ndim") else X
    if table.ndim == 1 and len(table) and isinstance(table[0], (str, bytes)):
        return True  # an array of paths: what a list becomes when scikit-learn cuts it into folds
    return table.ndim > 2 and getattr(table, "dtype", None) == np.uint8


def _fitted(estimator: Any, X: Any, targets: np.ndarray, task: str) -> Predictor:
    problem, _ = read(from_arrays(X, targets), task=task, strict=True)
    estimator.kind_ = problem.kind
    lens = _lens(problem, estimator.backbone)
    recipe = admissible(problem, lens, strategies=[estimator.strategy])[0]
    return recipe.fit(problem, seed=estimator.seed)


def _lens(problem: Problem, backbone: str | None) -> Lens:
    if backbone is None:
        return Lens()
    reads = find(backbone).card.kind
    if reads != problem.kind:
        raise ProblemError(
            f"'{backbone}' reads {reads} items; X holds {problem.kind}. Leave the backbone out, or choose another."
        )
    store = FeatureStore(_io.cache_folder() / "features")
    return locate(problem, backbone, store=store).lens(store)
