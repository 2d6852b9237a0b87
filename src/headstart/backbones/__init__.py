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


@lru_cache(maxsize=32)
def find(name: str) -> Backbone:
    """The backbone called ``name``: a packaged name, or ``source:name`` (``transformers:path/to/folder``).

    Raises ``UnknownName`` with the nearest name, or ``MissingExtra`` with the command that brings its weights.
    """
    source, colon, rest = name.partition(":")
    if colon and source in registry.names("backbones"):
        return registry.get("backbones", source).load(rest)
    names = [found.name for found in registry.get("backbones", "packaged").suitable(None)]
    if name not in names:
        raise UnknownName.of("backbone", name, names, "`headstart list backbones` shows all.")
    return registry.get("backbones", "packaged").load(name)
