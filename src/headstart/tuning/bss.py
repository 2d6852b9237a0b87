"""The weakest directions of a batch's features are pressed down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work


@dataclass(frozen=True)
class BSS:
    """Adds ``weight`` · Σ σ² over the ``k`` smallest singular values of the batch's feature rows (Chen et al. 2019).

    Those directions carry little of what transfers (batch spectral shrinkage). *Prefer it when* the data differs much from
    what the base was trained on and labels are few, together with a term that keeps weights or features near.
    """

    weight: float = 1e-3
    k: int = 1

    name: ClassVar[str] = "bss"
    slot: ClassVar[str] = "term"

    def start(self, work: Work) -> Penalty:
        import torch

        def penalty(step: Step) -> Any:
            # values alone: their gradient is finite where two of them are equal, that of the vectors is not
            return self.weight * (torch.linalg.svdvals(step.rows)[max(0, min(step.rows.shape) - self.k) :] ** 2).sum()

        return penalty
