"""What tuning from cached states saves, and what it costs in score.

    python benchmarks/tuning.py trec|sms|kitchen|banking FILE [--amount 64] [--seeds 5] [--cut layer4]

The data sets are those of ``texts.py``. An epoch above the cut against an epoch of the whole network, the same strategy,
batches and rows otherwise; seeds take turns (A B A B). Seconds are those between the ends of two epochs, one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from headstart._events import Event, listen
from headstart._io import cache_folder
from headstart.backbone import feature_taps
from headstart.backbones import find
from headstart.strategy import Plan, Recipe, strategy_named
from texts import BASE, READ


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("study", choices=tuple(READ))
    words.add_argument("data", type=Path)
    words.add_argument("--amount", type=int, default=64)
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--cut", default="layer4")
    words.add_argument("--epochs", type=int, default=8)
    asked = words.parse_args()
    os.environ["HEADSTART_THREADS"] = "1"
    problem, exam = READ[asked.study](asked.data)
    base, store = find(BASE), headstart.FeatureStore(cache_folder() / "features")
    tap = feature_taps(base)[-1].name
    ways = {f"above {asked.cut}": asked.cut, "whole network": None}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, list[float]] = {name: [] for name in ways}
    strategy = strategy_named(f"fine_tune:epochs={asked.epochs}")
    for seed in range(asked.seeds):
        part = problem.shrink(asked.amount, seed=seed)
        for name, cut in ways.items():
            recipe = Recipe(strategy, headstart.Lens(((base, tap),), cut, store))
            ends: list[float] = []
            predictor = timed(recipe, part, seed, ends, asked.epochs)
            seconds[name].append(float(np.median(np.diff(ends))))
            scores[name].append(problem.task.score(problem.task.sit(predictor, exam.examples)))
            print(f"seed {seed}, {name}: {seconds[name][-1]:.2f} s an epoch, {scores[name][-1]:.3f}", flush=True)
    first, second = ways
    ratio = np.median(np.array(seconds[second]) / np.array(seconds[first]))
    gap = 100 * (np.array(scores[first]) - np.array(scores[second]))
    error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else float("nan")
    print(f"\n{len(part.train)} training and {len(exam)} exam texts, {asked.seeds} seeds")
    print("| tuned | seconds an epoch | score |\n| --- | --- | --- |")
    for name in ways:
        print(
            f"| {name} | {np.median(seconds[name]):.2f} | {np.mean(scores[name]):.3f} ± {np.std(scores[name], ddof=1):.3f} |"
        )
    print(
        f"\nAn epoch is {ratio:.1f} times shorter; the score differs by {gap.mean():+.2f} ± {error:.2f} points (one s.e.)."
    )


def timed(recipe: Recipe, part: headstart.Problem, seed: int, ends: list[float], epochs: int) -> Any:
    def hear(event: Event) -> None:
        if event.kind == "progress" and event.message.startswith("fine-tuning"):
            ends.append(time.perf_counter())

    with listen(hear):
        return recipe.fit(part, plan=Plan(threads=1, tuned_epochs=epochs), seed=seed)


if __name__ == "__main__":
    main()
