"""Adapt the upper part of a pre-trained network: head first, then everything above the cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _network, _training
from headstart._augment import Augmentation
from headstart._linear import Head, LinearScorer, fit_temperature, head_on
from headstart.backbone import feature_taps
from headstart.errors import NotAdmissible, ProblemError
from headstart.features import Features
from headstart.strategy import Plan, Predictor, Recipe
from headstart.tuning import Speed, part_named

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples, Problem
    from headstart.strategy import Scorer

Tensors = Mapping[str, Any]
SEEN = 4  # views that the probe learns from, as linear_probe does
LEAST = 3  # epochs, where the plan has time for none and it was asked for by name


@dataclass(frozen=True)
class FineTune:
    """Head first, then what lies above the cut, from cached activations (after LP-FT; Kumar et al. 2022), out of parts.

    A linear probe on the last features is fitted first. AdamW then moves what ``moves`` names (by default all above the lens's
    cut: as the lens's freeze plan says, or slower the deeper it lies), from the probe's head or, where that has nothing left to
    learn, from zeros; batch norm stays in eval mode. What lies below the cut runs once, not every epoch. ``terms`` are added to
    the loss. A held-out part of the training rows stops the training, chooses one of ``rates`` after a short rung, and tells
    ``average`` how good a mixture of the probe's and the tuned weights is (by default WiSE-FT; Wortsman et al. 2022). Where the
    lens reads a lower layer, a probe there ships unless the network has the lower loss on the same rows: a probe is the
    floor, except with ``last``. *Prefer it when* the probe is good but the data differs from what the network was pre-trained
    on, and there are at least some ten examples a class.

    With fewer than about four examples a class nothing can be held out; then all epochs run and the share is one half;
    where the lens reads a lower layer, the probe there ships and nothing is tuned.
    """

    epochs: int = 8
    rate: float = 1.0  # times the rate that suits the network's family
    rates: tuple[float, ...] = (1.0,)  # times that; of several, a short rung chooses one
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    batch: int = 32
    patience: int = 5
    held_out: float = 0.15
    smoothing: float = 0.1
    views: int = 2
    augment: str = "flip_crop"
    strength: float = 0.5
    moves: str = "layer_decay"
    terms: tuple[str, ...] = ()
    average: str = "wise_ft"

    name: ClassVar[str] = "fine_tune"
    starts_from: ClassVar[str] = "pretrained"
    deterministic: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """``UnknownName`` for a part or augmentation that does not exist, ``ProblemError`` for one in the wrong place."""
        self._augmentation()
        for slot, named in (("moves", (self.moves,)), ("term", self.terms), ("average", (self.average,))):
            for text in named:
                if part_named(text).slot != slot:
                    raise ProblemError(f"'{text}' is no part of the kind '{slot}' (`headstart list tuning` shows all).")

    @property
    def needs(self) -> frozenset[str]:
        """What it cannot do without, its parts included."""
        parts = map(part_named, (self.moves, *self.terms, self.average))
        return frozenset({"labels", "features", "network"}).union(*(getattr(part, "needs", ()) for part in parts))

    def joined(self, parts: Sequence[str]) -> FineTune:
        """The same with these parts, each where it belongs."""
        found: dict[str, list[str]] = {"moves": [], "term": [], "average": []}
        for text in parts:
            found[part_named(text).slot].append(text)
        for slot, what in (("moves", "what moves"), ("average", "what is averaged")):
            if len(found[slot]) > 1:
                raise ProblemError(f"'{found[slot][0]}' and '{found[slot][1]}' both say {what}. Choose one of them.")
        changed: dict[str, Any] = {slot: found[slot][0] for slot in ("moves", "average") if found[slot]}
        return replace(self, **changed, terms=(*self.terms, *found["term"]))

    @property
    def said(self) -> str:
        """How a recipe with it is called: by its parts, where they are not the usual ones."""
        usual, own = FineTune(), {field.name: getattr(self, field.name) for field in fields(self)}
        slots = (
            [self.moves] * (self.moves != usual.moves) + list(self.terms) + [self.average] * (self.average != usual.average)
        )
        numbers = [f"{k}={v!r}" for k, v in own.items() if k not in ("moves", "terms", "average") and v != getattr(usual, k)]
        plain = f"{self.name}({', '.join(numbers)})" if numbers else self.name if self.moves == usual.moves else ""
        return "+".join([*([plain] if plain else []), *slots])

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        task, examples = problem.task, _training.in_order(problem.train)
        rows, held = _training.hold_out(task, examples, fraction=self.held_out, seed=seed)
        labels, lower = _training.Labels.of(task, examples), lens.reads[0][1] != _last_tap(task, lens)
        average, seen = part_named(self.average), _network.probe_views(lens, min(SEEN, plan.views), len(examples))
        floored = lower and average.name != "last"
        if floored and not len(held):  # nothing could show that a network is better
            return self._read(task, examples, labels, lens, seen, {"read": lens.reads[0][1]})
        lens, parts = self.through(lens), (examples.take(rows), examples.take(held))
        probe = self._probe(task, examples, lens, seen)
        first = self._probe(task, parts[0], lens, seen) if len(held) else probe
        start = 0.0 if self._saturated(first, task, *parts, lens) else 1.0
        with _network.contained(plan.threads):
            model, speeds = self.built(task, lens, seed)
            model.set_head(probe.weights, probe.bias)
            floor, views = model.copy(), self.looks(lens, plan)
            states = [_network.states_of(lens, examples, lens.cut, view=view) for view in views]
            augment = self._augmentation().suited(model.network.collate([states[0][0]]), link=task.link)
            work = _training.Work(
                model,
                _batches(labels, states, augment, model.network.collate),
                task=task,
                rows=rows,
                held=held,
                groups=self._groups(model, speeds),
                schedule=replace(self.schedule(plan, len(rows)), mixture=augment),
                seed=seed,
                counts=np.diff(labels.offsets),
                what=f"{self.said} of {lens.title}",
            )
            runs, trained = [], []
            for factor in average.rates:
                model.load(floor)
                model.set_head(start * first.weights, start * first.bias)
                keep = Recipe(self, lens).checkpoint(problem, plan=plan, seed=seed, factor=factor)
                trained.append(self._train(work, factor, keep))
                runs.append(model.copy())
            judged = _Judge(model, [_with_head(model, floor, first), *runs], task, parts[1], lens, seen[:2])
            shares = average.weigh(len(runs), judged.loss if len(held) else None)
            judged.look(shares)
            model.load(_mixed([floor, *runs], shares))
        notes = {**trained[0].notes(), "share": round(float(1 - shares[0]), 6), "views": len(views), "augment": str(augment)}
        if len(runs) > 1:
            notes |= {"shares": [round(float(one), 6) for one in shares]}
        if floored and not self._better_than_read(judged, task, *parts, lens, seen):
            return self._read(task, examples, labels, lens, seen, {**notes, "share": 0.0, "read": lens.reads[0][1]})
        temperature, decoding = judged.settled() if len(held) else (first.temperature, task)
        if shares[0] == 1:
            temperature, decoding = probe.temperature, probe.tune(task, examples, labels.offsets)
        return Predictor(decoding, lens, self, _network.NetworkScorer(model, seen[:2], task.unit), temperature, notes)

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        if state["scorer"] == "linear":
            return LinearScorer.restore(arrays, state.get("views", [""]))
        network = lens.backbone.network(unit=state.get("unit", "item"))
        part_named(self.moves).attach(network, state["cut"])
        return _network.NetworkScorer.restore(state, arrays, lens, network=network)

    def through(self, lens: Lens) -> Lens:
        """The lens with the cut of what moves."""
        cut = part_named(self.moves).cut(lens)
        return lens if cut == lens.cut else replace(lens, cut=cut)

    def built(self, task: Any, lens: Lens, seed: int) -> tuple[_network.Model, list[Speed]]:
        """The network with what is to move built in, and how fast it moves."""
        moves, network = part_named(self.moves), lens.backbone.network(seed=seed, unit=task.unit)
        moves.attach(network, lens.cut)
        speeds = moves.speeds(network, lens.cut, lens.plan)
        names = [name for speed in speeds for name in speed.names]
        if not names:
            where = f"above {lens.cut}" if lens.cut else "at all"
            raise NotAdmissible(f"Nothing moves {where}. Cut lower, let a stage of the plan move, or choose 'linear_probe'.")
        return _network.Model.of(network, task.width, cut=lens.cut, statistics=False, moving=names), speeds

    def _train(self, work: _training.Work, factor: float, keep: Any) -> _training.Training:
        terms = [part_named(text).start(work) for text in self.terms]
        penalty = (lambda step: sum(term(step) for term in terms)) if terms else None
        rates = [factor * rate for rate in self.rates]
        return _training.train(replace(work, penalty=penalty), rates=rates, keep=keep)

    def _probe(self, task: Any, examples: Examples, lens: Lens, views: Sequence[str]) -> Head:
        """The linear probe on the network's last feature rows."""
        return head_on([_last(task, examples, lens, view) for view in views], task, examples)

    def _read(
        self,
        task: Any,
        examples: Examples,
        labels: _training.Labels,
        lens: Lens,
        looks: tuple[str, ...],
        notes: Mapping[str, Any],
    ) -> Predictor:
        """The linear probe on the layer that the lens reads."""
        head = head_on([lens.joined(examples, view=look) for look in looks], task, examples)
        scorer, tuned = LinearScorer(head.weights, head.bias, looks[:2]), head.tune(task, examples, labels.offsets)
        return Predictor(tuned, lens, self, scorer, head.temperature, notes)

    def _better_than_read(
        self, judged: _Judge, task: Any, fitted: Examples, held: Examples, lens: Lens, looks: tuple[str, ...]
    ) -> bool:
        """Whether the network's held-out losses lie below those of a probe on the layer that the lens reads, on average.
        Both are taken at their best temperature."""
        head = head_on([lens.joined(fitted, view=look) for look in looks], task, fitted)
        scores = LinearScorer(head.weights, head.bias, looks[:2]).scores(held, lens).rows
        other = task.losses(scores / fit_temperature(scores, task, held.targets), held.targets)
        return bool(judged.losses.mean() < other.mean())

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

    def _augmentation(self) -> Augmentation:
        return Augmentation.named(self.augment, strength=self.strength)

    def looks(self, lens: Lens, plan: Plan) -> tuple[str, ...]:
        """The cached views that are trained on; without a cut each batch is augmented anew instead."""
        some = lens.cut is not None and self._augmentation().looks
        return _network.views_of(lens.backbone, min(self.views, plan.views)) if some else ("",)

    def schedule(self, plan: Plan, rows: int) -> _training.Schedule:
        """How long, on so many rows."""
        return _training.Schedule(
            epochs=min(self.epochs, plan.tuned_epochs or LEAST),
            batch=self.batch,
            patience=self.patience,
            smoothing=self.smoothing,
            passes=_training.passes(rows),
        )

    def _groups(self, model: _network.Model, speeds: Sequence[Speed]) -> list[dict[str, Any]]:
        """AdamW's groups: the head at its own rate, the others at their share of the network's. Biases and norms do not
        decay."""
        parameters = dict(model.network.module.named_parameters())
        groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": self.head_rate, "weight_decay": 0.0}]
        for speed in speeds:
            rate, moving = self.rate * model.network.rate * speed.share, [parameters[name] for name in speed.names]
            kinds = ([p for p in moving if p.ndim > 1], self.weight_decay), ([p for p in moving if p.ndim <= 1], 0.0)
            groups += [
                {"params": found, "lr": rate, "weight_decay": decay, "wait": speed.wait} for found, decay in kinds if found
            ]
        return groups


def _batches(
    labels: _training.Labels, states: Sequence[Sequence[np.ndarray]], augment: Augmentation, collate: Any
) -> _training.Batches:
    """Of each item a random one of its views, augmented anew where photos themselves are trained on."""
    import torch

    def batches(index: np.ndarray, generator: Any) -> tuple[Any, Any, Any]:
        look = np.zeros(len(index), dtype=int)
        if generator is not None:
            look = torch.randint(len(states), (len(index),), generator=generator).numpy()
        chosen = collate([states[view][row] for view, row in zip(look, index, strict=True)])
        if generator is not None:
            chosen = augment.photos(chosen, generator)
        return chosen, *labels.take(index)

    return batches


class _Judge:
    """The held-out log-loss of mixtures of weights; the first of ``ways`` is the probe that has not seen those rows."""

    def __init__(
        self,
        model: _network.Model,
        ways: Sequence[Tensors],
        task: Any,
        held: Examples,
        lens: Lens,
        views: tuple[str, ...],
    ) -> None:
        self.model, self.ways, self.task, self.held = model, ways, task, held
        self.states = [_network.states_of(lens, held, lens.cut, view=view) for view in views if len(held)]
        self.losses, self.temperature = np.zeros(0), 1.0
        self.calm = Features(np.zeros((0, task.width)), np.zeros(1, dtype=int))

    def loss(self, shares: np.ndarray) -> float:
        """The mean loss at the temperature that suits it best."""
        self.look(shares)
        return float(self.losses.mean())

    def look(self, shares: np.ndarray) -> None:
        if not len(self.held):
            return
        self.model.load(_mixed(self.ways, shares))
        looks = [self.model.predict(states) for states in self.states]
        scores = np.mean([look.rows for look in looks], axis=0)
        self.temperature = fit_temperature(scores, self.task, self.held.targets)
        self.calm = Features(scores / self.temperature, looks[0].offsets)
        self.losses = self.task.losses(self.calm.rows, self.held.targets)

    def settled(self) -> tuple[float, Any]:
        """The temperature and the task's decoding, where it looked last."""
        return self.temperature, self.task.tuned(self.calm, self.held.targets)


def _last_tap(task: Any, lens: Lens) -> str:
    return feature_taps(lens.backbone, task.unit)[-1].name


def _last(task: Any, examples: Examples, lens: Lens, view: str = "") -> Features:
    """Rows of the network's last feature tap, float64."""
    found = lens.store.features(lens.backbone, examples, [_last_tap(task, lens)], view=view)[0]
    return Features(found.rows.astype(np.float64), found.offsets)


def _with_head(model: _network.Model, tensors: Tensors, head: Head) -> dict[str, Any]:
    """``tensors`` with another linear head."""
    model.load(tensors)
    model.set_head(head.weights, head.bias)
    return model.copy()


def _mixed(ways: Sequence[Tensors], shares: np.ndarray) -> dict[str, Any]:
    """The weights' mean with these ``shares``. What does not move is no part of them, batch norm's statistics neither."""
    return {
        name: sum(float(share) * way[name] for way, share in zip(ways, shares, strict=True) if share) for name in ways[0]
    }
