"""Stages two and three: which layers of the base transfer, where to read and what to freeze."""

from __future__ import annotations

import numpy as np

from headstart import backbones as sources
from headstart._events import emit
from headstart._linear import Decomposition, fit_temperature
from headstart.backbone import Backbone, feature_taps
from headstart.features import FeatureStore, Profile, TapScore
from headstart.problem import Problem
from headstart.stages.rank import some_rows
from headstart.strategy import Plan


def locate(
    problem: Problem, backbone: str | Backbone, *, store: FeatureStore | None = None, plan: Plan | None = None
) -> Profile:
    """The exact leave-one-out score of a ridge head at every tap, from one pass over the data.

    ``read`` is the tap with the best leave-one-out log-loss. The layers up to ``cut`` transfer as they are and stay
    frozen: the shallowest resumable tap within one paired standard error of the best, but low enough that something that
    can be tuned stands above it.
    """
    store, plan = store or FeatureStore(), plan or Plan()
    found, rows = sources.find(backbone), some_rows(problem, plan.rank_rows)
    name = found.card.name
    task, unitwise = problem.task, problem.task.unitwise
    taps = feature_taps(found, task.unit)
    losses, scores = [], []
    for tap, features in zip(taps, store.features(found, rows, [tap.name for tap in taps]), strict=True):
        X, targets, blocks = task.rows(features, rows)
        decomposed = Decomposition.of(X, weights=task.item_weights(rows.targets))
        _, left_out = decomposed.select(unitwise.columns(targets), blocks=blocks)
        raw = unitwise.raw(left_out)
        loss = unitwise.losses(raw / fit_temperature(raw, unitwise, targets), targets)
        score = unitwise.score(unitwise.outcomes(targets, unitwise.decode(raw)))
        error = _error(loss, blocks)
        scores.append(TapScore(tap.name, tap.depth, tap.width, score, float(loss.mean()), error))
        losses.append(loss)
    best = int(np.argmin([one.log_loss for one in scores]))
    near = [i for i, loss in enumerate(losses) if (loss - losses[best]).mean() <= _error(loss - losses[best], blocks)]
    shallowest = min(near)
    cut = _something_above([tap.place for tap in taps], [tap.resumable for tap in taps], shallowest)
    what = "squared error" if task.link == "identity" else "log-loss"
    reason = (
        f"'{taps[best].name}' predicts unseen rows best (leave-one-out {what} {scores[best].log_loss:.3f}); "
        f"'{taps[shallowest].name}' is the shallowest layer that is as good within one standard error. "
    )
    if not found.trainable:
        reason += "It can be read, not tuned."
    else:
        reason += f"Layers up to '{cut}' stay frozen." if cut else "It cannot be cut here, so tuning starts at the input."
    emit("stage", f"{name}: {reason}", backbone=name)
    return Profile(name, tuple(scores), taps[best].name, cut, reason)


def _error(values: np.ndarray, blocks: np.ndarray) -> float:
    """The standard error of the mean of ``values``, whose rows are dependent within a block."""
    _, block_of = np.unique(blocks.astype(str), return_inverse=True)
    sums = np.bincount(block_of, values - values.mean())
    count = len(sums)
    return float(np.sqrt((sums**2).sum() * count / max(1, count - 1)) / len(values))


def _something_above(names: list[str], resumable: list[bool], shallowest: int) -> str | None:
    """The deepest resumable tap not above ``shallowest`` that leaves at least two stages to tune."""
    highest = min(shallowest, len(names) - 3)
    return next((names[i] for i in range(highest, -1, -1) if resumable[i]), None)
