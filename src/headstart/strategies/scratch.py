"""Do without: the same kind of network, from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.errors import NotAdmissible

if TYPE_CHECKING:
    from headstart._training import NetworkScorer
    from headstart.features import Lens
    from headstart.problem import Problem
    from headstart.strategy import Plan, Predictor

FEW = 400  # fewer rows than this pass several times an epoch


@dataclass(frozen=True)
class Scratch:
    """A network trained from random weights on your data alone: what transfer is compared with.

    By default a slim network of the backbone's own family at a small input, because a few hundred photos and a few
    minutes cannot train a full one; ``full=True`` asks for the full network. The recipe is meant to win if it can:
    random crops, mirror images, light changes, mixup (Zhang et al. 2018), label smoothing, AdamW with a cosine
    schedule, early stop, and scores averaged over the item and its mirror image. *Prefer it when* the data looks like
    nothing a model was pre-trained on, and there is a lot of it.
    """

    rate: float = 2e-3
    weight_decay: float = 0.05
    batch: int = 16
    mixup: float = 0.2
    smoothing: float = 0.1
    average: float = 0.99
    patience: float = 0.35  # of the planned epochs: while the rate is high, the held-out loss wanders
    held_out: float = 0.1
    area: float = 0.35
    flip: bool = True
    sizes: tuple[float, ...] = (1.0,)
    full: bool = False

    name: ClassVar[str] = "scratch"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "network"})
    starts_from: ClassVar[str] = "untrained"
    deterministic: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    @property
    def slim(self) -> bool:
        """Whether the lens should hold the slim network."""
        return not self.full

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        from headstart import _training
        from headstart._linear import fit_temperature
        from headstart.strategy import Predictor

        backbone, task = lens.backbone, problem.task
        if backbone.pretrained:
            raise NotAdmissible(
                f"'scratch' starts from random weights; {backbone.card.name} is pre-trained. "
                "Give it `lens.untrained(slim=True)`, or choose 'fine_tune'."
            )
        examples = _training.in_order(problem.train)
        rows, held = _training.hold_out(task, examples, fraction=self.held_out, seed=seed)
        model = _training.Model.of(backbone.network(seed=seed), task.width)
        trained = _training.train(
            model,
            self._batches(problem, lens, examples),
            task=task,
            rows=rows,
            held=held,
            groups=self._groups(model),
            schedule=_training.Schedule(
                epochs=plan.epochs,
                batch=self.batch,
                patience=max(3, round(self.patience * plan.epochs)),
                mixup=self.mixup,
                smoothing=self.smoothing,
                average=self.average,
                passes=int(np.clip(FEW // len(rows), 1, 8)),
            ),
            seed=seed,
            threads=plan.threads,
            what=f"training {backbone.card.name} from scratch",
        )
        views = _training.views_of(backbone, 2) if self.flip else ("",)
        scorer = _training.NetworkScorer(model, views)
        stopped_on = examples.take(held)
        temperature = fit_temperature(scorer.scores(stopped_on, lens), task, stopped_on.targets) if len(held) else 1.0
        notes = {"epochs": len(trained.history), "best_epoch": trained.best_epoch, "ended": trained.ended}
        return Predictor(
            task, lens, self, scorer, temperature, {**notes, "history": [list(pair) for pair in trained.history]}
        )

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> NetworkScorer:
        from headstart._training import NetworkScorer

        return NetworkScorer.restore(state, arrays, lens)

    def _batches(self, problem: Problem, lens: Lens, examples: Any) -> Any:
        from headstart import _training

        inputs = _training.tensor(_training.states_of(lens, examples, None))
        encoded, weights = _training.encoded_rows(problem.task, examples)

        def batches(index: np.ndarray, generator: Any) -> tuple[Any, Any, Any]:
            chosen = inputs[index]
            if generator is not None:
                chosen = _training.augmented(chosen, generator, area=self.area, flip=self.flip, sizes=self.sizes)
            return chosen, encoded[index], weights[index]

        return batches

    def _groups(self, model: Any) -> list[dict[str, Any]]:
        """Weights decay; biases and norms do not."""
        moving = [*model.parameters(), *model.head.parameters()]
        decayed = [parameter for parameter in moving if parameter.ndim > 1]
        others = [parameter for parameter in moving if parameter.ndim <= 1]
        return [
            {"params": decayed, "lr": self.rate, "weight_decay": self.weight_decay},
            {"params": others, "lr": self.rate, "weight_decay": 0.0},
        ]
