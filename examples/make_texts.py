"""Make ``examples/banking`` and ``examples/tweets``: ``python make_texts.py BANKING WNUT [OUT]``.

BANKING holds train.csv and test.csv of Banking77; WNUT the files of WNUT-17, somewhere below it. The draws are seeded: the
same sources give the same files. Of 40 intents, 8 queries each are drawn to learn from and 12 for the exam; of the tweets
and comments, 600 sentences to learn from and 400 for the exam.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

INTENTS, TRAIN, EXAM = 40, 8, 12
SENTENCES = {"train": ("wnut17train.conll", 600), "test": ("emerging.test.annotated", 400)}
SEED = 2024


def queries(source: Path, out: Path) -> None:
    """One table with a split column."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in ("train", "test"):
        with open(source / f"{part}.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["category"], {}).setdefault(part, []).append(row["text"].strip())
    draw = random.Random(SEED)
    rows: list[tuple[str, str, str]] = []
    for intent in sorted(draw.sample(sorted(found), INTENTS)):
        for part, count in (("train", TRAIN), ("test", EXAM)):
            rows += [(text, intent, part) for text in draw.sample(sorted(set(found[intent][part])), count)]
    with open(out / "queries.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["query", "intent", "split"])
        writer.writerows(rows)


def sentences(source: Path, out: Path) -> None:
    """A file a part: a word and its tag a line, a blank line between sentences."""
    draw = random.Random(SEED)
    for part, (name, count) in SENTENCES.items():
        text = next(source.rglob(name)).read_text("utf-8")
        whole = [block for block in ("\n".join(line.rstrip() for line in text.splitlines())).split("\n\n") if block.strip()]
        chosen = sorted(draw.sample(range(len(whole)), count))
        (out / f"{part}.conll").write_text("\n\n".join(whole[i].strip("\n") for i in chosen) + "\n", "utf-8")


if __name__ == "__main__":
    banking, wnut, *where = map(Path, sys.argv[1:])
    root = where[0] if where else Path(__file__).parent
    for folder, make, given in (("banking", queries, banking), ("tweets", sentences, wnut)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        make(given, root / folder)
