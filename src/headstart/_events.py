"""What happened on the way, told once to one listener.

The library prints nothing. Whatever a person should know (a skipped file, a changed batch size, a repaired label,
a finished stage) is *emitted*; whoever called ``listen`` hears it. Events go one way: a listener cannot steer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    ``kind`` is ``"data"`` (something was done to the user's data: the report lists these), ``"stage"``,
    ``"progress"`` (with ``done``, ``total``) or ``"warning"``.
    """

    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


Listener = Callable[[Event], None]
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def listen(listener: Listener | None) -> Iterator[None]:
    """Within the block, ``listener`` hears every event, as do those of the blocks around it."""
    token = _listeners.set(_listeners.get() + ((listener,) if listener is not None else ()))
    try:
        yield
    finally:
        _listeners.reset(token)


def emit(kind: str, message: str, **data: Any) -> None:
    """Tell whoever listens."""
    heard = _listeners.get()
    if heard:
        event = Event(kind, message, data)
        for listener in heard:
            listener(event)
