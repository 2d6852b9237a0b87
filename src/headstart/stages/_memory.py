"""How much memory is free for us."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can be taken: what is free on the machine, at most the container's limit. None if the system does not say."""
    found = []
    with suppress(OSError, AttributeError):
        told = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if told:
            found.append(1024 * int(told[1]))
    with suppress(OSError, ValueError, AttributeError):  # not Linux: half of what the machine has
        if not found:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    with suppress(OSError, ValueError):  # no container, or one without a limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)
