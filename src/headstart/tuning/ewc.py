"""Weights are pulled back to where they started, each as hard as it matters for what the base knew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.tuning._start import own_classifier

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work


@dataclass(frozen=True)
class EWC:
    """Adds ``pull``/2 · Σ F (θ − θ₀)² over what moves in the network (elastic weight consolidation; Kirkpatrick et al. 2017).

    F, the diagonal of Fisher's information, is the mean squared gradient of log p on up to ``rows`` training items, with
    answers drawn from the base itself: of its own classes where it has some, else of its feature row as the mean of a
    normal distribution with variance 1. It is scaled to mean 1, so that ``pull`` means what it does in ``l2_sp``. *Prefer it
    when* the tuned network is to go on with its old task and steps must stay cheap: F costs one pass over ``rows`` items,
    one by one, then nothing.
    """

    pull: float = 0.1
    rows: int = 256

    name: ClassVar[str] = "ewc"
    slot: ClassVar[str] = "term"

    def start(self, work: Work) -> Penalty:
        moving = work.model.parameters()
        first, matters = [parameter.detach().clone() for parameter in moving], self._fisher(work)

        def penalty(step: Step) -> Any:
            pairs = zip(matters, moving, first, strict=True)
            return 0.5 * self.pull * sum((weight * (now - then) ** 2).sum() for weight, now, then in pairs)

        return penalty

    def _fisher(self, work: Work) -> list[Any]:
        """F for each parameter that moves, with mean 1 over all of them (zeros where the base's answers feel none)."""
        import torch

        moving = work.model.parameters()
        if not moving:
            return []
        generator = torch.Generator().manual_seed(work.seed)
        chosen = work.rows[torch.randperm(len(work.rows), generator=generator).numpy()[: self.rows]]
        found, classifier = [torch.zeros_like(parameter) for parameter in moving], own_classifier(work)
        work.model.mode(training=False)
        for row in chosen:
            inputs, _, _ = work.batches(np.array([row]), None)
            likely = _drawn(work.model.rows(inputs), classifier, generator)
            for total, slope in zip(found, torch.autograd.grad(likely, moving, allow_unused=True), strict=True):
                if slope is not None:
                    total += slope**2
        mean = sum(float(total.sum()) for total in found) / sum(total.numel() for total in found)
        return [total / mean if mean else total for total in found]


def _drawn(rows: Any, classifier: Any, generator: Any) -> Any:
    """log p, up to a constant, of an answer that is drawn from p; its gradient is what counts."""
    import torch

    if classifier is None:
        answer = rows.detach() + torch.randn(rows.shape, generator=generator)
        return -0.5 * ((answer - rows) ** 2).sum()
    said = classifier(rows).log_softmax(dim=1)
    return said.gather(1, torch.multinomial(said.detach().exp(), 1, generator=generator)).sum()
