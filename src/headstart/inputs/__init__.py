"""What one item is: how it is loaded, told apart, bounded, shown, and described by classical features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

TABLE = {
    "image": "Image",
    "numbers": "Numbers",
    "text": "Text",
}


class Kind(Protocol):
    """What every kind of input offers. An instance has no state.

    ``plain`` features are the strong classical description of an item: (n, views, width). Views are equivalent looks at
    one item (a photo and its mirror image) that a kernel averages over; most kinds have one. Of texts they are a sparse
    matrix (units, width) instead.
    """

    name: str
    plural: str  # the word in sentences: "images", "rows"

    def check(self, raw: Any) -> None:
        """``ProblemError`` with the reason if the item cannot be used (truncated, a bomb, not of this kind)."""

    def load(self, raw: Any) -> Any:
        """The item itself."""

    def fingerprint(self, raw: Any) -> str:
        """The identity of the item's content (32 hex digits): same content, same fingerprint, wherever it lies."""

    def fit_plain(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """What the classical features must learn from training items (medians, scales, a vocabulary)."""

    def plain(self, inputs: Sequence[Any], state: dict[str, np.ndarray]) -> Any:
        """Classical features: (n, views, width) float64, or a scipy.sparse matrix (units, width)."""

    def views(self, count: int) -> tuple[str, ...]:
        """Up to ``count`` other looks at an item that mean the same, by the names that backbones of this kind know."""

    def work(self, raw: Any) -> float:
        """About how much a network computes for the item; a photo is 1."""

    def show(self, raw: Any, name: str) -> str:
        """A small piece of safe HTML that shows the item."""
