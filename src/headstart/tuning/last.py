"""Nothing is averaged: the tuned weights ship as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Last:
    """The weights of the best epoch, whatever the probe can do: no floor. *Prefer it when* you compare with other tools,
    which do the same; ``full+last`` is plain fine-tuning."""

    name: ClassVar[str] = "last"
    slot: ClassVar[str] = "average"
    rates: ClassVar[tuple[float, ...]] = (1.0,)

    def weigh(self, runs: int, loss: Callable[[np.ndarray], float] | None) -> np.ndarray:
        return np.array([0.0, 1.0])
