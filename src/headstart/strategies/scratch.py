"""Do without: the same kind of network, from random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _network, _training
from headstart._augment import Augmentation
from headstart.errors import NotAdmissible
from headstart.strategy import Plan, Predictor, Recipe

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Problem


@dataclass(frozen=True)
class Scratch:
    """A network trained from random weights on your data alone: what transfer is compared with.

    By default a slim network of the backbone's own family at a small input, because a few hundred photos and a few
    minutes cannot train a full one; ``full=True`` asks for the full network. The recipe is meant to win if it can:
    random crops, mirror images, light changes, mixup (Zhang et al. 2018), label smoothing, AdamW with a cosine
    schedule, early stop, and scores averaged over the item and its mirror image. ``augment`` joins kinds with ``/``:
    ``none``, ``flip_crop``, ``randaugment``, ``erasing``, ``mixup``, ``cutmix``; ``strength`` says how much of each (0 none, 0.5
    as in the papers, 1). *Prefer it when* the data looks like nothing a model was pre-trained on, and there is a lot of it.
    """

    rate: float = 2.0  # times the rate that suits the network's family
    weight_decay: float = 0.05
    batch: int = 16
    smoothing: float = 0.1
    average: float = 0.99
    patience: float = 0.35  # of the planned epochs: while the rate is high, the held-out loss wanders
    held_out: float = 0.1
    augment: str = "flip_crop/mixup"
    strength: float = 0.5
    flip: bool = True  # whether the mirror image of an item means the same
    full: bool = False

    name: ClassVar[str] = "scratch"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "network"})
    starts_from: ClassVar[str] = "untrained"
    deterministic: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """``UnknownName`` or ``ProblemError`` for an augmentation that does not exist."""
        self._augmentation()

    @property
    def slim(self) -> bool:
        """Whether the lens should hold the slim network."""
        return not self.full

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        backbone, task = lens.backbone, problem.task
        if backbone.pretrained:
            raise NotAdmissible(
                f"'scratch' starts from random weights; {backbone.card.name} is pre-trained. "
                "Give it `lens.untrained(slim=True)`, or choose 'fine_tune'."
            )
        examples = _training.in_order(problem.train)
        rows, held = _training.hold_out(task, examples, fraction=self.held_out, seed=seed)
        labels = _training.Labels.of(task, examples)
        with _network.contained(plan.threads):
            model = _network.Model.of(backbone.network(seed=seed, unit=task.unit), task.width)
            inputs = _network.states_of(lens, examples, None)
            augment = self._augmentation().suited(model.network.collate([inputs[0]]), link=task.link)
            work = _training.Work(
                model,
                _batches(labels, inputs, augment, model.network.collate),
                task=task,
                rows=rows,
                held=held,
                groups=self._groups(model),
                schedule=self._schedule(plan, len(rows), augment),
                seed=seed,
                counts=np.diff(labels.offsets),
                what=f"training {backbone.card.name} from scratch",
            )
            keep = Recipe(self, lens).checkpoint(problem, plan=plan, seed=seed)
            trained = _training.train(work, keep=keep)
            views = _network.views_of(backbone, 2) if self.flip else ("",)
            scorer = _network.NetworkScorer(model, views, task.unit)
            tuned, temperature = _training.settled(scorer, task, examples.take(held), lens)
        return Predictor(tuned, lens, self, scorer, temperature, {**trained.notes(), "augment": str(augment)})

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> _network.NetworkScorer:
        return _network.NetworkScorer.restore(state, arrays, lens)

    def _augmentation(self) -> Augmentation:
        return Augmentation.named(self.augment, strength=self.strength, flip=self.flip)

    def _schedule(self, plan: Plan, rows: int, augment: Augmentation) -> _training.Schedule:
        return _training.Schedule(
            epochs=plan.epochs,
            batch=self.batch,
            patience=max(3, round(self.patience * plan.epochs)),
            smoothing=self.smoothing,
            average=self.average,
            passes=_training.passes(rows),
            mixture=augment,
        )

    def _groups(self, model: _network.Model) -> list[dict[str, Any]]:
        """Weights decay; biases and norms do not."""
        rate, moving = self.rate * model.network.rate, [*model.parameters(), *model.head.parameters()]
        decayed = [parameter for parameter in moving if parameter.ndim > 1]
        others = [parameter for parameter in moving if parameter.ndim <= 1]
        return [
            {"params": decayed, "lr": rate, "weight_decay": self.weight_decay},
            {"params": others, "lr": rate, "weight_decay": 0.0},
        ]


def _batches(
    labels: _training.Labels, inputs: Sequence[np.ndarray], augment: Augmentation, collate: Any
) -> _training.Batches:
    """Inputs as they are, or augmented anew each time when a generator is given."""

    def batches(index: np.ndarray, generator: Any) -> tuple[Any, Any, Any]:
        chosen = collate([inputs[i] for i in index])
        if generator is not None:
            chosen = augment.photos(chosen, generator)
        return chosen, *labels.take(index)

    return batches
