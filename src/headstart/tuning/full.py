"""The whole network moves, at one rate."""

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
class Full:
    """Every layer, all at one rate: what most tutorials mean by fine-tuning. No cut, no plan; nothing is cached.

    *Prefer it when* there are thousands of labels, the data is far from what the base was trained on, and time is no matter.
    """

    name: ClassVar[str] = "full"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return None

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        return [Speed(tuple(names)) for names in reversed(stages_above(network, cut).values())]
