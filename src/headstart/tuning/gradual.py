"""Stage after stage begins to move, from the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headstart._network import stages_above
from headstart.errors import NotAdmissible
from headstart.tuning import Speed

if TYPE_CHECKING:
    from headstart.backbone import Network
    from headstart.features import Lens, Move


@dataclass(frozen=True)
class Gradual:
    """All stages above the lens's cut, the top one from the start and the lowest from ``until`` of the schedule on; each at
    1/``decay`` of the rate of the one above it (ULMFiT; Howard & Ruder 2018).

    In the paper a stage joins every epoch. Here they join evenly over the first part of the schedule, however many they are;
    at the default, three stages take two of eight epochs.
    *Prefer it when* the schedule is long, and tuning everything at once forgets what the base knew.
    """

    until: float = 0.3
    decay: float = 2.6

    name: ClassVar[str] = "gradual"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return lens.cut

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        if not 0 <= self.until < 1:
            raise NotAdmissible(
                f"'gradual' has until={self.until:g}: the lowest stage would never move. A share of the schedule, 0 or more and "
                "below 1, would be right."
            )
        stages = [names for names in reversed(stages_above(network, cut).values()) if names]
        if not stages:
            raise NotAdmissible(f"Nothing lies above {cut} that 'gradual' could move. Cut lower, or choose 'linear_probe'.")
        last = max(1, len(stages) - 1)
        return [Speed(tuple(names), self.decay**-depth, self.until * depth / last) for depth, names in enumerate(stages)]
