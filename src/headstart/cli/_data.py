"""What commands that read data share: their options, how these become a problem, and where files may be written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart import _io
from headstart.errors import ProblemError, RunError, UnknownName

if TYPE_CHECKING:
    from headstart.features import FeatureStore, Lens
    from headstart.problem import Exam, Problem
    from headstart.readers import Options
    from headstart.strategy import Limits

Data = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="Folder of class folders, table (CSV, TSV, Parquet, JSONL), files of tagged words, or .npz."
    ),
]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="Folder that `headstart transfer` wrote.")]
Reader = Annotated[str, typer.Option(help="folder, table, conll or arrays; by default what the path looks like.")]
Task = Annotated[
    str,
    typer.Option(help="classification, multi_label, regression or token_labels; by default what the labels look like."),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Column with the labels (default: 'label' or 'target'); in files of tagged words its number, or a name such as upos."
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "--inputs", "--text", help="Column with texts, image paths or numbers; repeatable."),
]
Split = Annotated[str | None, typer.Option(help="Column that says train, valid or test (default: 'split').")]
Block = Annotated[str | None, typer.Option(help="Column of what must stay together: patient, speaker, day.")]
Slices = Annotated[list[str] | None, typer.Option("--slice", help="Column by which scores are also reported; repeatable.")]
Metric = Annotated[
    str | None, typer.Option(help="accuracy, balanced_accuracy, macro_f1, micro_f1, span_f1 or r2, as the task has it.")
]
Weights = Annotated[str | None, typer.Option(help="'balanced' weighs rare classes up in training.")]
Backbones = Annotated[list[str] | None, typer.Option("--backbone", help="Pre-trained model to consider; repeatable.")]
Strategies = Annotated[
    list[str] | None,
    typer.Option("--strategy", help="Way to transfer or do without; repeatable (scratch:full=true)."),
]
BudgetTime = Annotated[str, typer.Option("--budget", help="Time to plan for: 90s, 10m, 1h30m.")]
Parameters = Annotated[
    str | None, typer.Option("--max-params", metavar="N", help="Leave out models with more parameters: 5M, 0.5G.")
]
Memory = Annotated[
    str | None,
    typer.Option("--max-memory", metavar="BYTES", help="Leave out models whose weights and features need more: 500M, 2G."),
]
Seconds = Annotated[
    str | None, typer.Option("--max-seconds", metavar="TIME", help="Leave out models that take longer to read all: 60, 5m.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at an item that cannot be used, instead of leaving it out.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def options_of(
    label: str | None,
    inputs: list[str] | None,
    split: str | None,
    block: str | None,
    slices: list[str] | None = None,
) -> Options:
    """What the user said about where things stand."""
    from headstart.readers import Options

    return Options(inputs=tuple(inputs or ()), label=label, split=split, block=block, slices=tuple(slices or ()))


def read_problem(
    path: str,
    reader: str,
    task: str,
    options: Options,
    *,
    metric: str | None = None,
    class_weights: str | None = None,
    strict: bool = False,
) -> tuple[Problem, Exam | None]:
    """The problem in the data at ``path``, and its exam if it has a test part."""
    from headstart.stages.read import read

    return read(path, reader=reader, task=task, options=options, metric=metric, class_weights=class_weights, strict=strict)


def check_names(backbones: Sequence[str] | None, strategies: Sequence[str] | None) -> None:
    """A typo should not cost the reading of ten thousand photos."""
    from headstart import backbones as sources
    from headstart.strategy import strategy_named

    for name in strategies or ():
        strategy_named(name)
    for name in backbones or ():
        sources.find(name)


def check_numbers(margin: float, worth: str | None) -> None:
    """``ProblemError`` for a margin, or a name, that would do nothing or fail only at the end of the work."""
    if not 0 <= margin < float("inf"):
        raise ProblemError(f"The margin is {margin:g}; 0 or a positive number is needed, such as 0.02.")
    if worth not in (None, "base"):
        raise UnknownName.of("ingredient", str(worth), ("base",))


def limits_of(parameters: str | None, memory: str | None, seconds: str | None) -> Limits | None:
    """What a model may cost at most, as far as the user said."""
    from headstart.cli import _console
    from headstart.strategy import Limits

    if parameters is memory is seconds is None:
        return None
    return Limits(
        seconds=None if seconds is None else _console.seconds(seconds),
        memory=None if memory is None else _amount(memory, "size of memory", step=1024),
        parameters=None if parameters is None else _amount(parameters, "number of parameters", step=1000),
    )


def _amount(text: str, what: str, *, step: int) -> float:
    """The number that ``text`` means: 500, 20k, 5M, 2G, 2GB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    number = float(found[1]) * step ** " kmgt".index(found[2] or " ") if found else 0.0
    if not number:
        raise ProblemError(f"'{text}' is no {what}. Write 500M or 2G, for example.")
    return number


def check_kind(problem: Problem, backbone: str) -> None:
    """``ProblemError`` if ``backbone`` reads another kind of items."""
    from headstart.backbones import find

    reads = find(backbone).card.kind
    if reads != problem.kind:
        raise ProblemError(
            f"'{backbone}' reads {reads} items; the data holds {problem.kind}. Leave it out, or choose another backbone."
        )


def store() -> FeatureStore:
    """The feature store that every command shares."""
    from headstart.features import FeatureStore

    return FeatureStore(_io.cache_folder() / "features")


def new_file(name: str, force: bool, *, suffixes: tuple[str, ...] = ()) -> Path:
    """The path ``name``, if it may be written."""
    place = Path(name)
    if suffixes and place.suffix.lower() not in suffixes:
        raise ProblemError(f"'{name}' ends in '{place.suffix}'; {' or '.join(suffixes)} is needed. Rename it.")
    if place.exists() and not force:
        raise RunError(f"{place} exists and is not overwritten. Choose another name with --out, or say --force.")
    return place


def write_features(place: Path, problem: Problem, exam: Exam | None, lens: Lens) -> None:
    """The rows that ``lens`` reads, with targets, names and parts, as one .npz of plain arrays."""
    import io

    import numpy as np

    parts = {**problem.parts(), **({"test": exam.examples} if exam else {})}
    found = {name: lens.joined(part) for name, part in parts.items()}
    X = np.concatenate([one.rows for one in found.values()]).astype(np.float32)
    targets = np.concatenate([np.asarray(problem.task.encode(part.targets)) for part in parts.values()])
    if len(targets) != len(X):
        raise ProblemError(
            f"'{lens.reads[0][1]}' has {len(X)} rows for {len(targets)} targets; one a {problem.task.unit} is needed. "
            "Name another layer with --tap, or none."
        )
    names = np.concatenate(
        [np.repeat(np.asarray(parts[one].names, dtype=str), np.diff(found[one].offsets)) for one in parts]
    )
    split = np.repeat(list(parts), [len(one.rows) for one in found.values()])
    buffer = io.BytesIO()
    np.savez(buffer, X=X, y=targets, names=names, split=split, classes=np.asarray(problem.task.labels, dtype=str))
    _io.write_bytes(place, buffer.getvalue())
