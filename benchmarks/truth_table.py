"""Our own truth tables: every candidate fine-tuned for real on every target, and what each ranker would have chosen.

    python benchmarks/truth_table.py images|texts DATA [--only TARGET ...] [--draws 3] [--out CSV]    makes it, row by row
    python benchmarks/truth_table.py judge CSV DATA                                   judges the rankers by it

DATA is a folder with copies of the public data: clothing/, pacs/, bccd/, orl_faces/, omniglot/; text/ with trec/, spam/,
amazon_reviews/, banking77/. A row is one cell: probe and fine-tuning are fitted on the same few hundred training items, one
draw of them, and scored on the same held-out exam. ``truth`` is the tuned score, or the probe's where the model can only be
read. Rows that stand in the file already are kept, so that a stopped run goes on. Nothing is chosen on an exam.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from _ranks import read_table, regret, static_list, weighted_tau
from headstart import _io, registry
from headstart.backbone import Backbone
from headstart.backbones import _convnet, _encoder, find, own
from headstart.backbones._images import ImageBackbone, image_backbone
from headstart.backbones._texts import TextBackbone, text_backbone
from headstart.problem import Exam, Problem
from headstart.readers.arrays import from_arrays
from headstart.stages.rank import rank
from headstart.stages.read import read
from headstart.strategy import Plan, Recipe, strategy_named
from texts import READ, Data

COLUMNS = ("target", "candidate", "draw", "train", "exam", "classes", "probe", "tuned", "truth", "seconds")
PLAN = Plan(tuned_epochs=4, views=2, threads=1)


@dataclass(frozen=True)
class Target:
    """A data set, with how many items of a class are learned from and asked about at most."""

    read: Callable[[Path], Data]
    train: int
    exam: int


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("study", choices=("images", "texts", "judge"))
    words.add_argument("data", type=Path, nargs="+", help="the data; for judge the table first")
    words.add_argument("--only", nargs="*", help="these targets")
    words.add_argument("--candidates", nargs="*", help="these candidates")
    words.add_argument("--draws", type=int, default=3, help="of the training items")
    words.add_argument("--out", type=Path, help="the table to continue")
    words.add_argument("--by", default="truth", choices=("truth", "probe"), help="what the orders are judged by")
    asked = words.parse_args()
    os.environ.setdefault("HEADSTART_THREADS", "1")
    if asked.study == "judge":
        judge(asked)
    else:
        make(asked)


def make(asked: argparse.Namespace) -> None:
    """Every cell that the table does not have yet, all candidates of a target before the next target."""
    targets, candidates = STUDIES[asked.study]
    out = asked.out or Path(__file__).with_name(f"truth_{asked.study}.csv")
    rows = table(out)
    have = {(row["target"], row["candidate"], row["draw"]) for row in rows}
    store = headstart.FeatureStore(_io.cache_folder() / "features")
    for draw, target in product(range(asked.draws), asked.only or targets):
        missing = [name for name in asked.candidates or candidates if (target, name, str(draw)) not in have]
        if not missing:
            continue
        problem, exam = sized(targets[target], asked.data[0], draw)
        for name in missing:
            base = candidates[name](name, asked.data[0])
            facts = {"target": target, "candidate": name, "draw": draw, **cell(problem, exam, base, store, draw)}
            print(", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
            rows.append({key: str(value) for key, value in facts.items()})
            text = io.StringIO()
            sheet = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            sheet.writeheader()
            sheet.writerows(rows)
            _io.write_text(out, text.getvalue())


def table(file: Path) -> list[dict[str, str]]:
    """The rows of a truth table; none if there is no file yet."""
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def sized(target: Target, data: Path, draw: int) -> Data:
    """A draw of the target's training items, and its exam cut to size: the same items every time."""
    problem, exam = target.read(data)
    problem, asked = replace(problem, valid=None).shrink(target.train, seed=draw), exam.examples
    return problem, Exam(asked.take(problem.task.shrink(asked, target.exam, seed=0)))


def cell(problem: Problem, exam: Exam, base: Backbone, store: headstart.FeatureStore, draw: int) -> dict[str, Any]:
    """What the probe at the located tap and fine-tuning above the located cut score on the exam."""
    started = time.perf_counter()
    lens = headstart.locate(problem, base, store=store, plan=PLAN).lens(store)
    found: dict[str, Any] = {"train": len(problem.train), "exam": len(exam), "classes": problem.task.width}
    for column, strategy in (("probe", "linear_probe"), ("tuned", "fine_tune")):
        found[column] = ""
        if column == "probe" or "network" in lens.has:
            predictor = Recipe(strategy_named(strategy), lens).fit(problem, plan=PLAN, seed=draw)
            found[column] = round(problem.task.score(problem.task.sit(predictor, exam.examples)), 4)
    found["truth"] = found["probe"] if found["tuned"] == "" else found["tuned"]
    return {**found, "seconds": round(time.perf_counter() - started)}


def judge(asked: argparse.Namespace) -> None:
    """How well each ranker's order of the candidates foretells what they reached: means over targets and draws, then who was
    chosen on each target.

    A ranker sees one draw of the training items, and is judged by what tuning reached on the others, on average. The panel
    is what ``rank`` says. *Tuning on one draw* takes the tuned scores of the ranker's draw for its order: what there is to
    be foreseen at all. The static list scores a candidate by what it reached on the other targets, so it has been tuned on
    them all; published scores are those on the cards.
    """
    file, data = asked.data
    models, reached = draws_of(file, asked.by)
    study = next(one for one in STUDIES.values() if next(iter(reached)) in one[0])
    names = [name for name in models if not asked.candidates or name in asked.candidates]
    targets = [one for one in reached if not asked.only or one in asked.only]
    truth = np.stack([reached[target][:, [models.index(name) for name in names]] for target in targets])  # draws second
    whole = np.isfinite(truth).all(axis=(1, 2))
    targets, truth = [target for target, kept in zip(targets, whole, strict=True) if kept], truth[whole]
    store, bases = headstart.FeatureStore(_io.cache_folder() / "features"), [study[1][name](name, data) for name in names]
    told: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {}  # a ranker may say nothing of a target
    for draw, (row, target) in product(range(truth.shape[1]), enumerate(targets)):
        others = np.delete(truth, draw, axis=1).mean(axis=1)
        problem, _ = sized(study[0][target], data, draw)
        scores = ranked(problem, bases, store)
        scores |= {"static list": static_list(others)[row], "tuning on one draw": truth[row, draw]}
        for ranker, score in scores.items():
            told.setdefault(ranker, []).append((row, score, others[row]))
    print(f"{len(names)} candidates on {len(targets)} targets, {truth.shape[1]} draws\n")
    print("| order by | targets | weighted τ | regret@1 ± s.e. | regret@3 | best in the first 3 |\n" + "| --- " * 6 + "|")
    for ranker, scored in told.items():
        rows = np.array([row for row, *_ in scored])
        one, three = (100 * np.array([regret(score, best, k=k) for _, score, best in scored]) for k in (1, 3))
        tau = np.mean(np.nan_to_num([weighted_tau(score, best) for _, score, best in scored]))  # all alike order nothing
        means = np.array([one[rows == row].mean() for row in np.unique(rows)])  # targets are what the error is over
        error = f" ± {means.std(ddof=1) / len(means) ** 0.5:.1f}" if len(means) > 1 else ""
        told_of = f"{one.mean():.1f}{error} | {three.mean():.1f} | {np.mean(three < 1e-9):.0%}"
        print(f"| {ranker} | {len(means)} | {tau:.2f} | {told_of} |")
    print("\n| target | best of all draws | reached | the panel's choices | reached | by one draw |\n" + "| --- " * 6 + "|")
    means = truth.mean(axis=1)
    for row, target in enumerate(targets):
        panel, tuned = ([int(np.argmax(score)) for at, score, _ in told[name] if at == row] for name in CHOICES)
        best = int(np.argmax(means[row]))
        print(
            f"| {target} | {names[best]} | {means[row, best]:.3f} | {', '.join(names[one] for one in panel)} "
            f"| {means[row, panel].mean():.3f} | {', '.join(names[one] for one in tuned)} |"
        )


CHOICES = ("panel", "tuning on one draw")


def draws_of(file: Path, by: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """The candidates, and what each reached on each target: (draws, candidates), NaN where there is none."""
    models = read_table(file, "target", model=("candidate",), reached=by)[1]
    targets, columns, reached = read_table(file, "target", model=("draw", "candidate"), reached=by)
    draws = sorted({draw for draw, _ in columns})
    place = {column: i for i, column in enumerate(columns)}
    at = [[place.get((draw, name), len(columns)) for (name,) in models] for draw in draws]
    padded = np.column_stack([reached, np.full(len(targets), np.nan)])
    return [name for (name,) in models], {target: padded[row][at] for row, target in enumerate(targets)}


def ranked(problem: Problem, bases: Sequence[Backbone], store: headstart.FeatureStore) -> dict[str, np.ndarray]:
    """A score for each of ``bases`` from each ranker, from the panel and from the published scores; none is the lowest."""
    order = [one.backbone for one in rank(problem, bases, store=store, plan=PLAN).candidates]
    every = rank(problem, bases, store=store, plan=PLAN, rankers=registry.names("rankers")).candidates
    by_name = {one.backbone: one for one in every}
    kept = [by_name[base.card.name] for base in bases]
    found: dict[str, list[float | None]] = {name: [one.scores[name] for one in kept] for name in kept[0].scores}
    found["published scores"] = [one.prior for one in kept]
    found["panel"] = [-float(order.index(one.backbone)) for one in kept]
    return {name: _lowest_for_none(scores) for name, scores in found.items() if any(one is not None for one in scores)}


def _lowest_for_none(scores: Sequence[float | None]) -> np.ndarray:
    least = min(one for one in scores if one is not None)
    return np.array([least - 1 if one is None else one for one in scores])


# Targets.


def _read(found: Any) -> Data:
    """With the parts that the data has, else with half of it as the exam."""
    problem, exam = read(found, task="classification")
    return (problem, exam) if exam is not None else problem.split(fraction=0.5, seed=0)


def _of(rows: Iterable[tuple[Any, str, str]], kind: str) -> Data:
    """(item, label, block) rows; "" is a block of its own."""
    items, labels, blocks = zip(*rows, strict=True)
    return _read(from_arrays(list(items), list(labels), kind=kind, blocks=list(blocks) if any(blocks) else None))


def pacs(domain: str) -> Callable[[Path], Data]:
    return lambda data: _of(((file, file.parent.name, "") for file in sorted((data / "pacs" / domain).glob("*/*"))), "image")


SIDES = ("xmin", "ymin", "xmax", "ymax")


def cells(data: Path) -> Data:
    """Every annotated blood cell as a photo of its own; cells of one photo stay on one side."""
    from xml.etree import ElementTree

    from PIL import Image

    rows, folder = [], data / "bccd" / "BCCD"
    for file in sorted((folder / "Annotations").glob("*.xml")):
        with Image.open(folder / "JPEGImages" / f"{file.stem}.jpg") as photo:
            for box in ElementTree.parse(file).getroot().iter("object"):
                left, top, right, bottom = (int(box.findtext(f"bndbox/{side}", "0")) for side in SIDES)
                if right - left >= 16 and bottom - top >= 16:
                    crop = np.asarray(photo.convert("RGB").crop((left, top, right, bottom)))
                    rows.append((crop, box.findtext("name", ""), file.stem))
    return _of(rows, "image")


def faces(data: Path) -> Data:
    from PIL import Image

    files = sorted((data / "orl_faces").glob("s*/*.pgm"))
    return _of(((np.asarray(Image.open(file).convert("RGB")), file.parent.name, "") for file in files), "image")


def digits(data: Path) -> Data:
    """scikit-learn's digits, 8 × 8, as grey photos; preparing enlarges them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    photos = np.repeat((found.images * 15.9).astype(np.uint8)[..., None], 3, axis=3)
    return _of(((photo, str(label), "") for photo, label in zip(photos, found.target, strict=True)), "image")


def department(name: str) -> Callable[[Path], Data]:
    return lambda data: READ["kitchen"](data / "text" / "amazon_reviews" / name)


# Candidates.


def packaged(name: str, data: Path) -> Backbone:
    return find(name)


def redrawn(base: str, above: int) -> Callable[[str, Path], Backbone]:
    """``base`` with everything above its tap number ``above`` drawn anew (0: all of it)."""

    def make(name: str, data: Path) -> Backbone:
        found = find(base)
        again = _redrawn_photos if isinstance(found, ImageBackbone) else _redrawn_texts
        return again(found, above, name, data)  # type: ignore[arg-type]

    return make


def _redrawn_photos(found: ImageBackbone, above: int, name: str, data: Path) -> Backbone:
    """Batch norms above are set to what a few photos give there, as training would leave them."""
    import torch

    from headstart.backbones._convnet_torch import network, weights_of

    architecture = replace(found.architecture, classes=0)
    new = tuple(prefix for _, prefixes in architecture.stages[above:] for prefix in prefixes)
    drawn, kept = _convnet.initial(architecture, seed=1), found.weights(0)
    made = network(architecture, found.preprocess, {key: (drawn if key.startswith(new) else kept)[key] for key in drawn})
    for part, module in made.module.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and f"{part}.".startswith(new):
            module.momentum = None  # the plain mean of what is seen
            module.train()
    photos = sorted((data / "pacs" / "photo").glob("*/*"))[::15]
    with torch.inference_mode():
        made.above(torch.from_numpy(found.prepare(photos)), None)
    arrays = weights_of(made.module)
    card, identity = _card(found, above, name), _io.fingerprint(arrays)
    return image_backbone(architecture, found.preprocess, lambda seed: arrays, card=card, identity=identity, pretrained=True)


def _redrawn_texts(found: TextBackbone, above: int, name: str, data: Path) -> Backbone:
    """Above tap 1 is everything but the embeddings, which are the first tap."""
    architecture = found.architecture
    new = tuple(prefix for _, prefixes in architecture.stages[above:] for prefix in prefixes)
    drawn, kept = _encoder.initial(architecture, seed=1), found.weights(0)
    arrays = {key: (drawn if key.startswith(new) else kept)[key] for key in drawn}
    card, identity = _card(found, above, name), _io.fingerprint(arrays)
    return text_backbone(architecture, found.pieces, lambda seed: arrays, card=card, identity=identity, pretrained=True)


def _card(found: Backbone, above: int, name: str) -> Any:
    said = f"{found.card.trained_on}; then drawn at random above tap {above}" if above else "nothing: random weights"
    return replace(found.card, name=name, trained_on=said, prior=None)


def characters(name: str, data: Path) -> Backbone:
    """A small network that was trained here on handwritten characters of two alphabets, and on no photo."""
    folder = _io.cache_folder() / "truth" / name
    if not (folder / own.CARD).exists():
        slim, rows = find("efficientnet_lite0:slim"), []
        with zipfile.ZipFile(data / "omniglot" / "images_background_small1.zip") as archive:
            for file in sorted(one for one in archive.namelist() if one.endswith(".png")):
                alphabet, character = Path(file).parts[1:3]
                if alphabet in ("Greek", "Latin"):
                    rows.append((archive.read(file), f"{alphabet} {character}", ""))
        problem, _ = _of(rows, "image")
        recipe = Recipe(strategy_named("scratch:augment=flip_crop,flip=false"), headstart.Lens(((slim, "head"),)))
        predictor: Any = recipe.fit(problem, plan=Plan(epochs=20, threads=1), seed=0)
        module = predictor.scorer.model.network.module
        own.save_backbone(module, slim, folder, name=name, trained_on=f"{len(problem.train)} Omniglot characters")  # type: ignore[arg-type]
    found = own.SOURCE.load(str(folder))
    return replace(found, card=replace(found.card, name=name))


IMAGES = {
    "clothing": Target(lambda data: _read(data / "clothing"), 30, 80),
    "pacs_sketch": Target(pacs("sketch"), 20, 45),
    "faces": Target(faces, 5, 5),
    "digits": Target(digits, 15, 30),
    "pacs_art": Target(pacs("art_painting"), 20, 45),
    "cells": Target(cells, 50, 100),
    "pacs_cartoon": Target(pacs("cartoon"), 20, 45),
    "pacs_photo": Target(pacs("photo"), 20, 45),
}
PHOTO_BASES = {
    "efficientnet_lite0": packaged,
    "mobilenet_v2": packaged,
    "efficientnet_lite1": packaged,
    "lite0_random_above_10": redrawn("efficientnet_lite0", 11),
    "lite0_random_above_5": redrawn("efficientnet_lite0", 6),
    "omniglot_slim": characters,
    "lite0_random": redrawn("efficientnet_lite0", 0),
    "efficientnet_lite2": packaged,
    "lite1_random_above_8": redrawn("efficientnet_lite1", 9),
}
TEXTS = {
    "trec": Target(lambda data: READ["trec"](data / "text" / "trec" / "qc.zip"), 64, 100),
    "sms": Target(lambda data: READ["sms"](data / "text" / "spam" / "SMSSpamCollection"), 64, 200),
    "books": Target(department("books"), 64, 120),
    "kitchen": Target(department("kitchen"), 64, 120),
    "dvd": Target(department("dvd"), 64, 120),
    "electronics": Target(department("electronics"), 64, 120),
    "banking": Target(lambda data: READ["banking"](data / "text" / "banking77"), 8, 10),
}
TEXT_BASES = {
    "all_minilm_l6_v2": packaged,
    "sre_minilm": packaged,
    "glove_6b_50d": packaged,
    "multilingual_use": packaged,
    "minilm_random_above_2": redrawn("all_minilm_l6_v2", 3),
    "minilm_random": redrawn("all_minilm_l6_v2", 0),
}
STUDIES: Mapping[str, tuple[Mapping[str, Target], Mapping[str, Callable[[str, Path], Backbone]]]] = {
    "images": (IMAGES, PHOTO_BASES),
    "texts": (TEXTS, TEXT_BASES),
}

if __name__ == "__main__":
    main()
