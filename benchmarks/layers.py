"""Layers: does ``locate`` find what transfers, and does its plan move what should move?

    python benchmarks/layers.py random [--seeds 20]              layers that know nothing: is the cut below them?
    python benchmarks/layers.py triad [--seeds 5]                three known shifts: the plan against every single block
    python benchmarks/layers.py cuts DATA ... [--base NAME ...] [--side 64] [--amount 8] [--epochs 4] [--seeds 1] [--every 4]

The first two train a network of five blocks on scikit-learn's digits. DATA is an image folder or TREC's qc.zip. ``cuts`` tunes
above every ``--every``-th layer, by the plan for the whole network, and by the plan above the cut; each pair is a line of JSON.
``--side`` is the size at which photos are read: the same weights, a cheaper network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from headstart import _io
from headstart.backbone import Backbone, Card, feature_taps
from headstart.backbones import _convnet, find
from headstart.backbones._convnet import Architecture, Block, Conv
from headstart.backbones._convnet_torch import weights_of
from headstart.backbones._images import ImageBackbone, image_backbone
from headstart.backbones._photos import Preprocess
from headstart.features import FeatureStore, Lens, Move
from headstart.problem import Exam, Problem
from headstart.strategy import Plan, Recipe, strategy_named

SIDE, NOISE, TARGETS = 16, 90, 150
STORE = FeatureStore()
BLOCKS = ("block0", "block1", "block2", "block3", "head")
TUNED = "fine_tune:epochs=24,head_rate=0.01"  # of the small network, which has 128 features and few steps
PLAN = Plan(threads=1, views=1, tuned_epochs=24, whole=True, epochs=40)


def small() -> Architecture:
    """Five stages of 3×3 convolutions for pictures of 16 pixels."""
    channels = (16, 16, 32, 32, 64)
    strides = (1, 2, 1, 2)
    blocks = tuple(
        Block(f"block{i}", f"b{i}.", (Conv(f"b{i}.conv", f"b{i}.norm", channels[i], channels[i + 1], 3, strides[i]),), False)
        for i in range(4)
    )
    return Architecture(
        "small", Conv("stem", "stem_norm", 3, 16, 3), blocks, Conv("top", "top_norm", 64, 128), "", 0, 1e-3, True
    )


@dataclass(frozen=True)
class Weights:
    """Always the same arrays; or random ones."""

    arrays: Mapping[str, np.ndarray] | None = None

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        return self.arrays if self.arrays is not None else _convnet.initial(small(), seed)


class Still(ImageBackbone):
    """The same without augmentation: its prepared pictures are no bytes, and a digit in a mirror is none."""

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> np.ndarray:
        return super().prepare(inputs, view=view).astype(np.float32)

    def untrained(self, *, slim: bool = False) -> ImageBackbone:
        return base()


def base(arrays: Mapping[str, np.ndarray] | None = None, name: str = "small") -> ImageBackbone:
    """The small network with ``arrays`` for weights, or random ones."""
    preprocess = Preprocess(SIDE, (127.5,) * 3, (1 / 127.5,) * 3, "BILINEAR")
    count = small().parameters()
    card = Card(name, "image", "digits" if arrays else "nothing", "Apache-2.0", count, 4 * count, preprocess.spec())
    identity = _io.fingerprint(dict(arrays)) if arrays else "random"
    weights = Weights(arrays)
    made = image_backbone(small(), preprocess, weights, card=card, identity=identity, pretrained=arrays is not None)
    return Still(**vars(made))


def pretrained(X: np.ndarray, y: np.ndarray, *, seed: int) -> ImageBackbone:
    """The small network, trained from nothing on pictures and labels."""
    problem, _ = headstart.read(headstart.from_arrays(X, y))
    recipe = Recipe(strategy_named("scratch:augment=flip_crop,flip=false,batch=32"), Lens(((base(), "head"),)))
    scorer: Any = recipe.fit(problem, plan=PLAN, seed=seed).scorer
    return base(weights_of(scorer.model.network.module), f"small-{seed}")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits, 16 × 16 bytes, and what they are."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return np.kron(np.rint(found.images * 255 / 16), np.ones((1, 2, 2))).astype(np.uint8), found.target


@dataclass(frozen=True)
class Case:
    """A network and a target that differs in one known way from what the network was trained on."""

    shift: str
    base: Any
    problem: Problem
    exam: Exam


def triad(seed: int) -> list[Case]:
    """Noise on the pictures, new digits under the old labels, the same digits under permuted labels."""
    X, y = digits()
    rng = np.random.default_rng([seed, 7])
    order = rng.permutation(len(X))
    X, y = X[order], y[order]
    old, new = slice(0, 900), slice(900, None)
    noisy = np.clip(X[new] + rng.normal(0, NOISE, X[new].shape), 0, 255).astype(np.uint8)
    every = pretrained(X[old], names(y[old]), seed=seed)
    low, high = y[old] < 5, y >= 5
    half = pretrained(X[old][low], names(y[old][low]), seed=seed)
    return [
        case("noise", every, noisy, names(y[new])),
        case("sub-classes", half, X[high], names(y[high] - 5)),
        case("permuted labels", every, X[new], names(rng.permutation(10)[y[new]])),
    ]


def case(shift: str, base: ImageBackbone, X: np.ndarray, y: list[str]) -> Case:
    parts = ["train"] * TARGETS + ["test"] * (len(X) - TARGETS)
    problem, exam = headstart.read(headstart.from_arrays(X, y, parts=parts))
    assert exam is not None
    return Case(shift, base, problem, exam)


def names(y: np.ndarray) -> list[str]:
    return [f"class-{label}" for label in y]


def tuned(case: Case, lens: Lens, *, strategy: str = TUNED, seed: int = 0, plan: Plan = PLAN) -> float:
    """The exam's score of ``strategy`` through ``lens``."""
    predictor = Recipe(strategy_named(strategy), lens).fit(case.problem, plan=plan, seed=seed)
    return case.problem.task.score(case.problem.task.sit(predictor, case.exam.examples))


def random_above(seeds: int) -> None:
    """How often the cut is not above the last block that knows something."""
    X, y = digits()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    whole = pretrained(X[:900], names(y[:900]), seed=0).weights(0)
    reading = replace(PLAN, tuned_epochs=0)
    print("| random above | cut not above it | shallowest as good as the best |\n| --- | --- | --- |")
    for last in range(4):
        found = []
        for seed in range(seeds):
            rows = 900 + np.random.default_rng(seed).permutation(len(X) - 900)[:400]
            problem, _ = headstart.read(headstart.from_arrays(X[rows], names(y[rows])))
            fresh = _convnet.initial(small(), seed + 1)
            kept = ("stem", *(f"b{i}." for i in range(last + 1)))
            mixed = {name: array if name.startswith(kept) else fresh[name] for name, array in whole.items()}
            found.append(headstart.locate(problem, base(mixed, f"random-{last}-{seed}"), plan=reading))
        hits = [one.cut is None or BLOCKS.index(one.cut) <= last for one in found]
        shallowest = [one.reason.split("'")[3] for one in found]
        often = ", ".join(f"{name} {shallowest.count(name)}" for name in BLOCKS if name in shallowest)
        print(f"| {BLOCKS[last]} | {sum(hits)} of {seeds} | {often} |", flush=True)


def three_shifts(seeds: int) -> None:
    """Regret against the best single block, in points, mean and standard error over seeds."""
    regrets: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for case in triad(seed):
            scores = ways(case, seed)
            best = max(scores[name] for name in BLOCKS)
            scores["random block"] = float(np.mean([scores[name] for name in BLOCKS]))
            told = regrets.setdefault(case.shift, {})
            for name, value in scores.items():
                told.setdefault(name, []).append(100 * (best - value))
            print(json.dumps({"seed": seed, "shift": case.shift, **{k: round(v, 4) for k, v in scores.items()}}), flush=True)
    print(f"\n| tuned | {' | '.join(regrets)} |\n| --- |{' --- |' * len(regrets)}")
    for name in next(iter(regrets.values())):
        cells = [f"{np.mean(r[name]):+.1f} ± {np.std(r[name], ddof=1) / np.sqrt(seeds):.1f}" for r in regrets.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def ways(case: Case, seed: int) -> dict[str, float]:
    """Each block alone, the plan, and what one would do without it."""
    lens = Lens(((case.base, "head"),), None, STORE)
    profile = headstart.locate(case.problem, case.base, store=STORE, plan=PLAN)
    upper = headstart.locate(case.problem, case.base, store=STORE, plan=replace(PLAN, tuned_epochs=0))
    alone = {
        name: replace(
            lens, cut=BLOCKS[i - 1] if i else None, plan=tuple(Move(other, float(other == name)) for other in BLOCKS)
        )
        for i, name in enumerate(BLOCKS)
    }
    lenses = {
        **alone,
        "the plan": replace(lens, cut=profile.cut, plan=profile.plan),
        "whole network": lens,
        "above the cut": replace(lens, cut=upper.cut),
    }
    scores = {name: tuned(case, one, seed=seed) for name, one in lenses.items()}
    return {**scores, "nothing (probe)": tuned(case, lens, strategy="linear_probe", seed=seed)}


def every_cut(asked: argparse.Namespace) -> None:
    """A line a pair: [score, CPU seconds] of every cut, of the plan for the whole network, of the plan above the cut."""
    plan = Plan(threads=1, views=1, tuned_epochs=asked.epochs)
    for path in asked.data:
        for name in asked.base:
            for seed in range(asked.seeds or 1):
                case, told = (
                    pair(path, resized(name, asked.side), asked, seed),
                    {"data": path.name, "base": name, "seed": seed},
                )
                row = cuts(case, plan, seed, asked.every)
                print(json.dumps({**told, "exam": len(case.exam), **row}), flush=True)


def cuts(case: Case, plan: Plan, seed: int, every: int) -> dict[str, list[float]]:
    """Tuning above every ``every``-th layer, and as ``locate`` says."""
    taps = feature_taps(case.base, case.problem.task.unit)
    lens = Lens(((case.base, taps[-1].name),), None, STORE)
    lenses, spent = {str(None): lens}, {}
    lenses |= {place: replace(lens, cut=place) for place in [tap.place for tap in taps[:-2]][::every]}
    for key, whole in (("plan", True), ("plan above the cut", False)):
        started = time.process_time()
        found = headstart.locate(case.problem, case.base, store=STORE, plan=replace(plan, whole=whole))
        spent[key] = time.process_time() - started
        lenses[key] = replace(lens, cut=found.cut, plan=found.plan)
        lenses["the cut"] = replace(lens, cut=found.cut)
    row = {}
    for key, one in lenses.items():
        started = time.process_time()
        score = tuned(case, one, strategy=f"fine_tune:epochs={plan.tuned_epochs}", seed=seed, plan=plan)
        row[key] = [round(score, 4), round(time.process_time() - started + spent.get(key, 0.0), 1)]
    return row


def pair(path: Path, model: Backbone, asked: argparse.Namespace, seed: int) -> Case:
    """A small training part and some exam items of the data at ``path``."""
    if path.suffix == ".zip":
        from texts import READ

        problem, exam = READ["trec"](path)
    else:
        whole, test = headstart.read(path)
        problem, exam = (whole, test) if test is not None else whole.split(fraction=0.7, seed=seed)
    rows = np.sort(np.random.default_rng(seed).permutation(len(exam))[: asked.most])
    small_part = replace(problem, valid=None).shrink(asked.amount, seed=seed)
    return Case(path.name, model, small_part, Exam(exam.examples.take(rows)))


def resized(name: str, side: int | None) -> Backbone:
    """The packaged network, reading photos at ``side`` pixels."""
    found = find(name)
    if side is None or not isinstance(found, ImageBackbone):
        return found
    smaller = replace(found.preprocess, side=side)
    card = replace(found.card, name=f"{name} at {side} px", preprocessing=smaller.spec())
    return image_backbone(found.architecture, smaller, found.weights, card=card, identity=found.fingerprint, pretrained=True)


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("study", choices=("random", "triad", "cuts"))
    words.add_argument("data", type=Path, nargs="*")
    words.add_argument("--base", nargs="*", default=["efficientnet_lite0"])
    words.add_argument("--side", type=int)
    words.add_argument("--amount", type=int, default=8)
    words.add_argument("--most", type=int, default=400)
    words.add_argument("--epochs", type=int, default=4)
    words.add_argument("--every", type=int, default=4)
    words.add_argument("--seeds", type=int)
    asked = words.parse_args()
    if asked.study == "random":
        random_above(asked.seeds or 20)
    elif asked.study == "triad":
        three_shifts(asked.seeds or 5)
    else:
        every_cut(asked)


if __name__ == "__main__":
    main()
