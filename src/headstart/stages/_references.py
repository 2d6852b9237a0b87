"""Small labelled sets that are on every machine: what a base could do before it was tuned is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import registry
from headstart.problem import Examples, Items

EACH = 20  # items a class, of ten classes
# None of them repeats another, and each has paragraphs enough in one version of the manual or another.
CHAPTERS = (
    "assignment",
    "attribute-access",
    "comparisons",
    "compound",
    "debugger",
    "execmodel",
    "formatstrings",
    "import",
    "types",
    "typesseq",
)


@dataclass(frozen=True, eq=False)
class Reference:
    """Labelled examples of a task that no user brought, and what a sentence calls its items."""

    title: str
    examples: Examples


def reference(kind: str) -> Reference | None:
    """The set for this kind of input, 20 items in each of ten classes; None where there is none.

    For images, handwritten digits (scikit-learn's copy); for texts, paragraphs of Python's own manual, by chapter: a few
    chapters less where this Python's manual is shorter.
    """
    return _SETS[kind]() if kind in _SETS else None


def _digits() -> Reference | None:
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = np.concatenate([np.flatnonzero(found.target == digit)[:EACH] for digit in range(10)])
    photos = [np.round(image * (255 / 16)).astype(np.uint8) for image in found.images[rows]]
    return Reference("handwritten digits", _examples("image", photos, [str(one) for one in found.target[rows]]))


def _manual() -> Reference | None:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some systems strip it
        return None
    texts: list[str] = []
    labels: list[str] = []
    for chapter in CHAPTERS:
        paragraphs = [" ".join(one.split()) for one in topics.get(chapter, "").split("\n\n") if not one.startswith("   ")]
        chosen = list(dict.fromkeys(one for one in paragraphs if 60 <= len(one) <= 600))[:EACH]
        if len(chosen) == EACH:
            texts, labels = texts + chosen, labels + [chapter] * EACH
    return Reference("paragraphs of Python's manual", _examples("text", texts, labels)) if texts else None


def _examples(kind: str, inputs: list[Any], labels: list[str]) -> Examples:
    marks = tuple(registry.get("inputs", kind)().fingerprint(one) for one in inputs)
    names = tuple(f"{label}-{place}" for place, label in enumerate(labels))
    return Examples.of(Items(kind, inputs, names, marks, np.asarray(labels, dtype=object)))


_SETS: dict[str, Callable[[], Reference | None]] = {"image": _digits, "text": _manual}
