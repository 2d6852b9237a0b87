"""The one training loop: a network from a cut upward, with a linear head, on batches from anywhere.

A strategy says what moves and how fast (``groups``), where batches come from (``batches``) and how long (``Schedule``).
The loop does the rest the same way for every task: AdamW, warm-up and cosine, early stop on a held-out part of the
training rows, the best weights kept, a clean stop when the loss is no number any more. Every random draw comes from an
explicit generator: same seed, same thread count, same weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart._events import emit
from headstart._linear import fit_temperature
from headstart._network import CHUNK, Model
from headstart.features import Features, unit_offsets

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples
    from headstart.strategy import Scorer
    from headstart.tasks import Task

HELD = 500  # items say well enough when to stop; more of them would be missing from the training
FEW = 400  # fewer rows than this pass several times an epoch
TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-4, 7))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. ``average`` is the decay of a running mean of the weights (0: none).

    ``patience`` counts epochs without a better held-out loss. ``mixup`` is the α of its Beta distribution. ``passes`` runs
    over the rows make one epoch, so that a handful of rows still gives enough steps.
    """

    epochs: int
    batch: int = 32
    warmup: float = 0.1
    patience: int = 10
    clip: float = 1.0
    mixup: float = 0.0
    smoothing: float = 0.0
    average: float = 0.0
    passes: int = 1


@dataclass(frozen=True)
class Training:
    """What happened: the epoch whose weights were kept (0: the first ones), losses an epoch, why it ended."""

    best_epoch: int
    history: tuple[tuple[float, float], ...]  # (training loss, held-out loss) an epoch
    seconds: float
    ended: str  # "schedule", "patience" or "diverged"

    def notes(self) -> dict[str, Any]:
        """What a predictor's record keeps of it; without seconds, so that equal fits have equal records."""
        history = [[None if math.isnan(loss) else round(loss, 6) for loss in pair] for pair in self.history]
        return {"epochs": len(history), "best_epoch": self.best_epoch, "ended": self.ended, "history": history}


Batches = Callable[[np.ndarray, Any], tuple[Any, Any, Any]]
"""(row indices, generator) → (inputs, encoded targets, weights), tensors. Without a generator: rows as they are."""


def train(
    model: Model,
    batches: Batches,
    *,
    task: Task,
    rows: np.ndarray,
    held: np.ndarray,
    groups: Sequence[Mapping[str, Any]],
    schedule: Schedule,
    seed: int,
    what: str,
    counts: np.ndarray | None = None,
) -> Training:
    """Train ``model`` in place on ``rows``; it ends with the weights that were best on ``held``.

    Best means the latest epoch that the held-out rows cannot tell from the lowest loss (within one standard error): a few
    dozen rows are noisy, and weights at the end of the schedule have settled.
    Without held-out rows the whole schedule runs and the last weights stay. ``groups`` are AdamW's parameter groups, each
    with its ``lr``. ``counts`` says how many units each row has, where that is not one: losses of one item's words are no
    independent witnesses.
    """
    import torch

    started, history, ended = time.monotonic(), [], "schedule"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for dropout, which takes no generator
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.AdamW([dict(group) for group in groups], fused=True)
        steps = schedule.passes * math.ceil(len(rows) / schedule.batch)
        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, _cosine(schedule, steps))
        mean = _RunningMean(model, schedule.average)
        lowest, best = 0, evaluate(model, batches, task=task, rows=held, counts=counts)
        kept = (0, model.copy())
        for epoch in range(1, schedule.epochs + 1):
            loss = _epoch(model, batches, task, rows, schedule, optimiser, rate, generator, mean)
            live = mean.swap_in()
            losses = evaluate(model, batches, task=task, rows=held, counts=counts)
            if math.isfinite(loss) and (_as_good(losses, best) if len(held) else model.finite()):
                kept = (epoch, model.copy())
                if losses.sum() < best.sum():
                    lowest, best = epoch, losses
            model.load(live)
            reached = float(losses.mean()) if len(held) else math.nan
            history.append((loss, reached))
            emit("progress", what, done=epoch, total=schedule.epochs, loss=loss, held_out=reached)
            if not math.isfinite(loss):
                ended = "diverged"
                emit("warning", f"{what}: the loss is no number any more in epoch {epoch}; the best weights so far stay.")
                break
            if len(held) and epoch - lowest >= schedule.patience:
                ended = "patience"
                break
        model.load(kept[1])
    model.mode(training=False)
    return Training(kept[0], tuple(history), time.monotonic() - started, ended)


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


def _epoch(
    model: Model,
    batches: Batches,
    task: Task,
    rows: np.ndarray,
    schedule: Schedule,
    optimiser: Any,
    rate: Any,
    generator: Any,
    mean: _RunningMean,
) -> float:
    """One epoch; its mean loss. NaN at once when a step's loss or gradient is no number: that step is not taken."""
    import torch

    model.mode(training=True)
    total, steps = 0.0, 0
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for _ in range(schedule.passes):
        order = rows[torch.randperm(len(rows), generator=generator).numpy()]
        for index in np.array_split(order, math.ceil(len(rows) / schedule.batch)):  # no tail of one row
            inputs, encoded, weights = batches(index, generator)
            loss = _loss(model, task, inputs, encoded, weights, schedule, generator)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
            value = float(loss.detach())
            if not (math.isfinite(value) and math.isfinite(float(norm))):
                return math.nan
            optimiser.step()
            rate.step()
            mean.update()
            total, steps = total + value, steps + 1
    return total / steps


def _loss(model: Model, task: Task, inputs: Any, encoded: Any, weights: Any, schedule: Schedule, generator: Any) -> Any:
    """The batch's loss. Mixup (Zhang et al. 2018) mixes losses, which for log-loss is the same as mixing targets."""
    import torch

    link = getattr(task, "link", "identity")

    def weighted(scores: Any, targets: Any, weights: Any) -> Any:
        loss = task.loss(scores, targets)
        if schedule.smoothing and link == "softmax":
            loss = (1 - schedule.smoothing) * loss - schedule.smoothing * scores.log_softmax(dim=1).mean(dim=1)
        return (loss * weights).mean()

    if not schedule.mixup or link == "identity" or not torch.is_tensor(inputs):  # texts cannot be mixed
        return weighted(model.scores(inputs), encoded, weights)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(schedule.mixup, schedule.mixup))
    other = torch.randperm(len(inputs), generator=generator)
    scores = model.scores(share * inputs.float() + (1 - share) * inputs[other].float())
    return share * weighted(scores, encoded, weights) + (1 - share) * weighted(scores, encoded[other], weights[other])


class _RunningMean:
    """A running mean of the parameters. Batch-norm statistics are copied, never averaged from their start values."""

    def __init__(self, model: Model, decay: float) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.mean = model.copy() if decay else {}

    def update(self) -> None:
        import torch

        if not self.decay:
            return
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = self.model.tensors()
        learned = [name for name in now if name.startswith("head.") or name.removeprefix("network.") in self.model.moving]
        torch._foreach_lerp_([self.mean[name] for name in learned], [now[name] for name in learned], share)
        for name in now.keys() - set(learned):
            self.mean[name].copy_(now[name])

    def swap_in(self) -> dict[str, Any]:
        """Put the mean into the model; what was there before."""
        live = self.model.copy()
        if self.decay:
            self.model.load(self.mean)
        return live


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


def augmented(images: Any, generator: Any, *, area: float = 0.35, flip: bool = True, light: float = 0.3) -> Any:
    """Random crops of at least ``area`` of each image, mirrored half the time, with other brightness and contrast.

    ``images`` is a uint8 tensor (n, side, side, 3), and so is the answer. Anything else (rows of numbers, states inside a
    network) comes back as it is.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    if not torch.is_tensor(images) or images.ndim != 4 or images.dtype != torch.uint8:
        return images
    n = len(images)
    draw = torch.rand(6, n, generator=generator)
    size = (area + (1 - area) * draw[0]).sqrt()
    aspect = torch.exp((draw[1] - 0.5) * 0.5)
    wide, high = (size * aspect.sqrt()).clamp(max=1.0), (size / aspect.sqrt()).clamp(max=1.0)
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * (2 * draw[3] - 1), (1 - high) * (2 * draw[4] - 1)
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = grid_sample(pixels, affine_grid(theta, list(pixels.shape), align_corners=False), align_corners=False)
    gain = 1 + light * (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = ((pixels - middle) * gain[0] + middle) * gain[1]
    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _cosine(schedule: Schedule, steps: int) -> Callable[[int], float]:
    """The share of the full rate at each step: a linear warm-up, then half a cosine down to zero."""
    total = max(1, schedule.epochs * steps)
    warm = max(1, round(schedule.warmup * total))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return share
