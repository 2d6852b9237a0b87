"""The user's own list: backbones that ``headstart add`` put beside those that Headstart knows.

One JSON file in the user's configuration folder. It holds names and what their cards said when they were added; weights stay
where they are.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from headstart import _io
from headstart._events import emit
from headstart.backbone import Card
from headstart.errors import RunError, UnknownName

FORMAT = 1
_HUB = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True)
class Entry:
    """One added backbone: its full name, the file or folder it lies in ("": none that is known), and its card."""

    name: str
    place: str
    card: Card

    @property
    def absent(self) -> str:
        """What brings it here; "" if it is here. The network is not asked."""
        if self.place:
            return "" if Path(self.place).exists() else f"{self.place} is gone: put it back, or headstart remove {self.name}"
        source, _, rest = self.name.partition(":")
        if source != "transformers":
            return ""  # another package's source: only opening it would tell
        from headstart.backbones.transformers import in_cache

        return "" if self.card.kind and in_cache(rest) else f"HEADSTART_ALLOW_HUB=1 headstart add {self.name}"


def file() -> Path:
    """Where the list is kept: ``headstart/backbones.json`` in ``XDG_CONFIG_HOME``, else in ``~/.config``."""
    root = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(root) if root else Path.home() / ".config") / "headstart" / "backbones.json"
    except RuntimeError:  # no home at all: beside the cache
        return _io.cache_folder() / "backbones.json"


def entries() -> tuple[Entry, ...]:
    """Everything on the list. ``RunError`` if the file is damaged or of a newer format."""
    place = file()
    if not place.exists():
        return ()
    try:
        record = _io.read_json(place)
        if record["format"] > FORMAT:
            raise RunError(f"{place} has format {record['format']}; this version reads up to {FORMAT}. Update headstart.")
        return tuple(
            Entry(str(one["name"]), str(one["place"]), Card(**{**one["card"], "items": frozenset()}))
            for one in record["backbones"]
        )
    except (RunError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RunError) and "format" in str(error):
            raise
        raise RunError(
            f"{place}, the list of backbones that you added, is damaged. Repair it, or delete it and add them again."
        ) from error


def readable() -> tuple[Entry, ...]:
    """The same for those who only look: a list that cannot be read is told, and stops nobody."""
    try:
        return entries()
    except RunError as error:
        emit("warning", f"The backbones that you added take no part. {error}")
        return ()


def put(name: str, card: Card) -> Entry:
    """List ``name``, in place of an entry of the same name; its entry."""
    place = _place(name)
    entry = Entry(name, str(place or ""), replace(card, name=name, items=frozenset()))
    _write((*(one for one in entries() if one.name != name), entry))
    return entry


def drop(name: str) -> Entry:
    """Take ``name`` off the list; its entry. ``UnknownName`` if it is not on it. Its weights stay where they are."""
    listed = entries()
    for one in listed:
        if one.name in (name, lasting(name)):
            _write(tuple(other for other in listed if other is not one))
            return one
    raise UnknownName.of("added backbone", name, [one.name for one in listed], "Only what was added can be removed.")


def lasting(name: str) -> str:
    """``name`` with its path made absolute, so that it is found from every folder."""
    place = _place(name)
    if place is None:
        return name
    source, _, rest = name.partition(":")
    before = "" if Path(rest).expanduser().exists() else f"{rest.rpartition('@')[0]}@"
    return f"{source}:{before}{place}"


def is_hub_name(rest: str) -> bool:
    """Whether ``rest`` could be a name on the hub: ``owner/model`` or ``model``, and no path."""
    return _HUB.fullmatch(rest) is not None


def _place(name: str) -> Path | None:
    """The file or folder that ``source:path`` or ``source:what@path`` speaks of, if there is one."""
    rest = name.partition(":")[2]
    paths = (Path(part).expanduser() for part in (rest, rest.rpartition("@")[2]))
    return next((path.resolve() for path in paths if path.exists()), None)


def _write(listed: tuple[Entry, ...]) -> None:
    _io.write_json(file(), {"format": FORMAT, "backbones": [asdict(one) for one in listed]})
