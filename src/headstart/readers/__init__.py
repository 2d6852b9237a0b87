"""Where examples come from. A reader says which items exist and what their labels are; nothing else.

A reader is a function ``read(path, options) -> Found``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TABLE = {
    "folder": "read",
    "table": "read",
    "arrays": "read",
}


# What folders and split columns call the parts.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "exam"), "exam"),
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Options:
    """What a user may say about where things stand in the data. Each reader uses what applies to it.

    Columns are named for tables. ``inputs`` is one column with paths, or the columns with numbers (default: every column
    that holds numbers and has no other role). ``split`` names a column with train / valid / test.
    """

    inputs: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    block: str | None = None
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Found:
    """What a reader found: raw inputs with names, labels and parts, before anything is opened or checked.

    ``targets`` holds one raw label an item (a string, a number, a tuple of strings for several labels) or is None.
    ``parts`` says ``train``, ``valid``, ``exam`` or ``""`` (the reader does not know) an item. ``columns`` names the
    columns of number rows. ``skipped`` has the name and the reason of each item that the reader would not take.
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
