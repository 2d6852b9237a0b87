"""What tuning a network would take, before it begins: memory, disk, time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _network, _training, registry
from headstart.errors import NotAdmissible
from headstart.evidence import Cost
from headstart.strategy import Plan, Recipe
from headstart.tuning import part_named

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples, Problem

COPIES = 4  # of what moves: the probe's, the best so far, the one before the mean, the last
FEW = 4  # items that are looked at


def cost(recipe: Recipe, problem: Problem, *, plan: Plan | None = None) -> Cost:
    """The memory, disk and time that ``recipe``, which tunes a network, takes on ``problem``.

    Parameters, gradients and AdamW's state are counted; what a step keeps for its gradient is taken from one step on a few
    items, and so is its time. What Python and its libraries take is not counted, nor what terms of the loss add.
    ``NotAdmissible`` for a recipe that tunes no network.
    """
    strategy, plan, task = recipe.strategy, plan or Plan(), problem.task
    if not isinstance(strategy, registry.get("strategies", "fine_tune")):
        raise NotAdmissible(
            f"'{recipe.name}' tunes no network, so there is nothing to tell. Name 'fine_tune' or a part of it."
        )
    lens = strategy.through(recipe.lens)
    some = problem.train.take(np.linspace(0, len(problem.train) - 1, min(FEW, len(problem.train))).astype(int))
    states = _network.states_of(lens, some, lens.cut)
    reading = _reading(lens, some) if lens.cut is not None else 0.0
    with _network.contained(plan.threads):
        model, _ = strategy.built(task, lens, 0)
        labels = _training.Labels.of(task, some)
        kept, seconds = _step(model, task, [states[i % len(some)] for i in range(strategy.batch)], labels, len(some))
    moving = sum(parameter.numel() for parameter in (*model.parameters(), *model.head.parameters()))
    everything = sum(parameter.numel() for parameter in (*model.network.module.parameters(), *model.head.parameters()))
    schedule = strategy.schedule(plan, len(problem.train))
    steps = schedule.epochs * schedule.passes * -(-len(problem.train) // schedule.batch)
    views = len(strategy.looks(lens, plan))
    runs = len(part_named(strategy.average).rates)
    one = float(np.mean([state.nbytes for state in states]))
    return Cost(
        recipe=recipe.name,
        parameters=everything,
        moving=moving,
        weights=4 * everything,
        gradients=4 * moving,
        optimiser=8 * moving,
        copies=4 * (COPIES + runs - 1) * moving,
        activations=int(kept),
        inputs=int(one * len(problem.train) * views),
        disk=int(one * len(problem.train) * views) if lens.cut is not None else 0,
        seconds=runs * steps * seconds + reading * len(problem.train) * views,
    )


def _reading(lens: Lens, some: Examples) -> float:
    """Seconds an item takes up to the cut, past the cache: it may be there already."""
    started = time.perf_counter()
    lens.backbone.states(some.inputs, lens.cut or "")
    return (time.perf_counter() - started) / len(some)


def _step(model: _network.Model, task: Any, states: list[np.ndarray], labels: Any, few: int) -> tuple[int, float]:
    """Bytes that one step keeps for its gradient, and the seconds it takes: the faster of two."""
    import torch

    own = {parameter.data_ptr() for parameter in model.network.module.parameters()}
    encoded, importance = labels.take(np.arange(len(states)) % few)
    seen: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        if tensor.data_ptr() not in own:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    took = []
    model.mode(training=True)
    for turn in range(2):
        started = time.perf_counter()
        batch = model.network.collate(states)
        with torch.autograd.graph.saved_tensors_hooks(note if turn == 0 else lambda tensor: tensor, lambda tensor: tensor):
            loss = (task.loss(model.scores(batch), encoded) * importance).mean()
        loss.backward()
        took.append(time.perf_counter() - started)
    return sum(seen.values()), min(took)
