"""Everything above the cut moves, slower the deeper it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headstart._network import stages_above
from headstart.tuning import Speed

if TYPE_CHECKING:
    from headstart.backbone import Network
    from headstart.features import Lens, Move


@dataclass(frozen=True)
class LayerDecay:
    """All stages above the lens's cut, each at ``decay`` times the rate of the one above it (ULMFiT; Howard & Ruder 2018).

    Where the lens has a freeze plan, each stage moves at the share that the plan gives it instead, and one without a share
    stays as it is (surgical fine-tuning; Lee et al. 2023). *Prefer it when* you have no reason for another: it is the default.
    """

    decay: float = 0.7

    name: ClassVar[str] = "layer_decay"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return lens.cut

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        shares = {move.stage: move.share for move in plan}
        found = []
        for depth, (place, names) in enumerate(reversed(stages_above(network, cut).items())):
            share = shares.get(place)
            found.append(Speed(tuple(names), self.decay**depth if share is None else share))
        return [speed for speed in found if speed.share]
