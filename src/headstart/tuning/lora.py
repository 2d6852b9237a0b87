"""Low-rank pairs beside the weights move."""

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
class LoRA:
    """W₀ + (``alpha``/r) B A on every linear map above the lens's cut, with r = ``rank``; only A and B move (Hu et al. 2022).

    Linear maps are linear layers, and in a convolutional network the 1×1 convolutions. B begins at zero, so that the network
    begins as the base, to the bit. ``stabilised`` divides by √r instead of r, which larger ranks need (rsLoRA; Kalajdzievski
    2023). The pairs move at ``share`` times the network's rate: the paper's rates for encoders, 4e-4 and 5e-4, are two to
    three times the one that moves all of an encoder here. Part of the way to the probe is part of the way for A and for B.
    *Prefer it when* many tuned copies of one base are to be kept, or other programs are to read the adapter
    (``write_adapter``). On a CPU it is no faster than moving all.
    """

    rank: int = 8
    alpha: float = 16.0
    stabilised: bool = False
    share: float = 3.0

    name: ClassVar[str] = "lora"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return lens.cut

    def attach(self, network: Network, cut: str | None) -> None:
        from headstart._pairs import build_in, linear_maps

        above = {name for names in stages_above(network, cut).values() for name in names}
        build_in(linear_maps(network, above), rank=self.rank, scale=self._scale())

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        from headstart._pairs import pairs_in

        names = tuple(f"{path}.parametrizations.weight.0.{part}" for path in pairs_in(network.module) for part in ("A", "B"))
        if not names:
            raise NotAdmissible(
                f"'lora' needs linear maps, and this network has none above {cut or 'its input'}. Cut lower, or choose "
                "'layer_decay'."
            )
        return [Speed(names, self.share)]

    def _scale(self) -> float:
        return self.alpha / (max(self.rank, 1) ** (0.5 if self.stabilised else 1.0))
