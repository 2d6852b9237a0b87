"""Where pre-trained models come from. A source lists what it has, and makes a backbone of a name.

A source is a module-level object with ``suitable(kind) -> tuple[Listing, ...]`` (what is known, installed or not) and
``load(name) -> Backbone``. A backbone's full name is ``source:name``; packaged ones may drop the prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from headstart import registry
from headstart.errors import UnknownName

if TYPE_CHECKING:
    from headstart.backbone import Backbone, Card

TABLE = {
    "packaged": "SOURCE",
    "own": "SOURCE",
    "transformers": "SOURCE",
    "timm": "SOURCE",
}


@dataclass(frozen=True)
class Listing:
    """One backbone that is known: its card, whether its weights are here, and the command that brings them."""

    name: str
    card: Card
    installed: bool
    install: str = ""


def known(kind: str | None = None) -> tuple[Listing, ...]:
    """Every listed backbone for ``kind`` of input (None: for any)."""
    return tuple(
        found for source in registry.names("backbones") for found in registry.get("backbones", source).suitable(kind)
    )


_given: dict[str, Backbone] = {}  # backbones that a caller made, by the name on their card


def find(name: str | Backbone) -> Backbone:
    """The backbone called ``name``: a packaged name, or ``source:name`` (``transformers:path/to/folder``).

    A backbone that a caller made is taken as it is, and found by its card's name from then on. ``name:untrained`` and
    ``name:slim`` are a backbone's relatives with random weights. Raises ``UnknownName`` with the nearest name, or
    ``MissingExtra`` with the command that brings its weights.
    """
    if not isinstance(name, str):
        for one in (name, name.untrained(), name.untrained(slim=True)):
            _given[one.card.name] = one
        return name
    return _given[name] if name in _given else _load(name)


@lru_cache(maxsize=32)
def _load(name: str) -> Backbone:
    packaged = registry.get("backbones", "packaged")
    names = [found.name for found in packaged.suitable(None)]
    source, _, rest = name.partition(":")
    if source in names:
        return packaged.load(name)  # it knows its relatives, which need no weights here
    if not rest or source not in registry.names("backbones"):
        raise UnknownName.of("backbone", name, names, "`headstart list backbones` shows all.")
    whole, _, relative = name.rpartition(":")
    if relative in ("slim", "untrained"):
        return find(whole).untrained(slim=relative == "slim")
    return registry.get("backbones", source).load(rest)
