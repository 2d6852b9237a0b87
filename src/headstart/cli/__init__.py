"""The command ``headstart``: one subcommand a verb, with the names and meanings of the functions.

Nothing heavy is imported here: each command imports what it needs. Answers go to stdout, everything else to stderr. Exit
codes: 0 answered, 2 your input, 3 something is missing on this machine, 1 a bug of ours, 130 stopped.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart import _io
from headstart._events import listen
from headstart.cli import _console, _estimate, _lists, _ranking
from headstart.cli._console import Console
from headstart.cli._data import (
    Backbones,
    Block,
    BudgetTime,
    Data,
    Debug,
    Force,
    Inputs,
    Json,
    Label,
    Memory,
    Metric,
    Parameters,
    Reader,
    RunFolder,
    Seconds,
    Slices,
    Split,
    Strategies,
    Strict,
    Task,
    Weights,
    check_kind,
    check_names,
    check_numbers,
    limits_of,
    new_file,
    options_of,
    read_problem,
    store,
    write_features,
)
from headstart.errors import HeadstartError, ProblemError

if TYPE_CHECKING:
    from headstart.features import Profile
    from headstart.problem import Problem
    from headstart.run import Run

app = typer.Typer(
    name="headstart",
    help="Is a pre-trained model worth it for your data, which one, how much of it, and how? Answered with evidence.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 answered, 2 your input, 3 missing or not usable here, 1 a bug of ours, 130 stopped.",
)


@app.command()
def transfer(
    path: Data,
    task: Task = "auto",
    reader: Reader = "auto",
    label: Label = None,
    inputs: Inputs = None,
    split: Split = None,
    block: Block = None,
    slices: Slices = None,
    metric: Metric = None,
    class_weights: Weights = None,
    backbones: Backbones = None,
    strategies: Strategies = None,
    worth: Annotated[str | None, typer.Option(help="Ingredient whose worth is asked: base.")] = None,
    budget: BudgetTime = "10m",
    max_params: Parameters = None,
    max_memory: Memory = None,
    max_seconds: Seconds = None,
    margin: Annotated[float, typer.Option(help="Smallest gain worth having, in units of the score.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Of every random draw.", min=0)] = 0,
    out: Annotated[str | None, typer.Option(help="Run folder (default: runs/ and the name of the data).")] = None,
    strict: Strict = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer it all: is pre-training worth it here?

    Selects a model and its layers, adapts with it and without, judges on held-out data; leaves a run folder with a report.
    """
    from headstart import workflow
    from headstart.run import free_folder

    console, planned = Console(as_json=as_json), _console.seconds(budget)
    check_numbers(margin, worth)
    limits = limits_of(max_params, max_memory, max_seconds)
    where = options_of(label, inputs, split, block, slices)
    folder = Path(out) if out else free_folder(Path(path).resolve().stem)
    with listen(console.hear):
        check_names(backbones, strategies)
        problem, exam = read_problem(path, reader, task, where, metric=metric, class_weights=class_weights, strict=strict)
        for name in backbones or ():
            check_kind(problem, name)
        run = workflow.transfer(
            problem,
            exam=exam,
            backbones=backbones or "suitable",
            strategies=strategies or "suitable",
            worth=worth,
            budget=planned,
            limits=limits,
            margin=margin,
            seed=seed,
            out=folder,
        )
        # New tables are read with the columns that this one was read with.
        run.note(inputs=list(problem.train.items.memo.get("columns", where.inputs)))
    console.answer(_outcome(run), _told(run, problem))


app.command()(_ranking.rank)
app.command()(_estimate.estimate)


@app.command()
def locate(
    path: Data,
    backbone: Annotated[list[str], typer.Option(help="Pre-trained model whose layers are scored: one.")],
    task: Task = "auto",
    reader: Reader = "auto",
    label: Label = None,
    inputs: Inputs = None,
    split: Split = None,
    block: Block = None,
    budget: BudgetTime = "10m",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score every layer of one pre-trained model.

    Also says which to read and, as far as the budget allows tuning, which stay frozen and how fast the others move.
    """
    from headstart.stages.estimate import estimate as planned_for
    from headstart.stages.locate import locate as verb

    console, planned = Console(as_json=as_json), _console.seconds(budget)
    if len(backbone) > 1:
        raise ProblemError(f"{len(backbone)} backbones are named; locate looks into one. `headstart rank` compares several.")
    with listen(console.hear):
        problem, _ = read_problem(path, reader, task, options_of(label, inputs, split, block))
        check_kind(problem, backbone[0])
        found = verb(problem, backbone[0], store=store(), plan=planned_for(problem, planned))
    console.answer(found, [*_console.table(_layers(found)), "", found.reason])


@app.command()
def extract(
    path: Data,
    backbone: Annotated[str, typer.Option(help="Pre-trained model that reads the data.")],
    tap: Annotated[str | None, typer.Option(help="Layer to read (default: the last before the outputs).")] = None,
    out: Annotated[str | None, typer.Option(help="Also write the rows to this .npz: X, y, names, split.")] = None,
    task: Task = "auto",
    reader: Reader = "auto",
    label: Label = None,
    inputs: Inputs = None,
    split: Split = None,
    block: Block = None,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute features once, and keep them.

    They go to the cache; with --out also to a file for other programs.
    """
    from headstart import backbones as sources
    from headstart.backbone import feature_taps, tap_named
    from headstart.features import Lens
    from headstart.stages.extract import extract as verb

    console = Console(as_json=as_json)
    place = new_file(out, force) if out else None
    with listen(console.hear):
        problem, exam = read_problem(path, reader, task, options_of(label, inputs, split, block))
        check_kind(problem, backbone)
        found = sources.find(backbone)
        lens = Lens(
            ((found, tap_named(found, tap).name if tap else feature_taps(found, problem.task.unit)[-1].name),), store=store()
        )
        done = verb(problem, lens)
        if place:
            write_features(place, problem, exam, lens)
    where = f", and written to {place}" if place else ""
    told = f"{done.items} items at '{lens.reads[0][1]}' of {backbone}: {done.computed} computed now; all are cached{where}."
    console.answer({**vars(done), "out": str(place) if place else None}, [told])


@app.command()
def predict(
    run: RunFolder,
    new_data: Annotated[str, typer.Argument(metavar="NEW_DATA", help="Folder, image, table, text or .npz without labels.")],
    out: Annotated[str, typer.Option(help="File to write, .csv or .jsonl; '-' writes CSV to stdout.")] = "-",
    proba: Annotated[bool, typer.Option("--proba/--no-proba", help="Also the probability of every class.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Leave cells as they are: no ' before = + - @ in CSV.")] = False,
    reader: Reader = "auto",
    inputs: Inputs = None,
    strict: Strict = False,
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer for new data with a run's predictor.

    One line an item: name, prediction, confidence. Where words have tags, one line a word; with .jsonl one a sentence.

    Text cells of a CSV that a spreadsheet would run as a formula (they begin with = + - @, tab or return) get a leading '.
    """
    from headstart.readers import Options
    from headstart.run import Run
    from headstart.stages.predict import predict as verb
    from headstart.stages.read import read_examples

    console = Console(as_json=as_json)
    place = None if out == "-" else new_file(out, force, suffixes=(".csv", ".jsonl"))
    with listen(console.hear):
        opened = Run.open(run)
        predictor, about = opened.predictor, _io.read_json(opened.folder / "run.json")
        columns = tuple(inputs or about.get("inputs") or ())
        options, task = Options(inputs=columns), predictor.task.name
        examples = read_examples(new_data, reader=reader, options=options, strict=strict, task=task)
        learned = about.get("problem", {}).get("kind", examples.kind)
        if examples.kind != learned:
            raise ProblemError(
                f"{new_data} holds {_plural(examples.kind)}; the run {run} learned from {_plural(learned)}. Give such items."
            )
        answers = verb(predictor, examples)
    if place:
        _io.write_text(place, answers.jsonl(proba=proba) if place.suffix == ".jsonl" else answers.csv(proba=proba, raw=raw))
        console.answer({"out": str(place), "items": len(answers)}, [f"Wrote {len(answers)} answers to {place}."])
    elif as_json:
        console.answer({"run": run, "answers": list(answers.records(proba=proba))}, [])
    elif sys.stdout.isatty():
        console.answer(None, answers.csv(proba=proba, raw=raw).splitlines())
    else:
        sys.stdout.write(answers.csv(proba=proba, raw=raw))


@app.command()
def report(run: RunFolder, as_json: Json = False, debug: Debug = False) -> None:
    """Write the report of a run again."""
    from headstart import report as door
    from headstart.run import Run

    written = door.write(Run.open(run).folder)
    Console(as_json=as_json).answer({"report": str(written)}, [f"Report: {written}"])


@app.command()
def export(
    run: RunFolder,
    out: Annotated[
        str | None,
        typer.Option(help="File to write (default: model.onnx, or the folder adapter, in the run's predictor folder)."),
    ] = None,
    format: Annotated[str, typer.Option(help="onnx, or peft for what lora learned.")] = "onnx",
    force: Force = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the predictor as one ONNX file, or as an adapter.

    Normalisation, network, head and calibration are inside the file.
    """
    from headstart.run import Run
    from headstart.stages.export import export as verb

    opened = Run.open(run)
    inside = opened.folder / "predictor" / ("adapter" if format == "peft" else "model.onnx")
    place = Path(out or inside) if format == "peft" else new_file(out or str(inside), force, suffixes=(".onnx",))
    if format == "peft" and place.exists() and not force:
        raise ProblemError(f"{place} is there already. Name another folder with --out, or overwrite it with --force.")
    done = verb(opened.predictor, place, format=format)
    told = [
        f"Wrote {done.path} ({_console.size(done.size)}).",
        f"{'Its classes' if format == 'peft' else 'How to size a photo for it'}: {done.about}",
    ]
    Console(as_json=as_json).answer({**vars(done), "path": str(done.path), "about": str(done.about)}, told)


app.command("list")(_lists.list_)
app.command()(_lists.add)
app.command()(_lists.remove)


@app.command()
def doctor(
    verify: Annotated[bool, typer.Option("--verify", help="Also check the hash of every weight file.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is here and what is missing.

    Exit code 3 if something needed is missing.
    """
    from headstart.cli import _machine

    found = _machine.examine(verify=verify)
    Console(as_json=as_json).answer(found, _machine.lines(found))
    if found["missing"]:
        raise typer.Exit(3)


app.command()(_lists.fetch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. No traceback without ``--debug``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _console.set_up()
    try:
        code = app(words, prog_name="headstart", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
    except typer.TyperException as error:  # what typer says about unknown commands, options and values
        told = error.format_message()
        if words and "Usage:" not in told:
            known = [one.name or getattr(one.callback, "__name__", None) for one in app.registered_commands]
            command = f"headstart {words[0]}" if words[0] in known else "headstart"
            _console.fail(f"{told if told.endswith(('.', '?')) else f'{told}.'} `{command} --help` shows what there is.")
        else:
            print(told, file=sys.stderr)
        code = error.exit_code
    except HeadstartError as error:
        _raise_if(error, words)
        _console.fail(str(error))
        code = error.exit_code
    except BrokenPipeError:  # whoever read the answers has seen enough
        _console.close()
        code = 1
    except OSError as error:
        _raise_if(error, words)
        _console.fail(f"Cannot read or write: {error}. A place that can be written, on a disk with room, is needed.")
        _console.close()
        code = 3
    except Exception as error:
        _raise_if(error, words)
        _console.fail(
            f"This is a bug in Headstart: {type(error).__name__}: {error}; run again with --debug and report what it shows."
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _layers(found: Profile) -> list[list[str]]:
    """A row a layer: its score, and what to do with it."""
    shares = {move.stage: _moves(move.share) for move in found.plan}
    rows = [["layer", "depth", "width", "score", "± error", "loss", *(["tuning"] if shares else []), ""]]
    for one in found.scores:
        marks = [word for word, marked in (("read", one.tap == found.read), ("cut", one.place == found.cut)) if marked]
        numbers = [f"{one.depth:.2f}", str(one.width), f"{one.score:.3f}", _or_none(one.score_error), f"{one.log_loss:.3f}"]
        rows.append([one.tap, *numbers, *([shares.get(one.place, "-")] if shares else []), ", ".join(marks)])
    return rows


def _or_none(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _moves(share: float | None) -> str:
    return "moves" if share is None else f"{share:.2f}" if share else "frozen"


def _plural(kind: str) -> str:
    return {"numbers": "rows of numbers", "image": "images", "text": "texts"}.get(kind, f"{kind} items")


def _raise_if(error: Exception, words: Sequence[str]) -> None:
    if "--debug" in words:
        raise error


def _outcome(run: Run) -> dict[str, Any]:
    predictor, report = run.folder / "predictor", run.folder / "report.html"
    shipped = str(predictor) if (predictor / "predictor.json").exists() else None
    return {"run": str(run.folder), "verdict": run.verdict, "predictor": shipped, "report": str(report)}


def _told(run: Run, problem: Problem) -> list[str]:
    """The end of a transfer, for the eye."""
    outcome, verdict = _outcome(run), run.verdict
    told = [verdict.sentence]
    for line in re.split(r"(?<=[.]) ", f"{verdict.reason} {verdict.advice}".strip()):
        if line.rstrip(".").lower() not in " ".join(told).lower():  # the sentence says some of it already
            told.append(line)
    told += [further.sentence for further in verdict.further] + [""]
    if outcome["predictor"]:
        new = {"image": "new_photos/", "numbers": "new_rows.csv", "text": "new_texts.csv"}.get(problem.kind, "new_data")
        new = "new_sentences.txt" if problem.task.unit == "word" else new
        told += [f"Ships:   {verdict.ships}", f"Predict: headstart predict {shlex.quote(outcome['run'])} {new}"]
    return [*told, f"Report:  {outcome['report']}"]
