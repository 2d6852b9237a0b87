"""Stages two and three: which layers of the base transfer, where to read, what to freeze and what to move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from headstart import backbones as sources
from headstart._events import emit
from headstart.backbone import Backbone, Tap, feature_taps
from headstart.errors import NotAdmissible
from headstart.features import FeatureStore, Lens, Move, Profile, TapScore
from headstart.problem import Problem
from headstart.stages._gradients import relative_gradients
from headstart.stages._layers import as_good, scored, seen_at
from headstart.stages._memory import available_memory
from headstart.stages._rivals import bootstrap
from headstart.stages._rows import some_rows
from headstart.stages._similarity import linear_cka
from headstart.strategy import Plan

if TYPE_CHECKING:
    from headstart.tasks import Task

DRAWS = 200  # of the bootstrap of a score
COPIES = 3  # of a layer's rows in memory at once, in double precision
LEAST = 50  # rows; a layer of which fewer fit into memory is left out


def locate(
    problem: Problem, backbone: str | Backbone, *, store: FeatureStore | None = None, plan: Plan | None = None
) -> Profile:
    """The exact leave-one-out score of a ridge head at every tap, from one pass over the data.

    ``read`` is the tap with the best leave-one-out log-loss. The layers up to ``cut`` transfer as they are and stay
    frozen: the shallowest resumable tap within one paired standard error of the best, but low enough that something that
    can be tuned stands above it. Where there is time to tune the ``whole`` network, there is no cut: by ``plan`` every stage
    moves at its share of the largest relative gradient, on rows that the head has not seen. (Layers whose frozen features are
    good may still be worth moving: on noisy digits that won 17 points over the cut, on real photos and questions 4 to 13.)
    ``similarity`` says how alike the taps are, for reading only.

    Layers that do not fit into memory are left out, or all are read on fewer rows; both are told.
    """
    store, plan = store or FeatureStore(), plan or Plan()
    found, task = sources.find(backbone), problem.task
    taps, most = _that_fit(found, task.unit, plan.rank_rows)
    rows = some_rows(problem, most)
    layers = [scored(seen_at(task, store.features(found, rows, [tap.name])[0], rows), tap) for tap in taps]
    best = int(np.argmin([layer.score.log_loss for layer in layers]))
    shallowest = next(i for i, layer in enumerate(layers) if as_good(layer, layers[best]))
    cut = _something_above([tap.place for tap in taps], [tap.resumable for tap in taps], shallowest)
    moves = _above(taps, cut) if found.trainable else ()
    if found.trainable and plan.tuned_epochs and plan.whole:
        cut, last = None, feature_taps(found, task.unit)[-1].name
        moves = _by_gradient(relative_gradients(task, Lens(((found, last),), store=store), rows))
    reason = _reason(task, found, layers[best].score, layers[shallowest].score, cut, moves)
    emit("stage", f"{found.card.name}: {reason}", backbone=found.card.name)
    alike = np.round(linear_cka([layer.some for layer in layers]), 4)
    spread = np.nanstd(bootstrap(task.unitwise, [one.outcomes for one in layers], layers[0].blocks, draws=DRAWS), axis=0)
    scores = tuple(replace(one.score, score_error=float(error)) for one, error in zip(layers, spread, strict=True))
    similarity = tuple(tuple(row) for row in alike.tolist())
    return Profile(found.card.name, scores, taps[best].name, cut, reason, moves, similarity)


def _something_above(names: list[str], resumable: list[bool], shallowest: int) -> str | None:
    """The deepest resumable tap not above ``shallowest`` that leaves at least two stages to tune."""
    highest = min(shallowest, len(names) - 3)
    return next((names[i] for i in range(highest, -1, -1) if resumable[i]), None)


def _that_fit(backbone: Backbone, unit: str, wanted: int) -> tuple[tuple[Tap, ...], int]:
    """The taps that can be read in this memory, and on how many rows: all the same ones, so that they can be compared."""
    taps, name = feature_taps(backbone, unit), backbone.card.name
    room = available_memory()
    if room is None:
        return taps, wanted
    units = 3 if unit == "word" else 1  # of those that ``some_rows`` takes for a wanted one
    fits = {tap: room // (COPIES * 8 * tap.width * units) for tap in taps}
    kept = tuple(tap for tap in taps if fits[tap] >= min(LEAST, wanted))
    gone = [tap for tap in taps if tap not in kept]
    if not kept:
        narrow = min(taps, key=lambda tap: tap.width)
        raise NotAdmissible(
            f"No layer of '{name}' fits into memory: '{narrow.name}' alone has {narrow.width:,} numbers a row, and "
            f"{room / 2**20:,.0f} MB are free. Free some memory, or choose a smaller model."
        )
    if gone:
        told = ", ".join(f"'{tap.name}' ({tap.width:,} wide)" for tap in gone)
        emit("warning", f"{name}: left out, too wide for the {room / 2**20:,.0f} MB of free memory: {told}.", backbone=name)
    most = min(wanted, *(fits[tap] for tap in kept))
    if most < wanted:
        widest = max(kept, key=lambda tap: tap.width)
        emit(
            "data",
            f"{name}: its layers are scored on at most {most:,} rows instead of {wanted:,}: '{widest.name}' is "
            f"{widest.width:,} wide, and {room / 2**20:,.0f} MB of memory are free.",
            backbone=name,
        )
    return kept, most


def _above(taps: Sequence[Tap], cut: str | None) -> tuple[Move, ...]:
    """The freeze plan of a cut: up to it nothing moves, above it everything does."""
    places = [tap.place for tap in taps]
    frozen = places.index(cut) + 1 if cut is not None else 0
    return tuple(Move(place, 0.0 if at < frozen else None) for at, place in enumerate(places))


def _by_gradient(gradients: Mapping[str, float]) -> tuple[Move, ...]:
    """The freeze plan of the whole network: every stage moves at its gradient's share of the largest one."""
    largest = max(gradients.values(), default=0.0)
    if not largest > 0:
        return ()
    return tuple(Move(stage, round(pull / largest, 3), round(pull, 6)) for stage, pull in gradients.items())


def _reason(
    task: Task, backbone: Backbone, best: TapScore, shallowest: TapScore, cut: str | None, moves: Sequence[Move]
) -> str:
    what = "squared error" if task.link == "identity" else "log-loss"
    reason = (
        f"'{best.tap}' predicts unseen rows best (leave-one-out {what} {best.log_loss:.3f}); "
        f"'{shallowest.tap}' is the shallowest layer that is as good within one standard error "
        "of the difference. "
    )
    if not backbone.trainable:
        return reason + "It can be read, not tuned."
    if cut:
        room = ", so that two layers are left to tune" if cut != shallowest.place else ""
        return reason + f"Layers up to '{cut}' stay frozen{room}."
    pulled = {move.stage: move.share for move in moves if move.share is not None}
    if len(pulled) < 2:
        return reason + "Tuning starts at the input."
    most, least = max(pulled, key=pulled.__getitem__), min(pulled, key=pulled.__getitem__)
    return reason + (
        "The budget has time to tune the whole network: each layer at a rate in proportion to its gradient on unseen rows, "
        f"'{most}' at the full one, '{least}' at {pulled[least]:.2f} of it."
    )
