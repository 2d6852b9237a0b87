"""Is the verdict calibrated? Fresh synthetic worlds, their own seeds; prints one table. About two minutes on one core.

    python benchmarks/verdict.py [--tables 1000] [--seed 90210]

The worlds are not those on which the rule was tuned: item difficulty is Student-t, the training draw is skewed, arms share
a third of the draw, and the learners are shrunken centroids on Laplace data. Lines: false helps and false hurts ≤ 2.5 %
each (Monte-Carlo error at 1,000 tables: ±0.5, one s.e.), coverage ≥ 95 %. Width is that of the printed interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from headstart.evidence import Arm, Cell, Evidence
from headstart.stages.judge import judge
from headstart.tasks.classification import Classification
from headstart.tasks.multi_label import MultiLabel

Tables = list[tuple[Cell, np.ndarray]]
CHUNKS = 60
CHOICE = SimpleNamespace(
    worth="base",
    challenger=SimpleNamespace(name="with"),
    incumbent=SimpleNamespace(name="without"),
    inner_scores={},
    cheaper="without",
    reason="",
)


def evidence(cells: Tables, *, task=None, blocks=None, train_size: int = 80) -> Evidence:
    n = cells[0][1].shape[0]
    items = tuple(map(str, range(n)))
    arms = (Arm("with", ("base",), False, {}), Arm("without", (), False, {}))
    labels = np.array(items if blocks is None else blocks, dtype=object)
    task = task or Classification(("no", "yes"))
    table = np.stack([outcomes for _, outcomes in cells])
    return Evidence(task, "base", arms, tuple(cell for cell, _ in cells), table, labels, {}, items, "exam", train_size)


def right(hits: np.ndarray, truth: np.ndarray | float = 0.0) -> np.ndarray:
    truth = np.broadcast_to(truth, hits.shape)
    return np.stack([hits, truth, np.where(hits > 0, truth, 1 - truth)], axis=1).astype(float)


def fits(seeds: int, arm: str, parts: list[np.ndarray]) -> list[tuple[Cell, np.ndarray]]:
    whole = [(Cell(arm, seed=s), np.arange(CHUNKS)) for s in range(seeds)]
    folds = [(r, k, np.delete(part, k, 0).ravel()) for r, part in enumerate(parts) for k in range(5)]
    return whole + [(Cell(arm, draw=f"fold/{r}/{k}"), seen) for r, k, seen in folds]


def latent(
    rng: np.random.Generator, *, n: int, levels: tuple[float, float], seeds: int, draw: float, repeats: int
) -> Evidence:
    """Items are answered right when t-distributed difficulty plus noise stays under the arm's level (in s.d.)."""
    difficulty, common = rng.standard_t(4, size=n), rng.exponential(size=CHUNKS) - 1
    parts, cells = [rng.permutation(CHUNKS).reshape(5, -1) for _ in range(repeats)], []
    for arm, level in zip(("with", "without"), levels, strict=True):
        influence = (np.sqrt(1 / 3) * common + np.sqrt(2 / 3) * (rng.exponential(size=CHUNKS) - 1)) * draw * np.sqrt(CHUNKS)
        view = 0.7 * rng.standard_t(4, size=n)
        for cell, seen in fits(seeds, arm, parts):
            own = rng.normal(size=n) * (0.8 if seeds > 1 else 0.2)
            if seeds > 1 and repeats:  # without draws the verdict is about these very fits: then none may be better
                own += 0.06 * rng.normal()
            cells.append((cell, right(difficulty + view + own < level + influence[seen].mean())))
    return evidence(cells)


def balanced(rng: np.random.Generator, *, n: int) -> Evidence:
    """Three classes at 60, 30 and 10 %, harder the rarer, equal arms."""
    task = Classification(("a", "b", "c"), metric="balanced_accuracy")
    truth = np.repeat([0, 1, 2], [n * 6 // 10, n * 3 // 10, n // 10])
    difficulty = rng.standard_t(4, size=len(truth)) + 0.6 * truth
    hits = [difficulty + 0.7 * rng.standard_t(4, size=len(truth)) < 1.2 for _ in range(2)]
    return evidence([(Cell(arm), right(h, truth)) for arm, h in zip(("with", "without"), hits, strict=True)], task=task)


def documents(rng: np.random.Generator, *, groups: int, size: int) -> Evidence:
    """Micro F1 of tags on sentences; documents have effects of their own on each arm."""
    task, blocks = MultiLabel(("tag",), metric="micro_f1"), np.repeat(np.arange(groups), size)
    shared, cells = rng.gamma(2.0, 0.4, size=groups)[blocks], []
    gold = rng.random(groups * size) < 0.6
    for arm in ("with", "without"):
        wrong = rng.random(groups * size) < 1 / (1 + np.exp(2.2 - shared - 0.8 * rng.standard_t(5, size=groups)[blocks]))
        said = gold ^ wrong
        cells.append((Cell(arm), np.stack([gold & said, ~gold & said, gold & ~said], axis=1).astype(float)))
    return evidence(cells, task=task, blocks=[f"document {b}" for b in blocks])


def centroids(rng: np.random.Generator, *, train: int, exam: int, seeds: int) -> Evidence:
    """Real learners: shrunken centroids on 16 Laplace columns each; both arms' columns say equally much."""
    y, test = np.arange(train) % 2, np.arange(exam) % 2
    cells: Tables = []
    folds = [rng.permutation(train) % 5 for _ in range(2)]
    for arm in ("with", "without"):
        X = rng.laplace(size=(train, 16)) + 0.3 * (2 * y[:, None] - 1)
        Z = rng.laplace(size=(exam, 16)) + 0.3 * (2 * test[:, None] - 1)

        def fit(rows: np.ndarray, X: np.ndarray = X, Z: np.ndarray = Z) -> np.ndarray:
            gap = X[rows & (y == 1)].mean(0) - X[rows & (y == 0)].mean(0)
            gap = np.sign(gap) * np.maximum(np.abs(gap) - 0.1, 0) + (0.15 * rng.normal(size=16) if seeds > 1 else 0.0)
            middle = (X[rows & (y == 1)].mean(0) + X[rows & (y == 0)].mean(0)) / 2
            return right(((Z - middle) @ gap > 0) == (test == 1), test.astype(float))

        cells += [(Cell(arm, seed=s), fit(np.ones(train, bool))) for s in range(seeds)]
        cells += [(Cell(arm, draw=f"fold/{r}/{k}"), fit(fold != k)) for r, fold in enumerate(folds) for k in range(5)]
    return evidence(cells, train_size=train)


def row(
    name: str, world: Callable[[np.random.Generator], Evidence], tables: int, seed: int, truth: float | None = 0.0
) -> None:
    """One line: what ``tables`` draws of ``world`` were judged to be. ``truth`` is the true gain (None: not known)."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(tables):
        found.append(judge(world(rng), CHOICE))
    share = {
        outcome: 100 * np.mean([v.outcome == outcome for v in found]) for outcome in ("helps", "hurts", "no difference")
    }
    gains = [v.gain for v in found if v.gain]
    pair = [
        100 * np.mean([v.pair.low > 0 for v in found if v.pair]),
        100 * np.mean([v.pair.high < 0 for v in found if v.pair]),
    ]
    covers = "" if truth is None else f"{100 * np.mean([g.low <= truth <= g.high for g in gains]):6.1f}"
    shares = "".join(f"{share[outcome]:8.1f}" for outcome in ("helps", "hurts", "no difference"))
    width = np.mean([g.high - g.low for g in gains])
    print(f"{name:46}{tables:7}{shares} |{pair[0]:6.1f}{pair[1]:6.1f} |{covers:>7}{width:8.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=90210)
    asked = parser.parse_args()
    started, equal = time.perf_counter(), (0.9, 0.9)
    print("True gain 0. %: helps, hurts, no difference | items alone: low > 0, high < 0 | coverage, width")
    worlds: list[tuple[str, Callable[[np.random.Generator], Evidence]]] = []
    for n in (60, 200, 800):
        for seeds in (1, 3):
            bare = lambda rng, n=n, s=seeds: latent(rng, n=n, levels=equal, seeds=s, draw=0.0, repeats=0)  # noqa: E731
            worlds.append((f"items only, {n} items, S = {seeds}", bare))
    for n in (100, 500):
        for seeds in (1, 3):
            drawn = lambda rng, n=n, s=seeds: latent(rng, n=n, levels=equal, seeds=s, draw=0.16, repeats=2)  # noqa: E731
            worlds.append((f"training draw, {n} items, S = {seeds}", drawn))
    for train in (16, 40, 120):
        for seeds in (1, 3):
            learnt = lambda rng, t=train, s=seeds: centroids(rng, train=t, exam=400, seeds=s)  # noqa: E731
            worlds.append((f"centroids, {train} training, 400 exam items, S = {seeds}", learnt))
    worlds.append(("balanced accuracy, 100 items", lambda rng: balanced(rng, n=100)))
    worlds.append(("balanced accuracy, 400 items", lambda rng: balanced(rng, n=400)))
    for groups, size in ((6, 40), (15, 20), (60, 5)):
        worlds.append(
            (f"micro F1, {groups} documents × {size}", lambda rng, g=groups, s=size: documents(rng, groups=g, size=s))
        )
    for number, (name, world) in enumerate(worlds):
        row(name, world, asked.tables, asked.seed + number)
    print("\nPlanted gains (power)")
    strong = lambda rng: latent(rng, n=400, levels=(2.0, 0.4), seeds=1, draw=0.05, repeats=2)  # noqa: E731
    weak = lambda rng: latent(rng, n=100, levels=(1.3, 0.7), seeds=3, draw=0.05, repeats=2)  # noqa: E731
    row("large gain, 400 items", strong, asked.tables // 4, asked.seed + 100, None)
    row("small gain, 100 items, S = 3", weak, asked.tables // 4, asked.seed + 101, None)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
