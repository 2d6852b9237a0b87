"""What a person sees: lines, one progress line with the time left, errors. Answers go to stdout, all else to stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from headstart import _io
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart._events import Event

STOPPED = "Stopped. What was finished is kept; the same command continues."
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


class Console:
    """Where one command speaks. With ``as_json`` stdout gets exactly one JSON document."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._line = ""
        self._shown = 0.0
        self._begun: dict[str, float] = {}
        self._lock = Lock()  # trials run side by side and speak at once

    def hear(self, event: Event) -> None:
        """Show ``event``: a line, or how far the work is."""
        with self._lock:
            if event.kind == "progress":
                self._progress(event)
                return
            mark = {"warning": "warning: ", "data": "data: "}.get(event.kind, "")
            self._clear()
            print(f"{mark}{visible(event.message)}", file=sys.stderr, flush=True)

    def answer(self, document: Any, lines: Sequence[str]) -> None:
        """End with the answer: ``document`` as JSON if that was asked for, else ``lines``."""
        self._clear()
        if self.as_json:
            print(json.dumps(_io.plain(document), indent=1, ensure_ascii=True, allow_nan=False))
        else:
            print("\n".join(visible(line) for line in lines))

    def _progress(self, event: Event) -> None:
        if not sys.stderr.isatty():
            return
        done, total, now = event.data.get("done", 0), event.data.get("total", 0), time.monotonic()
        if done == 0:
            self._begun[event.message] = now
        begun = self._begun.setdefault(event.message, now)
        if done < total and now - self._shown < 0.1:
            return
        left = f", {span((now - begun) * (total - done) / done)} left" if 0 < done < total and now - begun > 1 else ""
        text = visible(f"{event.message}: {done} of {total}{left}")[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text.ljust(len(self._line))}", end="", file=sys.stderr, flush=True)
        self._line, self._shown = text, now
        if done >= total:
            self._clear()

    def _clear(self) -> None:
        if self._line:
            print(f"\r{' ' * len(self._line)}\r", end="", file=sys.stderr, flush=True)
            self._line = ""


def visible(text: str) -> str:
    """``text`` with everything that steers a terminal (or hides from the eye) written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the columns of ``rows`` in line; the last column runs free."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)] if shown else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def seconds(text: str) -> float:
    """The seconds that ``text`` means: 90, 90s, 10m, 1h30m."""
    try:
        number = float(text)
    except ValueError:
        parts = _SPAN.fullmatch(text.strip().lower())
        found = parts.groups() if parts and parts[0] else None
        number = sum(float(part or 0) * unit for part, unit in zip(found, (3600, 60, 1), strict=True)) if found else 0.0
    if not 0 < number < float("inf"):
        raise ProblemError(f"'{text}' is no length of time. Write 90 (seconds), 90s, 10m or 1h30m.")
    return number


def span(length: float) -> str:
    """A length of time for the eye: 42 s, 3 min, 1 h 20 min."""
    if length < 90:
        return f"{length:.0f} s"
    minutes = round(length / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes for the eye."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"


def fail(message: str) -> None:
    """Say what is wrong, on stderr."""
    start = "\r" if sys.stderr.isatty() else ""
    print(f"{start}error: {visible(message)}", file=sys.stderr, flush=True)


def set_up() -> None:
    """Names that the terminal's encoding lacks become escapes, and Ctrl-C stops at once.

    At once, because every write is whole or not there: waiting for a training that runs beside would gain nothing.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        _lenient(getattr(sys, name))
    if hasattr(signal, "SIGINT") and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def close() -> None:
    """Let nothing more be written to stdout: what is left in it has nowhere to go."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _lenient(stream: TextIO) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _stop(number: int, frame: object) -> None:
    try:
        os.write(2, f"\n{STOPPED}\n".encode())
    finally:
        os._exit(130)
