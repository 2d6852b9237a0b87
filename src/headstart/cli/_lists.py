"""What ``headstart list`` shows: plug-ins of one kind, backbones, or runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import registry
from headstart.cli._console import size, table
from headstart.errors import HeadstartError, UnknownName

if TYPE_CHECKING:
    from headstart.run import Run

PLUG_INS = ("strategies", "rankers", "tasks", "readers", "inputs")
WHATS = ("strategies", "backbones", "rankers", "tasks", "readers", "inputs", "runs")


def rows(what: str, *, root: str = "runs") -> list[dict[str, Any]]:
    """One record for each ``what`` there is; ``root`` is the folder in which runs lie."""
    if what in PLUG_INS:
        return [_plug_in(what, name) for name in registry.names(what)]
    if what == "backbones":
        return _backbones()
    if what == "runs":
        return _runs(Path(root))
    raise UnknownName.of("list", what, WHATS)


def lines(what: str, found: list[dict[str, Any]]) -> list[str]:
    """The records of ``rows`` for the eye."""
    if not found:
        return [f"There are no {what} here."]
    if what == "backbones":
        return _cards(found)
    return table([[str(value) for value in one.values()] for one in found])


def _plug_in(what: str, name: str) -> dict[str, Any]:
    found = registry.get(what, name)
    module = sys.modules.get(found.__module__)
    first = ((module.__doc__ if module else None) or found.__doc__ or "").strip().split("\n")[0]
    needs = {"needs": ", ".join(sorted(found.needs)) or "nothing"} if what == "strategies" else {}
    return {"name": name, **needs, "about": first}


def _backbones() -> list[dict[str, Any]]:
    from headstart.backbones import known

    found = []
    for one in known():
        card = one.card
        facts = {"kind": card.kind, "parameters": card.parameters, "weights_bytes": card.weights_bytes}
        about = {"input_px": card.preprocessing.get("side"), "trained_on": card.trained_on, "licence": card.licence}
        found.append({"name": one.name, "installed": one.installed, "install": one.install, **facts, **about})
    return found


def _cards(found: list[dict[str, Any]]) -> list[str]:
    head = table(
        [
            [
                one["name"],
                f"{one['parameters'] / 1e6:.1f} M weights",
                size(one["weights_bytes"]),
                f"{one['input_px']} px" if one["input_px"] else one["kind"],
                "installed" if one["installed"] else f"bring it with: {one['install']}",
            ]
            for one in found
        ]
    )
    told = [
        [line, f"    trained on {one['trained_on']}", f"    licence: {one['licence']}"]
        for line, one in zip(head, found, strict=True)
    ]
    own = "Also: own:FOLDER (saved here), transformers:FOLDER, timm:ARCHITECTURE@FILE.safetensors"
    return [*(line for lines in told for line in lines), own]


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
