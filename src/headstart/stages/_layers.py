"""How well a head on one layer predicts rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstart import _cutting
from headstart._linear import Decomposition, fit_temperature
from headstart.backbone import Tap
from headstart.features import Features, TapScore
from headstart.problem import Examples
from headstart.rankers import Seen
from headstart.stages._similarity import MOST

if TYPE_CHECKING:
    from headstart.tasks import Task


@dataclass(frozen=True, eq=False)
class Layer:
    """A tap's score; the outcomes, (n, k), and losses, (n,), of the rows left out, and their blocks; some of its feature rows."""

    score: TapScore
    outcomes: np.ndarray
    losses: np.ndarray
    blocks: np.ndarray
    some: np.ndarray


def seen_at(task: Task, features: Features, rows: Examples) -> Seen:
    """The ``features`` of ``rows`` at one tap, as rankers see them."""
    X, targets, blocks = task.rows(features, rows)
    return Seen(Decomposition.of(X, weights=task.item_weights(rows.targets)), task.unitwise, targets, blocks)


def scored(seen: Seen, tap: Tap) -> Layer:
    """The exact leave-one-out score and loss of a ridge head on what was ``seen`` at ``tap``."""
    task, raw = seen.task, seen.task.raw(seen.left_out)
    losses = task.losses(raw / fit_temperature(raw, task, seen.targets), seen.targets)
    outcomes = task.outcomes(seen.targets, task.decode(raw))
    some = (seen.found.matrix + seen.found.mean)[np.random.default_rng(0).permutation(len(raw))[:MOST]]
    error = _cutting.standard_error(losses, seen.blocks)
    told = TapScore(tap.name, tap.depth, tap.width, task.score(outcomes), float(losses.mean()), error)
    return Layer(told, outcomes, losses, seen.blocks, some)


def as_good(layer: Layer, best: Layer) -> bool:
    """Within one paired standard error."""
    more = layer.losses - best.losses
    return bool(more.mean() <= _cutting.standard_error(more, best.blocks))
