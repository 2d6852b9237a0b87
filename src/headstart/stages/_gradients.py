"""How strongly unseen rows pull at each stage of a network, once a head stands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _network, _training
from headstart._linear import head_on

if TYPE_CHECKING:
    from headstart.features import Lens
    from headstart.problem import Examples
    from headstart.tasks import Task

BATCHES, BATCH = 5, 8  # a photo costs about three passes here: forty of them are seconds, not minutes
FITTED = 400  # rows that the head is fitted on


def relative_gradients(task: Task, lens: Lens, rows: Examples) -> dict[str, float]:
    """‖gradient‖ / ‖weights‖ of every stage above the lens's cut (RGN; Lee et al., "Surgical fine-tuning", ICLR 2023).

    A linear probe on the last features is fitted on one part of ``rows``; the norms are means over ``BATCHES`` batches of the
    others, so they do not tell of a head that knows its rows by heart. Norms and biases are left out, as in the paper. Empty
    where too few rows are there for that, or where the network has no stages.
    """
    fitted, unseen = task.split(rows, fraction=min(0.5, BATCHES * BATCH / len(rows)), seed=0)
    if len(unseen) < 2 * BATCHES or len(fitted) < 2:
        return {}
    draw = np.random.default_rng(0)
    left = rows.take(draw.permutation(unseen)[: BATCHES * BATCH])
    weights, bias = _probe(task, rows.take(draw.permutation(fitted)[:FITTED]), lens)
    with _network.contained(2):
        network = lens.backbone.network(unit=task.unit)
        if not network.stages:
            return {}
        model = _network.Model.of(network, task.width, cut=lens.cut, statistics=False)
        model.set_head(weights, bias)
        model.mode(training=False)
        batches = np.array_split(np.arange(len(left)), BATCHES)
        norms = [_norms(model, task, left.take(index), lens) for index in batches]
    return {stage: float(np.mean([one[stage] for one in norms])) for stage in norms[0]}


def _norms(model: _network.Model, task: Task, rows: Examples, lens: Lens) -> dict[str, float]:
    """‖g‖ / ‖θ‖ of every stage, for one batch."""
    labels = _training.Labels.of(task, rows)
    encoded, importance = labels.take(np.arange(len(rows)))
    states = model.network.collate(_network.states_of(lens, rows, lens.cut))
    model.network.module.zero_grad(set_to_none=True)
    (task.loss(model.scores(states), encoded) * importance).mean().backward()
    own = dict(model.network.module.named_parameters())
    found = {}
    for stage, names in _network.stages_above(model.network, lens.cut).items():
        weights = [own[name] for name in names if own[name].ndim > 1 and own[name].grad is not None]
        found[stage] = _length([weight.grad for weight in weights]) / max(_length(weights), 1e-12)
    return found


def _probe(task: Task, examples: Examples, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """A calibrated linear probe: one that is too sure of itself would pull too hard at the rows that it gets wrong."""
    head = head_on([lens.joined(examples)], task, examples)
    return head.weights / head.temperature, head.bias / head.temperature


def _length(tensors: list[Any]) -> float:
    return float(sum(float((tensor.detach() ** 2).sum()) for tensor in tensors)) ** 0.5
