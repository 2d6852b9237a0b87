"""What a ranking costs, and whether reading a part of the data is enough.

    python benchmarks/rank_speed.py BANKING77 [--cases 10]

Six encoders of one size (two trained ones, and copies of the first drawn anew above a layer) are ranked on Banking77, one
thread, processor seconds: against one full extraction, and against the same ranking on all rows of ``--cases`` random sets
of 30 intents.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.backbone import Backbone, feature_taps
from headstart.backbones import find
from headstart.features import FeatureStore
from headstart.problem import Problem
from headstart.stages.rank import rank
from headstart.strategy import Plan
from texts import banking
from truth_table import redrawn

INTENTS = 30


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data", type=Path)
    words.add_argument("--cases", type=int, default=10)
    asked = words.parse_args()
    problem, _ = banking(asked.data)
    copies = [redrawn("all_minilm_l6_v2", above)(f"drawn above {above - 1}", asked.data) for above in (6, 5, 3, 1)]
    bases = [find("all_minilm_l6_v2"), find("sre_minilm"), *copies]
    store = cost(problem, bases)
    agreement(problem, bases, store, asked.cases)


def cost(problem: Problem, bases: list[Backbone]) -> FeatureStore:
    """Print the ratios; a store that holds all of every base."""
    base, rows = bases[0], problem.train
    last = feature_taps(base)[-1].name
    find(base.card.name).features(rows.inputs[:32], [last])  # opens the weights
    one = seconds(lambda: base.features(rows.inputs, [last]))
    every = seconds(lambda: base.features(rows.inputs, [tap.name for tap in feature_taps(base)]))
    ranked = seconds(lambda: rank(problem, bases, store=FeatureStore()))
    store = FeatureStore()
    for one_base in bases:
        store.features(one_base, rows, [last])
    heads = seconds(lambda: rank(problem, bases, store=store))
    print(f"{len(rows)} texts; one pass {one:.0f} s; all layers of one model: {every / one:.2f} × a pass for the last alone")
    told = f"{ranked / one:.2f} × one full pass, heads {heads / one:.2f} of it"
    print(f"ranking {len(bases)} models on {Plan().rank_rows} rows: {told}")
    return store


def agreement(problem: Problem, bases: list[Backbone], store: FeatureStore, cases: int) -> None:
    """In how many random sets of intents a fifth of the rows names the same leader as all of them."""
    same = 0
    for seed in range(cases):
        classes = np.random.default_rng(seed).permutation(problem.task.width)[:INTENTS]
        names = {problem.task.classes[i] for i in classes}
        kept = np.flatnonzero([target in names for target in problem.train.targets])
        part = replace(problem, task=replace(problem.task, classes=tuple(sorted(names))), train=problem.train.take(kept))
        some, whole = (rank(part, bases, store=store, plan=Plan(rank_rows=rows)) for rows in (len(kept) // 5, len(kept)))
        same += some.best == whole.best
        told = [f"{one.best} ({one.candidates[0].interval.value:.3f})" for one in (some, whole)]
        print(f"case {seed}: {len(kept) // 5} rows {told[0]}, {len(kept)} rows {told[1]}", flush=True)
    print(f"the same leader in {same} of {cases}")


def seconds(call: object) -> float:
    started = time.process_time()
    call()  # type: ignore[operator]
    return time.process_time() - started


if __name__ == "__main__":
    main()
