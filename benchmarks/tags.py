"""Part-of-speech tags: a case where the layer decides the verdict.

    python benchmarks/tags.py FILE [--draws 5] [--amount 200] [--strategies plain linear_probe …]

FILE is ``en_pud-ud-test.conllu`` of Universal Dependencies. Of each draw's sentences ``--amount`` train (whole documents), the
rest is the exam; a score is the accuracy of words. ``locate`` finds the layer on the training sentences alone. Then the
verdict of ``headstart transfer`` on the first draw, with the layer that was found and with the last one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import headstart
from headstart._io import cache_folder
from headstart.stages.read import read
from headstart.strategy import Plan, Recipe, strategy_named

BASE = "all_minilm_l6_v2"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data", type=Path)
    words.add_argument("--draws", type=int, default=5)
    words.add_argument("--amount", type=int, default=200)
    words.add_argument("--strategies", nargs="*", default=["plain", "linear_probe", "head2toe", "fine_tune"])
    words.add_argument("--judged", nargs="*", default=["plain", "linear_probe", "head2toe"], help="of the verdict")
    asked = words.parse_args()
    whole, _ = read(asked.data, task="token_labels")
    store = headstart.FeatureStore(cache_folder() / "features")
    draws = [whole.split(fraction=1 - asked.amount / len(whole.train), seed=seed) for seed in range(asked.draws)]
    scores: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for seed, (problem, exam) in enumerate(draws):
        for recipe in recipes(problem, asked.strategies, store):
            started = time.perf_counter()
            predictor = recipe.fit(problem, plan=Plan(threads=2), seed=seed)
            name = recipe.title or recipe.name
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
            scores.setdefault(name, []).append(problem.task.score(problem.task.sit(predictor, exam.examples)))
        told = ", ".join(f"{name} {found[-1]:.3f}" for name, found in scores.items())
        print(f"draw {seed}, {len(problem.train)} and {len(exam)} sentences: {told}", flush=True)
    print("\n| recipe | accuracy of words | seconds a fit |\n| --- | --- | --- |")
    for name, found in scores.items():
        spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
        print(f"| {name} | {np.mean(found):.3f}{spread} | {seconds[name] / len(found):.1f} |")
    problem, exam = draws[0]
    with tempfile.TemporaryDirectory() as folder:
        run = headstart.transfer(problem, exam=exam, backbones=[BASE], strategies=asked.judged, out=Path(folder) / "run")
        print(f"\n{run.verdict.sentence}", *(further.sentence for further in run.verdict.further), sep="\n\n")


def recipes(problem: headstart.Problem, names: Sequence[str], store: headstart.FeatureStore) -> list[Recipe]:
    """Each strategy with the lens that ``locate`` advises; the probe also at the last layer."""
    profile = headstart.locate(problem, BASE, store=store)
    lens, last = profile.lens(store), profile.scores[-1].tap
    print(f"locate reads {profile.read}, cuts at {profile.cut}", flush=True)
    made = []
    for strategy in map(strategy_named, names):
        if strategy.starts_from == "nothing":
            made.append(Recipe(strategy, headstart.Lens(store=store)))
            continue
        made.append(Recipe(strategy, lens))
        if strategy.name == "linear_probe":
            made[-1] = replace(made[-1], title="linear_probe at the layer found")
            made.append(Recipe(strategy, replace(lens, reads=((lens.backbone, last),)), "linear_probe at the last layer"))
    return made


if __name__ == "__main__":
    main()
