"""A training's state on disk, one file, so that a killed training goes on where it stood."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import _io
from headstart.errors import RunError

FORGOTTEN = 7 * 24 * 3600  # seconds after which nobody will come back for a checkpoint


@dataclass(frozen=True, eq=False)
class Kept:
    """A state: plain ``facts`` and ``arrays``."""

    facts: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """Where one training keeps its state. The file's name says which training it is: another one's is never read."""

    path: Path

    def read(self) -> Kept | None:
        """What was kept; None if there is nothing, or it is damaged: the training then starts anew."""
        if not self.path.is_file():
            return None
        try:
            arrays = _io.read_arrays(self.path)
            return Kept(json.loads(arrays.pop("facts").tobytes()), arrays)
        except (RunError, KeyError, ValueError):
            return None

    def write(self, state: Kept) -> None:
        """Keep ``state``, whole or not at all, in place of the one before."""
        facts = np.frombuffer(json.dumps(state.facts).encode(), dtype=np.uint8)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _io.write_arrays(self.path, {**state.arrays, "facts": facts})

    def clear(self) -> None:
        """The training is over; others that nobody came back for go too."""
        self.path.unlink(missing_ok=True)
        for other in self.path.parent.glob(f"*{self.path.suffix}") if self.path.parent.is_dir() else ():
            with suppress(OSError):  # another process may be quicker
                if time.time() - other.stat().st_mtime > FORGOTTEN:
                    other.unlink()
