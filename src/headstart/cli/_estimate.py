"""The command ``headstart estimate``: what a budget of time buys, and what tuning takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headstart._events import listen
from headstart.cli import _console
from headstart.cli._console import Console
from headstart.cli._data import (
    Block,
    BudgetTime,
    Data,
    Debug,
    Inputs,
    Json,
    Label,
    Reader,
    Split,
    Strategies,
    Task,
    check_kind,
    options_of,
    read_problem,
    store,
)
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart.evidence import Cost


def estimate(
    path: Data,
    budget: BudgetTime = "10m",
    task: Task = "auto",
    reader: Reader = "auto",
    label: Label = None,
    inputs: Inputs = None,
    split: Split = None,
    block: Block = None,
    backbone: Annotated[
        str | None, typer.Option(help="Pre-trained model that would be tuned: adds what that takes.")
    ] = None,
    strategies: Strategies = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a budget of time would buy.

    With --backbone also what tuning it would take, in memory, disk and time: a line for each --strategy.
    """
    from headstart.stages.cost import cost
    from headstart.stages.estimate import estimate as verb
    from headstart.stages.locate import locate
    from headstart.strategy import Recipe, strategy_named

    console, planned = Console(as_json=as_json), _console.seconds(budget)
    if strategies and backbone is None:
        raise ProblemError("--strategy needs --backbone: what tuning takes depends on the model. Add one.")
    with listen(console.hear):
        problem, _ = read_problem(path, reader, task, options_of(label, inputs, split, block))
        plan, costs = verb(problem, planned), []
        if backbone:
            check_kind(problem, backbone)
            recipes = [strategy_named(name) for name in strategies or ["fine_tune"]]
            lens = locate(problem, backbone, store=store(), plan=plan).lens(store())
            costs = [cost(Recipe(strategy, lens), problem, plan=plan) for strategy in recipes]
    told = _console.table([[name.replace("_", " "), str(value)] for name, value in vars(plan).items()])
    console.answer({"plan": plan, "costs": costs} if costs else plan, [*told, *(lines(costs) if costs else [])])


def lines(costs: list[Cost]) -> list[str]:
    """What each recipe takes, a line each: one fit."""
    head = ["one fit of", "moving", "memory", "step's share", "cache", "time"]
    rows = [
        [
            one.recipe,
            f"{one.moving / 1e6:.2f}M of {one.parameters / 1e6:.1f}M",
            _console.size(one.memory),
            _console.size(one.activations),
            _console.size(one.disk),
            _console.span(one.seconds),
        ]
        for one in costs
    ]
    return ["", *_console.table([head, *rows]), "", "Memory without Python and its libraries, which take some 300 MB."]
