"""Part of the way from the probe to the tuned weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class WiseFT:
    """How far to go from the probe (share 0) to the tuned network (share 1), by held-out log-loss (Wortsman et al. 2022).

    Share 0 is the probe, so that it is the floor. Where nothing could be held out it goes half the way. *Prefer it when* you
    have no reason for another: it is the default.
    """

    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    name: ClassVar[str] = "wise_ft"
    slot: ClassVar[str] = "average"
    rates: ClassVar[tuple[float, ...]] = (1.0,)

    def weigh(self, runs: int, loss: Callable[[np.ndarray], float] | None) -> np.ndarray:
        options = [np.array([1 - share, share]) for share in self.shares]
        if loss is None:
            return options[int(np.argmin(np.abs(np.asarray(self.shares) - 0.5)))]
        return min(options, key=lambda shares: (loss(shares), shares[1]))
