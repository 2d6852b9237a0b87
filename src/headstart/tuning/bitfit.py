"""Only the biases move."""

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
class BitFit:
    """All biases above the lens's cut, at ``share`` times the network's rate (Ben Zaken, Goldberg & Ravfogel 2022).

    They are a thousandth of a transformer's parameters. So few need larger steps: the paper's rates go up to 1e-3, which is
    five times the rate that an encoder has here. A convolutional network has no biases but the shifts of its batch norms,
    and those move. *Prefer it when* there are few labels, or when many tuned copies of one base are to be kept.
    """

    share: float = 5.0

    name: ClassVar[str] = "bitfit"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return lens.cut

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        above = [name for names in stages_above(network, cut).values() for name in names]
        biases = tuple(name for name in above if name.endswith("bias"))
        if not biases:
            raise NotAdmissible(
                f"'bitfit' moves biases, and this network has none above {cut or 'its input'}. Cut lower, or choose 'lora'."
            )
        return [Speed(biases, self.share)]
