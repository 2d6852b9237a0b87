"""The base's own classifier learns along, on the classes of its own that each new class resembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart._network import CHUNK
from headstart.errors import NotAdmissible
from headstart.tuning._start import required_classifier

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work


@dataclass(frozen=True)
class CoTuning:
    """Adds ``weight`` · cross-entropy of the base's own classes with P(own class | new class) as the target.

    That relation is what the base first says of the training rows, averaged over each new class (You et al. 2020, its
    direct way). ``temperature`` divides the base's raw scores before: there is no data of the old task to calibrate them on,
    and 1 takes them at their word. Its classifier stays as it is; what moves learns for both. ``NotAdmissible`` for a base
    without classes of its own, or a task other than one class an item. *Prefer it when* there are few labels and the
    new classes look like mixtures of the base's own (birds, cars, garments on an ImageNet base).
    """

    weight: float = 1.0
    temperature: float = 1.0

    name: ClassVar[str] = "co_tuning"
    slot: ClassVar[str] = "term"
    needs: ClassVar[frozenset[str]] = frozenset({"own_classes", "classes"})

    def start(self, work: Work) -> Penalty:
        if work.task.link != "softmax" or work.task.unit != "item":
            raise NotAdmissible(
                f"'{self.name}' needs classes, one an item; the task is {work.task.name}. Use 'l2_sp' or 'delta' instead."
            )
        classifier = required_classifier(work, self.name)
        relation = self._relation(work, classifier)

        def penalty(step: Step) -> Any:
            said = classifier(step.rows).log_softmax(dim=1)
            return -self.weight * (relation[step.encoded] * said).sum(dim=1).mean()

        return penalty

    def _relation(self, work: Work, classifier: Any) -> Any:
        """P(own class | new class), (new, own); zeros for a class that no training row has."""
        import torch
        from torch.nn.functional import one_hot

        work.model.mode(training=False)
        sums: Any = 0.0
        counts: Any = 0.0
        with torch.no_grad():
            for start in range(0, len(work.rows), CHUNK):
                inputs, encoded, _ = work.batches(work.rows[start : start + CHUNK], None)
                said = (classifier(work.model.rows(inputs)) / self.temperature).softmax(dim=1)
                members = one_hot(encoded, work.task.width).to(said)
                sums, counts = sums + members.T @ said, counts + members.sum(dim=0)[:, None]
        return sums / counts.clamp(min=1)
