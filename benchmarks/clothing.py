"""Every strategy and every base on a whole photo collection: accuracy at 10, 40 and all labels a class, with seconds.

    python benchmarks/clothing.py FOLDER [--networks] [--seconds 900]

FOLDER has train/, validation/ and test/ with a folder a class. Fits on train, scores on test; validation is left alone.
Small amounts are means over 3 draws of the training photos. ``--networks`` adds fine_tune and scratch, which take long.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

import headstart
from headstart._io import cache_folder
from headstart.backbones import find
from headstart.registry import get
from headstart.stages.estimate import estimate
from headstart.stages.rank import suitable

AMOUNTS, DRAWS = (10, 40, None), 3


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("folder")
    words.add_argument("--networks", action="store_true")
    words.add_argument("--seconds", type=float, default=900)
    asked = words.parse_args()
    problem, exam = headstart.read(asked.folder)
    assert exam is not None
    problem = replace(problem, valid=None)
    store = headstart.FeatureStore(cache_folder() / "features")
    nothing = headstart.Lens(store=store)
    print(f"{len(problem.train)} training and {len(exam)} exam photos, {len(problem.task.labels)} classes")
    print("| strategy | base | 10 a class | 40 a class | all | seconds (features) | seconds (all fits) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("chance", "plain"):
        report(problem, exam, name, nothing, 0.0, asked.seconds)
    for base in suitable("image"):
        started = time.perf_counter()
        backbone = find(base)
        store.features(backbone, problem.train.join(exam.examples), ["head"])
        seconds = time.perf_counter() - started
        for name in ("nearest_mean", "linear_probe"):
            report(problem, exam, name, headstart.Lens(((backbone, "head"),), None, store), seconds, asked.seconds)
    if asked.networks:
        lens = headstart.locate(problem, "efficientnet_lite1", store=store).lens(store)
        report(problem, exam, "fine_tune", lens, 0.0, asked.seconds)
        report(problem, exam, "scratch", lens.untrained(slim=True), 0.0, asked.seconds)


def report(problem: object, exam: object, name: str, lens: headstart.Lens, features: float, seconds: float) -> None:
    strategy = get("strategies", name)()
    recipe, started, cells = headstart.Recipe(strategy, lens), time.perf_counter(), []
    for amount in AMOUNTS:
        draws = 1 if amount is None or (strategy.costly and amount > 10) else DRAWS
        scores = []
        for seed in range(draws):
            part = problem if amount is None else problem.shrink(amount, seed=seed)
            predictor = recipe.fit(part, plan=estimate(part, seconds), seed=seed)
            scores.append(problem.task.score(problem.task.sit(predictor, exam.examples)))
        spread = f" ± {np.std(scores, ddof=1):.3f}" if draws > 1 else ""
        cells.append(f"{np.mean(scores):.3f}{spread}")
    took = time.perf_counter() - started
    print(f"| {name} | {lens.title or '–'} | {' | '.join(cells)} | {features:.0f} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
