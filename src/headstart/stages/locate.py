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
    taps, task = feature_taps(found), problem.task
    losses, scores = [], []
    for tap, features in zip(taps, store.features(found, rows, [tap.name for tap in taps]), strict=True):
        X, targets, blocks = task.rows(features, rows)
        _, left_out = Decomposition.of(X, weights=task.item_weights(targets)).select(task.columns(targets), blocks=blocks)
        raw = task.raw(left_out)
        loss = task.losses(raw / fit_temperature(raw, task, targets), targets)
        score = task.score(task.outcomes(targets, task.decode(raw)))
        error = float(loss.std(ddof=1) / np.sqrt(len(loss)))
        scores.append(TapScore(tap.name, tap.depth, tap.width, score, float(loss.mean()), error))
        losses.append(loss)
    best = int(np.argmin([one.log_loss for one in scores]))
    near = [i for i, loss in enumerate(losses) if _within_one_error(loss - losses[best])]
    shallowest = min(near)
    cut = _something_above([tap.name for tap in taps], [tap.resumable for tap in taps], shallowest)
    reason = (
        f"'{taps[best].name}' predicts unseen rows best (leave-one-out log-loss {scores[best].log_loss:.3f}); "
        f"'{taps[shallowest].name}' is the shallowest layer that is as good within one standard error. "
    )
    reason += (
        f"Layers up to '{cut}' stay frozen." if cut else "The network cannot be cut here, so tuning starts at the input."
    )
    emit("stage", f"{name}: {reason}", backbone=name)
    return Profile(name, tuple(scores), taps[best].name, cut, reason)


def _within_one_error(difference: np.ndarray) -> bool:
    return bool(difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)))


def _something_above(names: list[str], resumable: list[bool], shallowest: int) -> str | None:
    """The deepest resumable tap not above ``shallowest`` that leaves at least two stages to tune."""
    highest = min(shallowest, len(names) - 3)
    return next((names[i] for i in range(highest, -1, -1) if resumable[i]), None)
