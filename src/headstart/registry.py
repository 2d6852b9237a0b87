"""Plug-ins by name.

Each plug-in folder has a ``TABLE`` in its ``__init__``: registered name → what stands in the file of that name.
Nothing is imported until it is asked for. Other packages add theirs through an entry point in the group
``headstart.<folder>``, for example ``headstart.strategies``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from headstart.errors import UnknownName

FOLDERS = {
    "inputs": "kind of input",
    "tasks": "task",
    "readers": "reader",
    "backbones": "backbone source",
    "rankers": "ranker",
    "strategies": "strategy",
    "tuning": "part of fine-tuning",
    "engines": "engine",
}


def names(folder: str) -> tuple[str, ...]:
    """Every registered name of ``folder``, built-in ones first, in the order of its table."""
    built_in = tuple(import_module(f"headstart.{folder}").TABLE)
    return built_in + tuple(sorted(set(_outside(folder)) - set(built_in)))


def get(folder: str, name: str) -> Any:
    """The plug-in ``name`` of ``folder``.

    Raises ``UnknownName``, with the nearest name, if there is none.
    """
    table = import_module(f"headstart.{folder}").TABLE
    if name in table:
        return getattr(import_module(f"headstart.{folder}.{name}"), table[name])
    outside = _outside(folder)
    if name in outside:
        return outside[name].load()
    raise UnknownName.of(FOLDERS[folder], name, names(folder), f"`headstart list {folder}` shows all.")


def _outside(folder: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=f"headstart.{folder}")}
