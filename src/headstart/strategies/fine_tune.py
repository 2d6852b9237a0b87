"""Adapt the upper part of a pre-trained network: head first, then everything above the cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _network, _training
from headstart._linear import Head, LinearScorer, fit_temperature, probe_head
from headstart.backbone import feature_taps
from headstart.features import Features
from headstart.strategy import Plan, Predictor

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples, Problem
    from headstart.strategy import Scorer

Tensors = Mapping[str, Any]
LEAST = 3  # epochs, where the plan has time for none and it was asked for by name


@dataclass(frozen=True)
class FineTune:
    """Head first, then all layers above the lens's cut (after LP-FT; Kumar et al. 2022), from cached activations.

    A linear probe on the last features is fitted first. AdamW then moves what lies above the cut, from the probe's head or,
    where that has nothing left to learn, from zeros. Each stage moves at the share of the rate that the lens's plan gives it
    (one without a share stays as it is; Lee et al. 2023), or, without a plan, at ``decay`` times the rate of the one above;
    batch norm stays in eval mode. What lies below the cut runs once, not every epoch. A held-out part of the training rows
    stops the training and chooses how far the weights go from the probe (share 0) to the tuned network (share 1; WiSE-FT,
    Wortsman et al. 2022). Where the lens reads a lower layer, a probe there ships unless the network has the lower loss on
    the same rows: a probe is the floor. *Prefer it when* the probe is good but the data differs from what the network was
    pre-trained on, and there are at least some ten examples a class.

    With fewer than about four examples a class nothing can be held out; then all epochs run and the share is one half;
    where the lens reads a lower layer, the probe there ships and nothing is tuned.
    """

    epochs: int = 8
    rate: float = 1.0  # times the rate that suits the network's family
    head_rate: float = 1e-3
    decay: float = 0.7
    weight_decay: float = 0.01
    batch: int = 32
    patience: int = 5
    held_out: float = 0.15
    smoothing: float = 0.1
    views: int = 2
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    name: ClassVar[str] = "fine_tune"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "features", "network"})
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, backbone = problem.task, lens.backbone
        examples = _training.in_order(problem.train)
        rows, held = _training.hold_out(task, examples, fraction=self.held_out, seed=seed)
        labels, lower = _training.Labels.of(task, examples), lens.reads[0][1] != _last_tap(task, lens)
        if lower and not len(held):  # nothing could show that a network is better
            return self._read(task, examples, labels, lens, {"read": lens.reads[0][1]})
        views = _network.views_of(backbone, min(self.views, plan.views))
        probe = self._probe(task, examples, lens)
        with _network.contained(plan.threads):
            network = backbone.network(seed=seed, unit=task.unit)
            model = _network.Model.of(network, task.width, cut=lens.cut, statistics=False, still=lens.still)
            model.set_head(probe.weights, probe.bias)
            floor = model.copy()
            first = self._probe(task, examples.take(rows), lens) if len(held) else probe
            parts = examples.take(rows), examples.take(held)
            start = 0.0 if self._saturated(first, task, *parts, lens) else 1.0
            model.set_head(start * first.weights, start * first.bias)
            trained = _training.train(
                model,
                self._batches(labels, examples, lens, views, network.collate),
                task=task,
                rows=rows,
                held=held,
                groups=self._groups(model, {move.stage: move.share for move in lens.plan if move.share is not None}),
                schedule=self._schedule(plan, len(rows)),
                seed=seed,
                counts=np.diff(labels.offsets),
                what=f"fine-tuning {backbone.card.name}",
            )
            tuned = model.copy()
            share, temperature, decoding, losses = self._share(model, floor, tuned, task, parts[1], lens, first)
            model.load(_between(floor, tuned, share))
        notes = {**trained.notes(), "share": share, "views": len(views)}
        if lower and not self._better_than_read(losses, task, *parts, lens):
            return self._read(task, examples, labels, lens, {**notes, "share": 0.0, "read": lens.reads[0][1]})
        if share == 0:
            temperature, decoding = probe.temperature, probe.tune(task, examples, labels.offsets)
        return Predictor(decoding, lens, self, _network.NetworkScorer(model, unit=task.unit), temperature, notes)

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        if state["scorer"] == "linear":
            return LinearScorer.restore(arrays)
        return _network.NetworkScorer.restore(state, arrays, lens)

    def _probe(self, task: Any, examples: Examples, lens: Lens) -> Head:
        """The linear probe on the network's last feature rows."""
        return _head(task, examples, _last(task, examples, lens))

    def _read(
        self, task: Any, examples: Examples, labels: _training.Labels, lens: Lens, notes: Mapping[str, Any]
    ) -> Predictor:
        """The linear probe on the layer that the lens reads."""
        head = _head(task, examples, lens.joined(examples))
        scorer, tuned = LinearScorer(head.weights, head.bias), head.tune(task, examples, labels.offsets)
        return Predictor(tuned, lens, self, scorer, head.temperature, notes)

    def _better_than_read(self, losses: np.ndarray, task: Any, fitted: Examples, held: Examples, lens: Lens) -> bool:
        """Whether the network's held-out ``losses`` lie below those of a probe on the layer that the lens reads, on
        average. Both are taken at their best temperature."""
        head = _head(task, fitted, lens.joined(fitted))
        scores = lens.joined(held).rows @ head.weights + head.bias
        other = task.losses(scores / fit_temperature(scores, task, held.targets), held.targets)
        return bool(losses.mean() < other.mean())

    def _saturated(self, probe: Head, task: Any, fitted: Examples, held: Examples, lens: Lens) -> bool:
        """Whether the probe fits its own rows far better than held-out ones (more than twice, by loss).

        On wide features it does. Their loss then has no slope left to teach the layers below, and the first steps only
        undo what these know: on 400 photos of garments, tuning from such a head lost 2 points, from zeros it won 2. A head
        of zeros gives the layers below no gradient before it has learned something itself: head first, too.
        """
        if not len(held):
            return True
        own, other = (
            task.losses(_last(task, part, lens).rows @ probe.weights + probe.bias, part.targets).mean()
            for part in (fitted, held)
        )
        return bool(own < other / 2)

    def _schedule(self, plan: Plan, rows: int) -> _training.Schedule:
        return _training.Schedule(
            epochs=min(self.epochs, plan.tuned_epochs or LEAST),
            batch=self.batch,
            patience=self.patience,
            smoothing=self.smoothing,
            passes=_training.passes(rows),
        )

    def _batches(
        self, labels: _training.Labels, examples: Examples, lens: Lens, views: tuple[str, ...], collate: Any
    ) -> _training.Batches:
        """Cached states at the cut, a random view of each item; without a cut, prepared inputs augmented anew."""
        import torch

        looks = views if lens.cut is not None else ("",)
        states = [_network.states_of(lens, examples, lens.cut, view=view) for view in looks]

        def batches(index: np.ndarray, generator: Any) -> tuple[Any, Any, Any]:
            look = np.zeros(len(index), dtype=int)
            if generator is not None:
                look = torch.randint(len(looks), (len(index),), generator=generator).numpy()
            chosen = collate([states[view][row] for view, row in zip(look, index, strict=True)])
            if generator is not None:
                chosen = _training.augmented(chosen, generator)
            return chosen, *labels.take(index)

        return batches

    def _groups(self, model: _network.Model, planned: Mapping[str, float]) -> list[dict[str, Any]]:
        """One group a stage, at its ``planned`` share of the rate, else slower the deeper it lies; the head at its own rate."""
        parameters = dict(model.network.module.named_parameters())
        groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": self.head_rate, "weight_decay": 0.0}]
        stages = _network.stages_above(model.network, model.cut)
        for depth, (place, names) in enumerate(reversed(stages.items())):
            rate = self.rate * model.network.rate * planned.get(place, self.decay**depth)
            moving = [] if place in model.still else [parameters[name] for name in names]
            kinds = ([p for p in moving if p.ndim > 1], self.weight_decay), ([p for p in moving if p.ndim <= 1], 0.0)
            groups += [{"params": found, "lr": rate, "weight_decay": decay} for found, decay in kinds if found]
        return groups

    def _share(
        self, model: _network.Model, floor: Tensors, tuned: Tensors, task: Any, held: Examples, lens: Lens, first: Head
    ) -> tuple[float, float, Any, np.ndarray]:
        """How far to go from the probe to the tuned weights, by held-out log-loss; the temperature, decoding and losses there.

        ``first`` is the probe that has not seen the held-out rows.
        """
        if not len(held):
            return (0.5 if 0.5 in self.shares else self.shares[-1]), first.temperature, task, np.zeros(0)
        model.load(floor)
        model.set_head(first.weights, first.bias)
        blind, states, found = model.copy(), _network.states_of(lens, held, lens.cut), []
        for share in self.shares:
            model.load(_between(blind, tuned, share))
            scores = model.predict(states)
            temperature = fit_temperature(scores.rows, task, held.targets)
            calm = Features(scores.rows / temperature, scores.offsets)
            found.append((float(task.losses(calm.rows, held.targets).mean()), share, temperature, calm))
        _, share, temperature, calm = min(found, key=lambda one: one[:2])
        return share, temperature, task.tuned(calm, held.targets), task.losses(calm.rows, held.targets)


def _head(task: Any, examples: Examples, found: Features) -> Head:
    X, targets, blocks = task.rows(found, examples)
    return probe_head(X, task.unitwise, targets, blocks=blocks, weights=task.item_weights(examples.targets))


def _last_tap(task: Any, lens: Lens) -> str:
    return feature_taps(lens.backbone, task.unit)[-1].name


def _last(task: Any, examples: Examples, lens: Lens) -> Features:
    """Rows of the network's last feature tap, float64."""
    found = lens.store.features(lens.backbone, examples, [_last_tap(task, lens)])[0]
    return Features(found.rows.astype(np.float64), found.offsets)


def _between(floor: Tensors, tuned: Tensors, share: float) -> dict[str, Any]:
    return {name: (1 - share) * value + share * tuned[name] for name, value in floor.items()}
