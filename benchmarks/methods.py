"""Ways of fine-tuning, side by side: what each reaches at a few amounts of labels, paired with the probe.

    python benchmarks/methods.py DATA [--data trec …] [--amounts 5 20] [--draws 5] [--recipes …]

DATA is a folder with copies of the public data, as for ``truth_table.py``. Every recipe is fitted on the same training draws, and
scored on the same exam. A cell is the mean score ± standard deviation over draws, and in brackets the mean of the paired
difference to ``linear_probe`` ± its standard error over draws. Nothing is chosen on an exam.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import headstart
from headstart import _io
from headstart.strategy import Plan, Recipe, strategy_named
from truth_table import IMAGES, TEXTS

PROBE = "linear_probe"
RECIPES = (PROBE, "fine_tune", "fine_tune+last", "full+last", "lora", "bitfit", "fine_tune+soup", "plain")
BASES = {"image": "efficientnet_lite0", "text": "all_minilm_l6_v2"}


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("--data", nargs="*", default=["trec"])
    words.add_argument("--amounts", type=int, nargs="*", default=[5, 20], help="labels a class")
    words.add_argument("--draws", type=int, default=5)
    words.add_argument("--recipes", nargs="*", default=list(RECIPES))
    words.add_argument("--epochs", type=int, default=8)
    asked = words.parse_args()
    for name in asked.data:
        for amount in asked.amounts:
            table(name, amount, asked)


def table(name: str, amount: int, asked: argparse.Namespace) -> None:
    """One amount of one data set: a row a recipe."""
    target = {**IMAGES, **TEXTS}[name]
    problem, exam = target.read(asked.folder)
    problem = replace(problem, valid=None)
    store = headstart.FeatureStore(_io.cache_folder() / "features")
    plan = Plan(tuned_epochs=asked.epochs, threads=1, whole=problem.kind == "text")
    scores: dict[str, list[float]] = {}
    print(f"\n{name}, {amount} a class, {len(exam)} in the exam\n| recipe | score | against the probe | seconds a fit |")
    print("| --- | --- | --- | --- |")
    parts = [problem.shrink(amount, seed=draw) for draw in range(asked.draws)]
    lenses = [headstart.locate(part, BASES[problem.kind], store=store, plan=plan).lens(store) for part in parts]
    for one in asked.recipes:
        strategy, started = strategy_named(one), time.perf_counter()
        for draw, (part, lens) in enumerate(zip(parts, lenses, strict=True)):
            seen = {"nothing": headstart.Lens(store=store), "untrained": lens.untrained(slim=True)}.get(
                strategy.starts_from, lens
            )
            fitted = Recipe(strategy, seen).fit(part, plan=plan, seed=draw)
            scores.setdefault(one, []).append(problem.task.score(problem.task.sit(fitted, exam.examples)))
        found, took = np.array(scores[one]), (time.perf_counter() - started) / asked.draws
        more = found - np.array(scores[PROBE]) if PROBE in scores else np.full(len(found), np.nan)
        error = more.std(ddof=1) / len(more) ** 0.5
        told = f"{found.mean():.3f} ± {found.std(ddof=1):.3f} | {more.mean():+.3f} ± {error:.3f} | {took:.0f}"
        print(f"| {one} | {told} |", flush=True)


if __name__ == "__main__":
    main()
