"""Text: transfer against doing without, on whole public data sets and at small amounts of labels.

    python benchmarks/texts.py banking FOLDER            Banking77, frozen, fine-tuned, without: accuracy and seconds
    python benchmarks/texts.py trec|sms|kitchen FILE     8, 16, 64 labels a class and all: mean ± s.d. over draws, and verdicts
    python benchmarks/texts.py names FOLDER [WNUT]       CoNLL-2003 at 1, 10, 100 %; the same tagger on WNUT-17, and tuned on it

FOLDER or FILE are copies of the data: banking77/ with train.csv and test.csv; qc.zip of NLTK; SMSSpamCollection; a folder of
Blitzer's reviews with positive.review and negative.review; conll2003/ with train.txt, valid.txt and test.txt; wnut17/.
``--draws`` training draws are made at each small amount. Nothing is chosen on an exam. Strategies see the training part
alone; validation parts are left out.
"""

from __future__ import annotations

import argparse
import html
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import headstart
from headstart._io import cache_folder
from headstart.readers.arrays import from_arrays
from headstart.registry import get
from headstart.stages.estimate import estimate
from headstart.stages.read import read
from headstart.strategy import Plan, Recipe, strategy_named

BASE = "all_minilm_l6_v2"
BUDGET = 1800.0
Data = tuple[headstart.Problem, headstart.Exam]


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("study", choices=("banking", "trec", "sms", "kitchen", "names"))
    words.add_argument("data", type=Path)
    words.add_argument("more", type=Path, nargs="?")
    words.add_argument("--draws", type=int, default=5)
    words.add_argument("--amounts", type=int, nargs="*", default=[8, 16, 64, 0], help="labels a class; 0: all")
    words.add_argument("--strategies", nargs="*", help="of the table; default all")
    words.add_argument("--judged", nargs="*", default=["plain", "nearest_mean", "linear_probe"], help="of the verdicts")
    words.add_argument("--cut", help="layer to freeze up to, instead of what locate advises")
    words.add_argument("--whole", action="store_true", help="tune all layers, by the freeze plan")
    words.add_argument("--epochs", type=int, default=8, help="of tuning")
    words.add_argument("--verdicts", action=argparse.BooleanOptionalAction, default=True)
    words.add_argument("--base", default=BASE)
    asked = words.parse_args()
    if asked.study == "names":
        names(asked.data, asked.more, asked)
    else:
        amounts: Sequence[int | None] = (None,) if asked.study == "banking" else [one or None for one in asked.amounts]
        documents(READ[asked.study](asked.data), amounts, asked)


def documents(data: Data, amounts: Sequence[int | None], asked: argparse.Namespace) -> None:
    """A row a strategy, a column an amount; then a verdict an amount."""
    problem, exam = data
    print(f"{len(problem.train)} training and {len(exam)} exam texts, {problem.task.width} classes")
    heads = [f"{amount} a class" if amount else "all" for amount in amounts]
    print(f"| strategy | base | {' | '.join(heads)} | seconds, all fits |\n| --- | --- |{' --- |' * (len(heads) + 1)}")
    for recipe in recipes(problem, asked):
        table(problem, exam, recipe, [(amount, asked.draws) for amount in amounts], epochs=asked.epochs)
    for amount in amounts if asked.verdicts else ():
        part = problem if amount is None else problem.shrink(amount, seed=0)
        print(f"\n{len(part.train)} training texts: {verdict(part, exam, asked)}", flush=True)


def recipes(problem: headstart.Problem, asked: argparse.Namespace) -> list[Recipe]:
    """What is compared, each with the layers that ``locate`` advises on the whole training part."""
    store = headstart.FeatureStore(cache_folder() / "features")
    lens = headstart.locate(problem, asked.base, store=store, plan=Plan(whole=asked.whole)).lens(store)
    lens = replace(lens, cut=asked.cut) if asked.cut else lens
    print(f"{asked.base}: read at {lens.reads[0][1]}, frozen up to {lens.cut}", flush=True)
    names = asked.strategies or ["chance", "plain", "nearest_mean", "linear_probe", "fine_tune", "scratch"]
    names = [name for name in names if name != "nearest_mean" or problem.task.unit == "item"]
    starts = {"nothing": headstart.Lens(store=store), "pretrained": lens, "untrained": lens.untrained(slim=True)}
    return [Recipe(one, starts[one.starts_from]) for one in map(strategy_named, names)]


def table(
    problem: headstart.Problem,
    exam: headstart.Exam,
    recipe: Recipe,
    amounts: Sequence[tuple[int | None, int]],
    *,
    epochs: int,
) -> list[Any]:
    """Print the row of ``recipe``; the predictors of its last column."""
    cells, started, made = [], time.perf_counter(), []
    for amount, draws in amounts:
        scores, made = [], []
        several = draws if amount else 1 if recipe.strategy.deterministic else min(draws, 2)
        for seed in range(several):
            part = problem if amount is None else problem.shrink(amount, seed=seed)
            made.append(recipe.fit(part, plan=plan_for(part, epochs), seed=seed))
            scores.append(problem.task.score(problem.task.sit(made[-1], exam.examples)))
        cells.append(f"{np.mean(scores):.3f}" + (f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""))
    took = time.perf_counter() - started
    print(f"| {recipe.strategy.name} | {recipe.lens.title or '–'} | {' | '.join(cells)} | {took:.0f} |", flush=True)
    return made


def plan_for(problem: headstart.Problem, epochs: int) -> Plan:
    """The plan of a generous budget; tuning is never left out."""
    plan = estimate(problem, BUDGET)
    return replace(plan, tuned_epochs=epochs, epochs=min(30, plan.epochs), threads=2)


def verdict(problem: headstart.Problem, exam: headstart.Exam, asked: argparse.Namespace) -> str:
    """What `headstart transfer` says of this part of the training data."""
    with tempfile.TemporaryDirectory() as folder:
        run = headstart.transfer(
            problem, exam=exam, backbones=[asked.base], strategies=asked.judged, budget=600, out=Path(folder) / "run"
        )
        return run.verdict.sentence


def names(conll: Path, wnut: Path | None, asked: argparse.Namespace) -> None:
    """Entity F1 of taggers trained on parts of CoNLL-2003, on its test part; then on another domain."""
    problem, exam = read(conll, task="token_labels")
    assert exam is not None
    problem = replace(problem, valid=None)
    total = len(problem.train)
    print(f"{total} training and {len(exam)} exam sentences; entity F1")
    shares = [(0.01, asked.draws), (0.1, min(3, asked.draws))] if asked.draws else []  # --draws 0: all of it alone
    amounts = [(round(total * share), draws) for share, draws in shares]
    heads = [*(f"{share:.0%}" for share, _ in shares), "100%"]
    print(f"| strategy | base | {' | '.join(heads)} | seconds, all fits |\n| --- | --- |{' --- |' * (len(heads) + 1)}")
    made = {
        r.strategy.name: table(problem, exam, r, [*amounts, (None, 1)], epochs=asked.epochs)[0]
        for r in recipes(problem, asked)
    }
    if wnut is None:
        return
    other, far = read(wnut, task="token_labels")
    assert far is not None
    other = replace(other, valid=None)
    print("\n| trained on CoNLL-2003, asked on WNUT-17 | person F1 | location F1 |\n| --- | --- | --- |")
    for name, predictor in made.items():
        print(f"| {name} | {' | '.join(f'{one:.3f}' for one in across(predictor, far))} |", flush=True)
    print("\n| trained on WNUT-17 | base | entity F1 | seconds |\n| --- | --- | --- | --- |")
    for recipe in recipes(other, asked):
        table(other, far, recipe, [(None, 1)], epochs=asked.epochs)


def across(predictor: Any, exam: headstart.Exam) -> list[float]:
    """F1 on the two types that both schemes have: PER is person, LOC is location; whatever else is outside."""
    task = get("tasks", "token_labels")(("O", "B-person", "I-person", "B-location", "I-location"))
    same = {"PER": "person", "LOC": "location"}

    def told(tags: Sequence[str]) -> tuple[str, ...]:
        kinds = [same.get(tag[2:], tag[2:]) for tag in tags]
        return tuple(f"{tag[0]}-{kind}" if kind in same.values() else "O" for tag, kind in zip(tags, kinds, strict=True))

    def column(sentences: Any) -> np.ndarray:
        out = np.empty(len(sentences), dtype=object)
        out[:] = [told(tags) for tags in sentences]
        return out

    outcomes = task.outcomes(column(exam.examples.targets), column(predictor.predict(exam.examples)))
    return [row[4] for row in task.by_type(outcomes)]


def banking(folder: Path) -> Data:
    rows = [(text, label, part) for part in ("train", "test") for text, label in _csv(folder / f"{part}.csv")]
    return _problem(rows)


def trec(file: Path) -> Data:
    with zipfile.ZipFile(file) as archive:
        names = {part: next(n for n in archive.namelist() if n.endswith(f"{part}.txt")) for part in ("train", "test")}
        lines = [(part, line) for part, n in names.items() for line in archive.read(n).decode("latin-1").splitlines()]
    return _problem([(line.partition(" ")[2], line.partition(":")[0], part) for part, line in lines if line.strip()])


def sms(file: Path) -> Data:
    """No parts of its own: a third is the exam, drawn once."""
    rows = [line.partition("\t") for line in file.read_text("utf-8").splitlines() if line.strip()]
    return _problem([(text, label.lower(), "") for label, _, text in rows])


def kitchen(folder: Path) -> Data:
    """Reviews of one department; a third is the exam, drawn once."""
    rows = []
    for label in ("positive", "negative"):
        content = (folder / f"{label}.review").read_text("latin-1")
        rows += [
            (html.unescape(t).strip(), label, "") for t in re.findall(r"<review_text>(.*?)</review_text>", content, re.S)
        ]
    return _problem(rows)


def _csv(file: Path) -> list[tuple[str, str]]:
    import csv

    with open(file, encoding="utf-8", newline="") as opened:
        return [(row["text"].strip(), row["category"]) for row in csv.DictReader(opened)]


def _problem(rows: Sequence[tuple[str, str, str]]) -> Data:
    texts, labels, parts = zip(*rows, strict=True)
    problem, exam = read(from_arrays(list(texts), list(labels), kind="text", parts=list(parts)), task="classification")
    return (problem, exam) if exam is not None else problem.split(seed=0)


READ: dict[str, Callable[[Path], Data]] = {"banking": banking, "trec": trec, "sms": sms, "kitchen": kitchen}

if __name__ == "__main__":
    main()
