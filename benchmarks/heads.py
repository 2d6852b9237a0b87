"""Heads: what selecting and shipping one costs and scores, against scikit-learn.

    python benchmarks/heads.py [IMAGE_FOLDER …]

Prints (1) the time of choosing a ridge strength among 20 by exact leave-one-out, ours and RidgeClassifierCV, A B A B in one
run; (2) held-out accuracy of the head that ships against LogisticRegression tuned by 5-fold search over 13 strengths, with
and without standardising, over 5 seeds. Data: digits (in scikit-learn) as they are, and EfficientNet-Lite0 features of each
image folder given.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from headstart._linear import Decomposition, probe_head
from headstart.tasks.classification import Classification

ROUNDS, SEEDS = 5, 5


def data_sets(folders: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    X, y = load_digits(return_X_y=True)
    found = {"digits (64 pixels)": (X.astype(float), y.astype(str).astype(object))}
    for folder in folders:
        import headstart
        from headstart._io import cache_folder
        from headstart.backbones import find

        problem, exam = headstart.read(folder)
        examples = problem.labelled.join(exam.examples if exam else None)
        store = headstart.FeatureStore(cache_folder() / "features")
        rows = store.features(find("efficientnet_lite0"), examples, ["head"])[0].rows.astype(float)
        found[f"{folder.rstrip('/').split('/')[-1]} (Lite0, {len(rows)} photos)"] = (rows, examples.targets)
    return found


def selection(X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    task = Classification(tuple(sorted(set(y))))
    Y = task.columns(y)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = Decomposition.of(X)
        found.select(Y)
        ours.append(time.process_time() - started)
        started = time.process_time()
        RidgeClassifierCV(alphas=found.strengths).fit(X, y)
        theirs.append(time.process_time() - started)
    return float(np.median(ours)), float(np.median(theirs))


def shipping(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float, float, float]:
    per_class = 40
    order = np.random.default_rng(seed).permutation(len(y))
    train = np.concatenate([[i for i in order if y[i] == c][:per_class] for c in sorted(set(y))])
    rest = np.setdiff1d(order, train)
    test = rest if len(rest) <= 2000 else train_test_split(rest, train_size=2000, random_state=seed, stratify=y[rest])[0]
    task = Classification(tuple(sorted(set(y))))
    started = time.process_time()
    head = probe_head(X[train], task, y[train])
    ours_seconds = time.process_time() - started
    ours = float((task.decode(X[test] @ head.weights + head.bias) == y[test]).mean())
    started = time.process_time()
    pipe = Pipeline([("scale", StandardScaler()), ("fit", LogisticRegression(max_iter=1000))])
    grid = {"scale": [StandardScaler(), "passthrough"], "fit__C": np.geomspace(1e-5, 10, 13)}
    tuned = GridSearchCV(pipe, grid, cv=5).fit(X[train], y[train])
    theirs_seconds = time.process_time() - started
    return ours, float((tuned.predict(X[test]) == y[test]).mean()), ours_seconds, theirs_seconds


def main() -> None:
    sets = data_sets(sys.argv[1:])
    print("| data | rows × columns | ours, cpu-s | RidgeClassifierCV, cpu-s | ratio |\n| --- | --- | --- | --- | --- |")
    for name, (X, y) in sets.items():
        ours, theirs = selection(X, y)
        print(f"| {name} | {X.shape[0]} × {X.shape[1]} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f}× |", flush=True)
    print(f"\n40 training items a class, {SEEDS} seeds, mean ± s.d. of the difference")
    print(
        "| data | shipped head | tuned LogisticRegression | difference, points | cpu-s ours / theirs |"
        "\n| --- | --- | --- | --- | --- |"
    )
    for name, (X, y) in sets.items():
        rows = np.array([shipping(X, y, seed) for seed in range(SEEDS)])
        gap = 100 * (rows[:, 0] - rows[:, 1])
        mean = rows.mean(axis=0)
        print(
            f"| {name} | {mean[0]:.3f} | {mean[1]:.3f} | {gap.mean():+.2f} ± {gap.std(ddof=1):.2f} "
            f"| {mean[2]:.2f} / {mean[3]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
