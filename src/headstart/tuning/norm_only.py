"""Only the norms move."""

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
class NormOnly:
    """Scale and shift of every norm above the lens's cut, at ``share`` times the network's rate (Frankle, Schwab & Morcos
    2021 for batch norm; Zhao et al. 2024 for layer norm).

    Scales lie near one, where weights lie near a tenth or a hundredth: a step that is large for these is small for those.
    The statistics of batch norm stay those of the base. *Prefer it when* there are few labels and the data differs from the
    base's in light, colour or style more than in content.
    """

    share: float = 10.0

    name: ClassVar[str] = "norm_only"
    slot: ClassVar[str] = "moves"

    def cut(self, lens: Lens) -> str | None:
        return lens.cut

    def attach(self, network: Network, cut: str | None) -> None:
        """Nothing is built in."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        from torch.nn import GroupNorm, LayerNorm, RMSNorm
        from torch.nn.modules.batchnorm import _NormBase

        kinds = (GroupNorm, LayerNorm, RMSNorm, _NormBase)
        inside = [f"{path}." for path, module in network.module.named_modules() if isinstance(module, kinds)]
        above = [name for names in stages_above(network, cut).values() for name in names]
        norms = tuple(name for name in above if name.startswith(tuple(inside)))
        if not norms:
            raise NotAdmissible(
                f"'norm_only' moves norms, and this network has no norm above {cut or 'its input'}. Cut lower, or choose "
                "'bitfit'."
            )
        return [Speed(norms, self.share)]
