"""The laws that every plug-in keeps, as checks that anyone can run on their own. Public through ``headstart.testing``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart._linear import Decomposition
from headstart.errors import NotAdmissible
from headstart.features import Features, Lens, unit_offsets
from headstart.problem import Examples, Items, Problem
from headstart.rankers import Seen
from headstart.strategy import Plan, Predictor, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from headstart.backbone import Backbone
    from headstart.problem import Exam
    from headstart.strategy import Strategy
    from headstart.tasks import Task

QUICK = Plan(seconds=10, folds=3, repeats=1, seeds=1, epochs=8, views=1, threads=1)


def check_strategy(strategy: Strategy, problem: Problem, exam: Exam, lens: Lens, *, renames: bool = True) -> None:
    """The laws of a strategy, on a problem that it should be able to solve.

    Same seed, same predictions; problem and backbone stay as they were; state and back, same predictions; neither the order
    of the training rows nor the order or number of the rows asked about matters; it beats chance; renaming classes renames
    predictions (``renames=False`` for methods that read the names); less than it needs is ``NotAdmissible``.
    """
    recipe, asked = Recipe(strategy, lens), exam.examples
    before = _identities(problem, lens)
    predictor = recipe.fit(problem, plan=QUICK, seed=0)
    scores = predictor.scores(asked)
    _require(np.isfinite(scores).all(), f"{strategy.name}: scores are not finite")
    _require(_identities(problem, lens) == before, f"{strategy.name}: fit changed the problem or the backbone")
    again = recipe.fit(problem, plan=QUICK, seed=0).scores(asked)
    _require(np.array_equal(scores, again), f"{strategy.name}: the same seed gives other predictions")
    _check_state(predictor, asked, scores)
    turned = replace(problem, train=problem.train.take(np.random.default_rng(1).permutation(len(problem.train))))
    other = recipe.fit(turned, plan=QUICK, seed=0).scores(asked)
    _require(np.allclose(other, scores, atol=1e-4), f"{strategy.name}: the order of the training rows matters")
    if problem.task.link == "sigmoid" and strategy.name != "nearest_mean":
        share, said = problem.task.columns(problem.train.targets).mean(), predictor.predict_proba(problem.train).mean()
        _require(abs(share - said) < 0.15, f"{strategy.name}: labels have a share of {share:.2f}, it says {said:.2f}")
    mixed, parts = np.random.default_rng(0).permutation(len(asked)), predictor.raw(asked).parts()
    turned_rows = np.concatenate([parts[i] for i in mixed])
    _require(np.allclose(predictor.scores(asked.take(mixed)), turned_rows, atol=1e-5), "row order matters")
    single = np.concatenate([predictor.scores(asked.take([i])) for i in range(3)])
    together = np.concatenate(parts[:3])
    _require(np.allclose(single, together, atol=1e-5), f"{strategy.name}: the number of rows asked about matters")
    if strategy.name != "chance":
        shares, offsets = problem.task.columns(problem.train.targets).mean(axis=0), unit_offsets(asked, problem.task.unit)
        floor = np.tile(shares - 0.5, (offsets[-1], 1))
        chance = problem.task.score(problem.task.outcomes(asked.targets, problem.task.decode(floor, offsets)))
        reached = problem.task.score(problem.task.outcomes(asked.targets, predictor.predict(asked)))
        _require(reached > np.nan_to_num(chance), f"{strategy.name} scores {reached:.3f}, chance {chance:.3f}")
    if renames and problem.task.link == "softmax" and problem.task.unit == "item":
        renamed = recipe.fit(_renamed(problem), plan=QUICK, seed=0).predict(asked)
        _require(
            list(renamed) == [f"new {name}" for name in predictor.predict(asked)], "renaming classes changes more than names"
        )
    bare = replace(problem, train=Examples(replace(problem.train.items, targets=None), problem.train.rows))
    _refuses(lambda: recipe.fit(bare, plan=QUICK))


def check_ranker(
    score: Callable[[Seen], float | None],
    task: Task,
    features: np.ndarray,
    targets: np.ndarray,
    *,
    outputs: np.ndarray | None = None,
) -> None:
    """The laws of a ranker: finite on constant and duplicated columns, and with a class of one row; the order of rows means
    nothing; true labels score above permuted ones. ``outputs`` are the model's own class probabilities, for rankers that
    read them."""
    blocks, rng = np.arange(len(targets)).astype(str), np.random.default_rng(1)

    def of(X: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> float | None:
        own = None if outputs is None else outputs[rows]
        return score(Seen(Decomposition.of(X[rows]), task, labels, blocks[rows], own))

    every, mixed = np.arange(len(targets)), rng.permutation(len(targets))
    awkward = np.column_stack([features, np.ones(len(features)), features[:, 0], features[:, 0]])
    for X in (features, awkward, np.ones((len(features), 3))):
        value = of(X, every, targets)
        _require(value is None or np.isfinite(value), "the score is not finite")
    true, turned, false = (
        of(features, every, targets),
        of(features, mixed, targets[mixed]),
        of(features, every, targets[mixed]),
    )
    same = true is None or turned is None or bool(np.isclose(true, turned, rtol=1e-4, atol=1e-6))
    _require(same, f"the order of rows matters: {true}, {turned}")
    if task.link == "softmax":
        rare = np.concatenate([np.flatnonzero(targets != targets[0]), [0]])
        value = of(features, rare, targets[rare])
        _require(value is None or np.isfinite(value), "the score is not finite when a class has one row")
    _require(true is None or false is None or true > false, f"true labels score {true}, permuted ones {false}")


def check_task(task: Task, targets: np.ndarray, predictions: np.ndarray) -> None:
    """The laws of a task: integer weights are repetitions; the order of items means nothing; a spec comes back."""
    from headstart.tasks import task_from_spec

    outcomes, rng = task.outcomes(targets, predictions), np.random.default_rng(0)
    for _ in range(5):
        weights = rng.integers(0, 4, len(targets))
        real = np.repeat(np.arange(len(targets)), weights)
        repeated = task.score(task.outcomes(targets[real], predictions[real]))
        _require(abs(task.score(outcomes, weights) - repeated) < 1e-12, "weights are not repetitions")
    mixed = rng.permutation(len(targets))
    _require(abs(task.score(outcomes[mixed]) - task.score(outcomes)) < 1e-12, "the order of items matters")
    _require(
        abs(task.score(outcomes, np.full(len(targets), 7.0)) - task.score(outcomes)) < 1e-12, "the scale of weights matters"
    )
    strata = task.strata(outcomes)
    if strata is not None:
        _require(
            abs(np.mean([values.mean() for _, values in strata]) - task.score(outcomes)) < 1e-12, "strata do not add up"
        )
    again = task_from_spec(task.spec())
    _require(again == task and task_from_spec(_io.plain(again)) == task, "the spec does not come back")


def check_backbone(backbone: Backbone, inputs: list[Any]) -> None:
    """The laws of a backbone: declared widths are real; a batch is its singles; nothing changes; cut and continue is
    whole, or the model refuses to be trained."""
    import torch

    names = [tap.name for tap in backbone.taps]
    found, mark = backbone.features(inputs, names), backbone.fingerprint
    for tap in backbone.taps:
        _require(found[tap.name].rows.shape[1] == tap.width, f"'{tap.name}' is not {tap.width} wide")
    for i in range(min(3, len(inputs))):
        alone = backbone.features(inputs[i : i + 1], names)
        for name in names:
            owned = found[name].rows[found[name].offsets[i] : found[name].offsets[i + 1]]
            _require(np.array_equal(alone[name].rows, owned), f"a row at '{name}' depends on its neighbours")
    _require(backbone.fingerprint == mark, "features() changed the backbone")
    _require(
        all([backbone.card.name, backbone.card.kind, backbone.card.licence, backbone.card.trained_on]), "incomplete card"
    )
    if not backbone.trainable:
        _refuses(backbone.network)
        return
    network = backbone.network()
    network.module.eval()
    prepared = backbone.prepare(inputs[:2])
    given = network.collate(prepared.parts() if isinstance(prepared, Features) else prepared)
    with torch.no_grad():
        whole = network.above(network.below(given, None), None)
        for tap in (tap for tap in backbone.taps if tap.resumable and not tap.labels):
            joined = network.above(network.below(given, tap.name), tap.name)
            _require(torch.equal(joined, whole), f"continuing from '{tap.name}' is not the whole network")


def _check_state(predictor: Predictor, asked: Examples, scores: np.ndarray) -> None:
    import json

    state, arrays = predictor.state()
    _require(all(isinstance(array, np.ndarray) for array in arrays.values()), "state() holds something that is no array")
    restored = Predictor.restore(json.loads(json.dumps(_io.plain(state))), arrays, predictor.lens)
    _require(np.allclose(restored.scores(asked), scores, atol=1e-6), f"{predictor.strategy.name}: state and back differs")
    _require(list(restored.predict(asked)) == list(predictor.predict(asked)), "state and back predicts otherwise")


def _identities(problem: Problem, lens: Lens) -> tuple[str, ...]:
    return (_io.fingerprint(problem), *(backbone.fingerprint for backbone, _ in lens.reads))


def _renamed(problem: Problem) -> Problem:
    items: Items = problem.train.items
    assert items.targets is not None
    targets = np.array([f"new {target}" for target in items.targets], dtype=object)
    task: Any = problem.task
    renamed = replace(task, classes=tuple(f"new {name}" for name in task.classes))
    return replace(problem, task=renamed, train=Examples(replace(items, targets=targets, memo={}), problem.train.rows))


def _refuses(call: Callable[[], object]) -> None:
    try:
        call()
    except NotAdmissible:
        return
    raise AssertionError("it worked with less than it needs; NotAdmissible would be right")


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(law)
