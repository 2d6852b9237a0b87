"""Weights are pulled back to where they started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work


@dataclass(frozen=True)
class L2SP:
    """Adds ``pull``/2 · ‖θ − θ₀‖² over what moves in the network and ``head``/2 · ‖head‖² (Li, Grandvalet & Davoine 2018).

    *Prefer it when* there are few labels and the base is close to the task: it keeps the tuned weights near.
    """

    pull: float = 0.01
    head: float = 0.01

    name: ClassVar[str] = "l2_sp"
    slot: ClassVar[str] = "term"

    def start(self, work: Work) -> Penalty:
        moving, head = work.model.parameters(), work.model.head.weight
        first = [parameter.detach().clone() for parameter in moving]

        def penalty(step: Step) -> Any:
            moved = sum(((now - then) ** 2).sum() for now, then in zip(moving, first, strict=True))
            return 0.5 * self.pull * moved + 0.5 * self.head * (head**2).sum()

        return penalty
