"""The base's own answers are kept, on the new items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.tuning._start import Start, required_classifier

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work


@dataclass(frozen=True)
class LearningWithoutForgetting:
    """Adds ``weight`` · KL(p₀ ‖ p): how far the base's own classes of the new items are from what it first said of them.

    Both come from the base's own classifier, which stays as it is, softened by ``temperature`` (Li & Hoiem 2016). No data
    of the old task is needed; each step costs one more forward pass. ``NotAdmissible`` for a base without classes of its
    own. *Prefer it when* the tuned network is to go on with its old task, and the new items look like its old ones.
    """

    weight: float = 1.0
    temperature: float = 2.0

    name: ClassVar[str] = "learning_without_forgetting"
    slot: ClassVar[str] = "term"
    needs: ClassVar[frozenset[str]] = frozenset({"own_classes"})

    def start(self, work: Work) -> Penalty:
        from torch.nn.functional import kl_div

        classifier, start = required_classifier(work, self.name), Start.of(work.model)

        def said(rows: Any) -> Any:
            return (classifier(rows) / self.temperature).log_softmax(dim=1)

        def penalty(step: Step) -> Any:
            with start.back():
                first = said(work.model.rows(step.inputs))
            return self.weight * kl_div(said(step.rows), first, reduction="batchmean", log_target=True)

        return penalty
