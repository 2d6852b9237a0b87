"""The one training loop: a network from a cut upward, with a linear head, on batches from anywhere.

A strategy says what moves and how fast (``groups``), where batches come from (``batches``), what is added to the loss
(``penalty``) and how long (``Schedule``). The loop does the rest the same way for every task: AdamW, warm-up and cosine, a
rate chosen from several by a short rung, early stop on a held-out part of the training rows, the best weights kept, a clean
stop when the loss is no number any more, smaller parts of a batch when memory is short. Every random draw comes from an
explicit generator: same seed, same thread count, same weights, also when a killed run goes on from its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart._augment import Augmentation
from headstart._checkpoint import Checkpoint, Kept
from headstart._events import emit
from headstart._linear import fit_temperature
from headstart._network import CHUNK, Model, RunningMean
from headstart.errors import RunError
from headstart.features import Features, unit_offsets

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples
    from headstart.strategy import Scorer
    from headstart.tasks import Task

HELD = 500  # items say well enough when to stop; more of them would be missing from the training
FEW = 400  # fewer rows than this pass several times an epoch
EVERY = 60.0  # seconds between checkpoints
RUNG = 0.15  # of the schedule is what each rate runs before one is chosen
TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-4, 7))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. ``average`` is the decay of a running mean of the weights (0: none).

    ``patience`` counts epochs without a better held-out loss. ``passes`` runs over the rows make one epoch, so that a
    handful of rows still gives enough steps. ``mixture`` says how the inputs of a batch are mixed.
    """

    epochs: int
    batch: int = 32
    warmup: float = 0.1
    patience: int = 10
    clip: float = 1.0
    smoothing: float = 0.0
    average: float = 0.0
    passes: int = 1
    mixture: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Training:
    """What happened: the epoch whose weights were kept (0: the first ones), losses an epoch, why it ended, at which times
    the rate, with how many parts to a batch."""

    best_epoch: int
    history: tuple[tuple[float, float], ...]  # (training loss, held-out loss) an epoch
    seconds: float
    ended: str  # "schedule", "patience" or "diverged"
    rate: float = 1.0
    parts: int = 1

    def notes(self) -> dict[str, Any]:
        """What a predictor's record keeps of it; without seconds, so that equal fits have equal records."""
        history = [[None if math.isnan(loss) else round(loss, 6) for loss in pair] for pair in self.history]
        found = {"epochs": len(history), "best_epoch": self.best_epoch, "ended": self.ended, "history": history}
        return {**found, "rate": self.rate, **({"parts": self.parts} if self.parts > 1 else {})}


Batches = Callable[[np.ndarray, Any], tuple[Any, Any, Any]]
"""(row indices, generator) → (inputs, encoded targets, weights), tensors. Without a generator: rows as they are."""


@dataclass(frozen=True, eq=False)
class Step:
    """One batch on its way: ``inputs`` at the cut, the feature ``rows`` and raw ``scores`` of its units, their ``encoded``
    targets."""

    inputs: Any
    rows: Any
    scores: Any
    encoded: Any


Penalty = Callable[[Step], Any]
"""What is added to the loss of a batch: a scalar tensor."""


@dataclass(frozen=True, eq=False)
class Work:
    """What a training is given, but for the rate. ``rows`` are trained on, ``held`` decides.

    ``groups`` are AdamW's parameter groups, each with its ``lr``; one with a ``wait`` moves from that share of the schedule
    on. ``counts`` says how many units each row has, where that is not one: losses of one item's words are no independent
    witnesses.
    """

    model: Model
    batches: Batches
    task: Task
    rows: np.ndarray
    held: np.ndarray
    groups: Sequence[Mapping[str, Any]]
    schedule: Schedule
    seed: int
    what: str
    counts: np.ndarray | None = None
    penalty: Penalty | None = None

    def losses(self) -> np.ndarray:
        return evaluate(self.model, self.batches, task=self.task, rows=self.held, counts=self.counts)


def train(work: Work, *, rates: Sequence[float] = (1.0,), keep: Checkpoint | None = None) -> Training:
    """Train ``work.model`` in place; it ends with the weights that were best on the held-out rows.

    Best means the latest epoch that the held-out rows cannot tell from the lowest loss (within one standard error): a few
    dozen rows are noisy, and weights at the end of the schedule have settled.
    Without held-out rows the whole schedule runs and the last weights stay. Of several ``rates`` (times the rate of each
    group), each trains a few epochs, and the one whose held-out loss is then lowest goes on (successive halving; Jamieson &
    Talwalkar 2016). After an epoch the state goes to ``keep``, once a minute at most; a killed training goes on from there,
    bit for bit.
    """
    import torch

    started = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        before = keep.read() if keep else None
        if before is not None:
            run = _Run(work, before.facts["factor"])
            run.load(before)
        else:
            run = _first(work, rates)
        written = time.monotonic()
        while not run.ended:
            run.advance()
            if keep and not run.ended and time.monotonic() - written >= EVERY:
                try:
                    keep.write(run.state())
                except (OSError, RunError) as error:
                    emit("warning", f"{work.what}: its state is not kept; a killed training would start anew. {error}")
                    keep = None
                written = time.monotonic()
        if keep:
            keep.clear()
        work.model.load(run.kept)
    work.model.mode(training=False)
    return Training(run.best_epoch, tuple(run.history), time.monotonic() - started, run.ended, run.factor, run.parts)


def _first(work: Work, rates: Sequence[float]) -> _Run:
    """The run that goes on: the only one, or the one with the lowest held-out loss after the rung."""
    import torch

    if len(rates) < 2 or not len(work.held):
        return _Run(work, rates[0] if len(rates) == 1 else sorted(rates)[len(rates) // 2])
    start, trials = work.model.copy(), []
    epochs = max(1, round(RUNG * work.schedule.epochs))
    for factor in rates:
        work.model.load(start)
        run = _Run(work, factor)
        while run.epoch < epochs and not run.ended:
            run.advance()
        reached = run.history[-1][1] if run.ended != "diverged" else math.inf
        trials.append((math.inf if math.isnan(reached) else reached, run, work.model.copy(), torch.get_rng_state()))
    _, run, live, drawn = min(trials, key=lambda one: one[0])
    work.model.load(live)
    torch.set_rng_state(drawn)
    return run


class _Run:
    """A training on its way: everything that decides how it goes on, as one state."""

    def __init__(self, work: Work, factor: float) -> None:
        import torch

        self.work, self.factor, self.epoch, self.parts = work, factor, 0, 1
        torch.manual_seed(work.seed)  # for dropout, which takes no generator
        self.generator = torch.Generator().manual_seed(work.seed)
        waits = [group.get("wait", 0.0) for group in work.groups]
        groups = [{**{k: v for k, v in group.items() if k != "wait"}, "lr": factor * group["lr"]} for group in work.groups]
        self.optimiser = torch.optim.AdamW(groups, fused=True)
        steps = work.schedule.passes * math.ceil(len(work.rows) / work.schedule.batch)
        shares = [_cosine(work.schedule, steps, wait) for wait in waits]
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimiser, shares)
        self.mean = RunningMean(work.model, work.schedule.average)
        self.best = work.losses()
        self.best_epoch, self.lowest, self.kept = 0, 0, work.model.copy()
        self.history: list[tuple[float, float]] = []
        self.ended = ""

    def advance(self) -> None:
        """One epoch, and whether it was the last."""
        work, schedule = self.work, self.work.schedule
        self.epoch += 1
        loss = self._pass()
        live = self.mean.swap_in()
        losses = work.losses()
        if math.isfinite(loss) and (_as_good(losses, self.best) if len(work.held) else work.model.finite()):
            self.best_epoch, self.kept = self.epoch, work.model.copy()
            if losses.sum() < self.best.sum():
                self.lowest, self.best = self.epoch, losses
        work.model.load(live)
        reached = float(losses.mean()) if len(work.held) else math.nan
        self.history.append((loss, reached))
        emit("progress", work.what, done=self.epoch, total=schedule.epochs, loss=loss, held_out=reached)
        if not math.isfinite(loss):
            self.ended = "diverged"
            told = f"{work.what}: the loss is no number any more in epoch {self.epoch}; the best weights so far stay."
            emit("warning", told)
        elif len(work.held) and self.epoch - self.lowest >= schedule.patience:
            self.ended = "patience"
        elif self.epoch >= schedule.epochs:
            self.ended = "schedule"

    def _pass(self) -> float:
        """One epoch's steps; their mean loss. NaN at once when a loss or gradient is no number: that step is not taken."""
        import torch

        work, schedule = self.work, self.work.schedule
        work.model.mode(training=True)
        total, steps = 0.0, 0
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        for _ in range(schedule.passes):
            order = work.rows[torch.randperm(len(work.rows), generator=self.generator).numpy()]
            for index in np.array_split(order, math.ceil(len(work.rows) / schedule.batch)):  # no tail of one row
                value = self._gradient(index)
                norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
                if not (math.isfinite(value) and math.isfinite(float(norm))):
                    return math.nan
                self.optimiser.step()
                self.rate.step()
                self.mean.update()
                total, steps = total + value, steps + 1
        return total / steps

    def _gradient(self, index: np.ndarray) -> float:
        """The gradient of one batch's mean loss, and that loss; in ever smaller parts while memory does not suffice."""
        work, drawn = self.work, self.generator.get_state()
        units = len(index) if work.counts is None else int(work.counts[index].sum())
        while True:
            try:
                self.generator.set_state(drawn)
                self.optimiser.zero_grad(set_to_none=True)
                value = 0.0
                for part in np.array_split(index, min(self.parts, len(index))):
                    inputs, encoded, weights = work.batches(part, self.generator)
                    loss = _loss(work, inputs, encoded, weights, self.generator) * (len(encoded) / units)
                    loss.backward()
                    value += float(loss.detach())
                return value
            except (MemoryError, RuntimeError) as error:
                if self.parts >= len(index) or not _short_of_memory(error):
                    raise
                inputs = encoded = weights = loss = None  # the graph of the try that failed
                self.parts *= 2
                emit("warning", f"{work.what}: memory is short; each batch is taken in {self.parts} parts, its size stays.")

    def state(self) -> Kept:
        """All of it, so that ``load`` goes on as if nothing had happened."""
        import torch

        names = ("epoch", "factor", "parts", "best_epoch", "lowest", "history")
        arrays = {
            "generator": self.generator.get_state().numpy(),
            "drawn": torch.get_rng_state().numpy(),
            "best": self.best,
            **{f"live/{name}": value.numpy() for name, value in self.work.model.tensors().items()},
            **{f"kept/{name}": value.numpy() for name, value in self.kept.items()},
            **{f"mean/{name}": value.numpy() for name, value in self.mean.mean.items()},
        }
        for place, moments in self.optimiser.state_dict()["state"].items():
            arrays |= {f"moments/{place}/{name}": value.numpy() for name, value in moments.items()}
        return Kept({name: getattr(self, name) for name in names} | {"averaged": self.mean.steps}, arrays)

    def load(self, found: Kept) -> None:
        import torch

        facts, tensors = found.facts, {name: torch.from_numpy(np.array(one)) for name, one in found.arrays.items()}

        def below(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}

        self.epoch, self.parts, self.mean.steps = facts["epoch"], facts["parts"], facts["averaged"]
        self.best_epoch, self.lowest, self.best = facts["best_epoch"], facts["lowest"], found.arrays["best"]
        self.history = [(training, held) for training, held in facts["history"]]
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["drawn"])
        self.work.model.load(below("live/"))
        self.kept = below("kept/")
        self.mean.mean = below("mean/")
        moments: dict[int, dict[str, Any]] = {}
        for name, value in below("moments/").items():
            place, _, which = name.partition("/")
            moments.setdefault(int(place), {})[which] = value.reshape(()) if which == "step" else value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        steps = self.epoch * self.work.schedule.passes * math.ceil(len(self.work.rows) / self.work.schedule.batch)
        self.rate.last_epoch = steps
        for group, base, share in zip(self.optimiser.param_groups, self.rate.base_lrs, self.rate.lr_lambdas, strict=True):
            group["lr"] = base * share(steps)


def _short_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def evaluate(
    model: Model, batches: Batches, *, task: Task, rows: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """Weighted losses of ``rows`` as they are, one a row, with the mean that the losses of all units have.

    Scores of classes are taken at the temperature that suits them best: the predictor gets one too, and a network should
    not be stopped for being too sure of itself.
    """
    import torch

    model.mode(training=False)
    temperatures = TEMPERATURES if getattr(task, "link", "identity") != "identity" else (1.0,)
    found = [np.zeros((len(temperatures), 0))]
    with torch.no_grad():
        for start in range(0, len(rows), CHUNK):
            inputs, encoded, weights = batches(rows[start : start + CHUNK], None)
            scores = model.scores(inputs)
            found.append(np.stack([(task.loss(scores / t, encoded) * weights).double().numpy() for t in temperatures]))
    losses = np.concatenate(found, axis=1)
    if counts is not None and len(rows):
        starts = np.concatenate([[0], np.cumsum(counts[rows])[:-1]])
        losses = np.add.reduceat(losses, starts, axis=1) * (len(rows) / losses.shape[1])
    return losses[int(np.argmin(np.nan_to_num(losses.sum(axis=1), nan=np.inf)))]


def _as_good(losses: np.ndarray, best: np.ndarray) -> bool:
    """Whether ``losses`` are lower than ``best`` on average, or higher by less than one standard error of the difference."""
    more = losses - best
    if not np.isfinite(more).all():
        return False
    return bool(more.mean() < 0 or more.mean() < more.std() / math.sqrt(len(more)))


def _loss(work: Work, inputs: Any, encoded: Any, weights: Any, generator: Any) -> Any:
    """The batch's loss. Where inputs are mixed (Zhang et al. 2018), so are losses: for log-loss, that mixes the targets."""
    task, smoothing = work.task, work.schedule.smoothing
    smooth = smoothing and getattr(task, "link", "identity") == "softmax"
    mixed = work.schedule.mixture.mixed(inputs, generator)
    inputs = inputs if mixed is None else mixed.inputs
    rows = work.model.rows(inputs)
    scores = work.model.head(rows)

    def loss(encoded: Any, weights: Any) -> Any:
        found = task.loss(scores, encoded)
        if smooth:
            found = (1 - smoothing) * found - smoothing * scores.log_softmax(dim=1).mean(dim=1)
        found = (found * weights).mean()
        return found if work.penalty is None else found + work.penalty(Step(inputs, rows, scores, encoded))

    if mixed is None:
        return loss(encoded, weights)
    return mixed.share * loss(encoded, weights) + (1 - mixed.share) * loss(encoded[mixed.other], weights[mixed.other])


def hold_out(task: Task, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to stop on: blocks whole, classes in proportion, about ``HELD`` items to stop on at most.

    Nothing is held out where that would take more than a quarter of the rows (fewer than four a class).
    """
    rows, held = task.split(examples, fraction=min(fraction, HELD / len(examples)), seed=seed)
    if len(held) > len(examples) / 4 or len(held) < 2:
        return np.arange(len(examples)), np.zeros(0, dtype=int)
    return rows, held


def passes(rows: int) -> int:
    """Passes over the rows that make an epoch: fewer than ``FEW`` rows pass several times."""
    return int(np.clip(FEW // rows, 1, 8))


def settled(scorer: Scorer, task: Task, held: Examples, lens: Lens) -> tuple[Task, float]:
    """The task with its decoding, and the temperature, chosen on rows that the training did not see."""
    if not len(held):
        return task, 1.0
    found = scorer.scores(held, lens)
    temperature = fit_temperature(found.rows, task, held.targets)
    return task.tuned(Features(found.rows / temperature, found.offsets), held.targets), temperature


def in_order(examples: Examples) -> Examples:
    """The same examples in an order that their content alone decides: training does not depend on the order of files."""
    keys = [(item, str(target)) for item, target in zip(examples.fingerprints, examples.targets.tolist(), strict=True)]
    return examples.take(np.asarray(sorted(range(len(keys)), key=keys.__getitem__), dtype=int))


@dataclass(frozen=True, eq=False)
class Labels:
    """Encoded targets and weights of labelled examples, one a unit, as tensors; item i owns ``offsets[i]:offsets[i + 1]``."""

    encoded: Any
    weights: Any
    offsets: np.ndarray

    @classmethod
    def of(cls, task: Task, examples: Examples) -> Labels:
        import torch

        encoded = torch.from_numpy(task.encode(examples.targets))
        weights = task.item_weights(examples.targets)
        plain = torch.ones(len(encoded)) if weights is None else torch.from_numpy(weights).float()
        offsets = unit_offsets(examples, task.unit)
        return cls(encoded.float() if encoded.is_floating_point() else encoded, plain, offsets)

    def take(self, index: np.ndarray) -> tuple[Any, Any]:
        """Targets and weights of the items at ``index``, in that order."""
        rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in index])
        return self.encoded[rows], self.weights[rows]


def _cosine(schedule: Schedule, steps: int, wait: float = 0.0) -> Callable[[int], float]:
    """The share of the full rate at each step: a linear warm-up, then half a cosine down to zero; none before ``wait``."""
    total = max(1, schedule.epochs * steps)
    warm = max(1, round(schedule.warmup * total))

    def share(step: int) -> float:
        if step < wait * total:
            return 0.0
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return share
