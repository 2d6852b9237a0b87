"""The mean of several trainings at different rates, as far as it helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Soup:
    """One training at each of ``rates`` (times the rate); the mean of those weights whose joining raises no held-out loss.

    The greedy soup (Wortsman et al. 2022): the probe and each run are tried from the lowest loss up, so that it is never
    worse there than the probe. Where nothing could be held out, the mean of all. *Prefer it when* there is time for
    ``len(rates)`` trainings and the best rate is not clear.
    """

    rates: tuple[float, ...] = (0.5, 1.0, 2.0)

    name: ClassVar[str] = "soup"
    slot: ClassVar[str] = "average"

    def weigh(self, runs: int, loss: Callable[[np.ndarray], float] | None) -> np.ndarray:
        alone = np.eye(1 + runs)
        if loss is None:
            return alone.mean(axis=0)
        losses = np.nan_to_num([loss(one) for one in alone], nan=np.inf)
        best, *others = np.argsort(losses, kind="stable")  # the probe first, of equals
        members, lowest = [best], losses[best]
        for one in others:
            reached = loss(alone[[*members, one]].mean(axis=0))
            if reached <= lowest:
                members, lowest = [*members, one], reached
        return alone[members].mean(axis=0)
