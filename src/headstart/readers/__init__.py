"""Where examples come from. A reader says which items exist and what their labels are; nothing else.

A reader is a function ``read(path, options) -> Found``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TABLE = {
    "folder": "read",
    "table": "read",
    "conll": "read",
    "arrays": "read",
}


# What folders and split columns call the parts.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "exam"), "exam"),
}
# CoNLL-2003 calls its parts train, testa and testb.
_FILE_PARTS = {**PARTS, "testa": "valid", "testb": "exam"}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TEXT_SUFFIXES = (".txt",)
ABOUT = ("readme", "license", "licence")  # files about the data: nobody needs to hear that they are no items


@dataclass(frozen=True)
class Options:
    """What a user may say about where things stand in the data. Each reader uses what applies to it.

    Columns are named for tables. ``inputs`` is one column with paths; the column with texts or lists of words (several are
    joined); or the columns with numbers (default: every column that holds numbers and has no other role). ``split`` names a
    column with train / valid / test. Files of tagged words have columns too: ``inputs`` and ``label`` give their numbers,
    counted from 1, or the names that CoNLL-U has for them.
    """

    inputs: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    block: str | None = None
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Found:
    """What a reader found: raw inputs with names, labels and parts, before anything is opened or checked.

    ``targets`` holds one raw label an item (a string, a number, a tuple of strings for several labels or for the tags of
    words) or is None. ``parts`` says ``train``, ``valid``, ``exam`` or ``""`` (the reader does not know) an item. ``columns``
    names the columns that inputs come from: of numbers, or of texts. ``skipped`` has the name and the reason of each item
    that the reader would not take.
    """

    kind: str
    inputs: Sequence[Any]
    names: tuple[str, ...]
    targets: np.ndarray | None
    parts: tuple[str, ...]
    blocks: np.ndarray | None = None
    slices: dict[str, np.ndarray] = field(default_factory=dict)
    root: str = ""
    columns: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def part_of(name: str) -> str:
    """The part that a file's name speaks of (``eng.train``, ``train-00000-of-00002``, ``testb``); "" for none, or several."""
    found = {_FILE_PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _FILE_PARTS}
    return found.pop() if len(found) == 1 else ""
