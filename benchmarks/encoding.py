"""How fast texts become features: Headstart against a plain transformers loop and sentence-transformers.

    python benchmarks/encoding.py banking77/train.csv --column text
    python benchmarks/encoding.py amazon_reviews/books/positive.review --mixed

A file is a CSV (``--column`` names its texts), a ``.review`` file of the multi-domain sentiment set, or plain text with one
text a line. ``--mixed`` cuts the texts into runs of one to a few sentences: lengths of a long tail. All sides run in turn,
A B A B, in one process with the same number of threads; medians are compared. Texts longer than the model reads at once are
left out, since the others truncate them. Needs ``pip install transformers sentence-transformers``.

Targets at a cosine of at least 0.9999: mixed lengths ≥ 4 × the loop in arrival order and ≥ 1.5 × sentence-transformers;
short texts ≥ 3 × and ≥ 1.1 ×; tokenising and planning ≤ 2 % of the time. CPU seconds are the fairer ones on a busy machine.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32  # of the others: what sentence-transformers takes by default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--backbone", default="all_minilm_l6_v2")
    parser.add_argument("--folder", type=Path, help="the same model as a transformers folder; by default its package")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()

    import os

    from headstart import backbones
    from headstart.backbones._sessions import threads

    if asked.threads:
        os.environ["HEADSTART_THREADS"] = str(asked.threads)
    backbone = backbones.find(asked.backbone)
    texts = chosen(read(asked.file, asked.column), backbone, asked.count, mixed=asked.mixed)
    sides = {"Headstart": headstart(backbone), **peers(asked.folder or package(asked.backbone), threads())}
    rows, wall, cpu = alternate(sides, texts, asked.rounds)
    print(f"\n{asked.backbone}, {threads()} threads, medians of {asked.rounds} rounds\n")
    print("| side | texts/s | CPU ms a text | Headstart is faster by, wall | by, CPU | min cosine |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sides:
        close, ratios = cosines(rows["Headstart"], rows[name]).min(), [one[name] / one["Headstart"] for one in (wall, cpu)]
        speed, cost = len(texts) / wall[name], 1000 * cpu[name] / len(texts)
        print(f"| {name} | {speed:.0f} | {cost:.2f} | {ratios[0]:.2f}x | {ratios[1]:.2f}x | {close:.7f} |")
    share = planning(backbone, texts, asked.rounds) / cpu["Headstart"]
    print(f"\nTokenising and planning: {100 * share:.1f} % of Headstart's CPU time.")


def read(file: Path, column: str) -> list[str]:
    """The texts in ``file``."""
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8") as stream:
            return [row[column] for row in csv.DictReader(stream)]
    content = file.read_text("utf-8", "replace")
    if file.suffix == ".review":
        return [" ".join(found.split()) for found in re.findall(r"<review_text>(.*?)</review_text>", content, re.DOTALL)]
    return [line for line in content.splitlines() if line.strip()]


def chosen(texts: list[str], backbone: Any, count: int, *, mixed: bool) -> list[str]:
    """``count`` of ``texts`` in a random order that is always the same, all short enough for every side."""
    draw = random.Random(0)
    if mixed:
        texts = [run for text in texts for run in runs(text, draw)]
    draw.shuffle(texts)
    lengths = np.diff(backbone.prepare(texts).offsets)
    fitting = [place for place, length in enumerate(lengths) if length <= backbone.pieces.limit][:count]
    found = lengths[fitting]
    quarter = "median {:.0f}, 95th percentile {:.0f}, longest {:.0f}".format(*np.percentile(found, [50, 95, 100]))
    padded = sum(len(part) * part.max() for part in np.split(found, range(BATCH, len(found), BATCH)))
    print(f"{len(found)} texts of {found.mean():.1f} word pieces ({quarter}); ", end="")
    print(f"padded in arrival order {padded / found.sum():.1f} positions a piece")
    return [texts[place] for place in fitting]


def runs(text: str, draw: random.Random) -> list[str]:
    """``text`` as runs of sentences: mostly one, some of many."""
    sentences, found = re.split(r"(?<=[.!?])\s+", text), []
    while sentences:
        size = max(1, round(draw.lognormvariate(0.2, 0.8)))
        found.append(" ".join(sentences[:size]))
        sentences = sentences[size:]
    return [one for one in found if one.strip()]


def package(name: str) -> Path:
    """The folder that the package of ``name`` installed."""
    from headstart.backbones import _pinned, packaged

    asset = packaged._named(name).asset
    place = _pinned._installed(asset.packages[0], asset.files[0].inside)
    if place is None:
        raise SystemExit(f"The package {asset.packages[0]} is not installed. Give the model's folder with --folder.")
    return place.parent


def headstart(backbone: Any) -> Callable[[list[str]], np.ndarray]:
    """All places at once, as the feature store asks for them; the last is compared."""
    taps = [tap.name for tap in backbone.taps if not tap.table]
    return lambda texts: backbone.features(texts, taps)[taps[-1]].rows


def peers(folder: Path, threads: int) -> dict[str, Callable[[list[str]], np.ndarray]]:
    """The others, each on the model in ``folder``."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise SystemExit(f"{error}. This benchmark needs: pip install transformers sentence-transformers") from error
    torch.set_num_threads(threads)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    sentences = SentenceTransformer(str(folder), device="cpu")

    def loop(texts: list[str]) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                part = tokenizer(texts[start : start + BATCH], padding=True, return_tensors="pt")
                mask = part["attention_mask"][:, :, None].float()
                state = model(**part).last_hidden_state
                rows.append(((state * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(rows)

    def encode(texts: list[str]) -> np.ndarray:
        return np.asarray(sentences.encode(texts, batch_size=BATCH, show_progress_bar=False))

    return {"transformers, arrival order": loop, "sentence-transformers": encode}


def alternate(
    sides: dict[str, Callable[[list[str]], np.ndarray]], texts: list[str], rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, float]]:
    """The answers of each side, and the medians of its wall and CPU seconds; a few texts before for warming up."""
    for run in sides.values():
        run(texts[:64])
    rows, wall, cpu = {}, {name: [] for name in sides}, {name: [] for name in sides}  # type: ignore[var-annotated]
    for _ in range(rounds):
        for name, run in sides.items():
            clocks = time.perf_counter(), time.process_time()
            rows[name] = run(texts)
            wall[name].append(time.perf_counter() - clocks[0])
            cpu[name].append(time.process_time() - clocks[1])
    medians = [{name: statistics.median(found) for name, found in one.items()} for one in (wall, cpu)]
    return rows, medians[0], medians[1]


def planning(backbone: Any, texts: list[str], rounds: int) -> float:
    """CPU seconds until the first batch could run."""
    from headstart.backbones._pieces import Layout
    from headstart.backbones._texts import BUDGET

    found = []
    for _ in range(rounds):
        begin = time.process_time()
        prepared = backbone.prepare(texts)
        list(Layout.of(prepared.rows[:, 1], prepared.offsets).batches(BUDGET))
        found.append(time.process_time() - begin)
    return statistics.median(found)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


if __name__ == "__main__":
    main()
