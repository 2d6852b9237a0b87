"""How much memory is free for us."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be taken: what is free on the machine, at most what the container has left. None if nobody says."""
    found = []
    with suppress(OSError, AttributeError):
        told = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if told:
            found.append(1024 * int(told[1]))
    with suppress(OSError, ValueError, AttributeError):  # not Linux: half of what the machine has
        if not found:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    with suppress(OSError, ValueError):  # no container, or one without a limit
        found.append(_left(CONTAINER))
    return min(found, default=None)


def _left(container: Path) -> int:
    """Bytes up to the container's limit. Copies of files in memory count as its use, but make room when it is needed."""
    limit, used = (int((container / name).read_text()) for name in ("memory.max", "memory.current"))
    files = re.findall(r"^(?:in)?active_file (\d+)", (container / "memory.stat").read_text(), re.MULTILINE)
    return max(0, limit - used + sum(map(int, files)))
