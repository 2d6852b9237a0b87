"""The upper part moves, at one rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headstart._network import stages_above
from headstart.backbone import feature_taps
from headstart.errors import NotAdmissible
from headstart.tuning import Speed

if TYPE_CHECKING:
    from headstart.backbone import Network
    from headstart.features import Lens, Move


@dataclass(frozen=True)
class Partial:
    """The last ``layers`` stages, all at one rate, whatever ``locate`` advises; what lies below runs once.

    *Prefer it when* you know how much should move, or to compare cuts.
    """

    layers: int = 2

    name: ClassVar[str] = "partial"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        places = list(dict.fromkeys(tap.place for tap in lens.backbone.taps if tap.resumable))
        last = feature_taps(lens.backbone)[-1].place
        places = places[: places.index(last) + 1] if last in places else places
        if not 0 < self.layers <= len(places):
            raise NotAdmissible(
                f"'partial' is to move the last {self.layers} stages of {lens.backbone.card.name}, which has {len(places)}. "
                f"Choose layers from 1 to {len(places)}."
            )
        return places[-self.layers - 1] if self.layers < len(places) else None

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        return [Speed(tuple(names)) for names in reversed(stages_above(network, cut).values())]
