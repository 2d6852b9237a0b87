"""The command ``headstart rank``, and how a ranking reads on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headstart import registry
from headstart._events import listen
from headstart.cli import _console
from headstart.cli._console import Console
from headstart.cli._data import (
    Backbones,
    Block,
    Data,
    Debug,
    Inputs,
    Json,
    Label,
    Memory,
    Parameters,
    Reader,
    Seconds,
    Split,
    Task,
    limits_of,
    options_of,
    read_problem,
    store,
)

if TYPE_CHECKING:
    from headstart.evidence import Candidate, Ranking

COLUMNS = 5  # rankers in one table


def rank(
    path: Data,
    task: Task = "auto",
    reader: Reader = "auto",
    label: Label = None,
    inputs: Inputs = None,
    split: Split = None,
    block: Block = None,
    backbones: Backbones = None,
    rankers: Annotated[
        list[str] | None,
        typer.Option(
            "--rankers", "--ranker", help="Score to rank by; repeatable (`headstart list rankers`); all: every one."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for a race on real tuning of leaders that cannot be told apart: 10m (default: no race)."),
    ] = None,
    max_params: Parameters = None,
    max_memory: Memory = None,
    max_seconds: Seconds = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Order pre-trained models by their promise.

    Says which cannot be told apart. No network is trained without --budget.
    """
    from headstart.stages._history import History
    from headstart.stages.estimate import estimate
    from headstart.stages.rank import PANEL
    from headstart.stages.rank import rank as verb

    console, limits = Console(as_json=as_json), limits_of(max_params, max_memory, max_seconds)
    planned = _console.seconds(budget) if budget else None
    chosen = tuple(name for word in rankers or () for name in word.replace(",", " ").split())
    chosen = registry.names("rankers") if chosen == ("all",) else chosen
    with listen(console.hear):
        problem, _ = read_problem(path, reader, task, options_of(label, inputs, split, block))
        found = verb(
            problem,
            backbones or "suitable",
            store=store(),
            plan=estimate(problem, planned, ranking=True) if planned else None,
            rankers=chosen or PANEL,
            limits=limits,
            history=History.here(),
        )
    console.answer(found, lines(found))


def lines(found: Ranking) -> list[str]:
    """``found`` as two tables of 80 columns, the order and what it comes from, who was left out, and the conclusion."""
    left_out = [f"left out: {one.backbone}: {one.reason}" for one in found.left_out]
    if not found.candidates:
        return [*left_out, found.reason]
    # The first table's score is the one that the intervals are of, which is ridge_loo's: it need not stand there twice.
    applied = [name for name in found.candidates[0].scores if any(one.scores[name] is not None for one in found.candidates)]
    rankers = [name for name in applied if name != "ridge_loo"]
    raced = any(one.raced for one in found.candidates)
    order = [["", "backbone", "read at", found.metric, "95 % interval", "mean rank", *(["race"] if raced else []), "prior"]]
    order += [_place(one, found, raced) for one in found.candidates]
    told = [
        *_console.table(order),
        "",
        "= cannot be told apart from the first; * the choice without looking at this data",
        "",
    ]
    told += [line for part in _slices(rankers) for line in (*_console.table(_scores(found, part)), "")]
    costs = [["backbone", "parameters", "seconds", "one full pass"], *map(_cost, found.candidates)]
    told += [*_console.table(costs), *(f"{one.backbone}: {one.note}" for one in found.candidates if one.note)]
    return [*told, *left_out, "", found.conclusion]


def _place(one: Candidate, found: Ranking, raced: bool) -> list[str]:
    mark = ("=" if one.tied else " ") + ("*" if one.backbone == found.static_best else "")
    span = f"{one.interval.low:.3f} to {one.interval.high:.3f}" if one.interval else "-"
    prior = f"{one.past:.2f} in {one.past_problems}" if found.static_from == "log" else _number(one.prior)
    heats = [" > ".join(f"{rung.score:.3f}" for rung in one.raced) or "-"] if raced else []
    return [
        mark,
        one.backbone,
        one.tap or "-",
        _number(one.interval.value if one.interval else None),
        span,
        f"{one.mean_rank:.2f}",
        *heats,
        prior if one.past is not None or found.static_from == "card" else "-",
    ]


def _slices(rankers: list[str]) -> list[list[str]]:
    """``rankers``, as many at a time as stand beside a name in 80 columns."""
    return [rankers[at : at + COLUMNS] for at in range(0, len(rankers), COLUMNS)]


def _scores(found: Ranking, rankers: list[str]) -> list[list[str]]:
    rows = [[one.backbone, *(_number(one.scores.get(name)) for name in rankers)] for one in found.candidates]
    return [["backbone", *rankers], *rows]


def _cost(one: Candidate) -> list[str]:
    whole = "-" if one.whole is None else _console.span(one.whole)
    return [one.backbone, f"{one.parameters / 1e6:.1f}M", f"{one.seconds:.1f}", whole]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
