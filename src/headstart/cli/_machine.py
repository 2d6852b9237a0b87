"""What ``headstart doctor`` looks at: libraries, cores, memory, cache, weights. Nothing heavy is imported to look."""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from headstart import _io
from headstart.cli._console import size, table

NEEDED = ("numpy", "scipy", "scikit-learn", "torch", "onnx", "onnxruntime", "pillow", "pyarrow", "safetensors", "xxhash")
EXTRAS = {"text": ("transformers", "tokenizers"), "transformers": ("transformers",), "timm": ("timm",), "ray": ("ray",)}


def examine(*, verify: bool = False) -> dict[str, Any]:
    """Facts about this machine; ``verify`` also reads every weight file and checks its hash."""
    libraries = {name: _version(name) for name in NEEDED}
    extras = {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()}
    missing = [name for name, found in libraries.items() if found is None]
    cache = _cache()
    weights = _weights(verify)
    broken = [one["name"] for one in weights if one["state"] not in ("installed", "installed, hash right", "missing")]
    return {
        "headstart": _version("headstart"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "memory_bytes": _memory(),
        "libraries": libraries,
        "extras": extras,
        "cache": cache,
        "backbones": weights,
        "missing": [*missing, *broken, *([] if cache["writable"] else ["a cache folder that can be written"])],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """``examine``'s facts for the eye."""
    memory = size(found["memory_bytes"]) if found["memory_bytes"] else "unknown"
    cache = found["cache"]
    held = size(cache["bytes"]) + ("" if cache["writable"] else ", not writable: set HEADSTART_CACHE")
    rows = [
        ("headstart", found["headstart"] or "not installed as a package"),
        ("python", f"{found['python']}, {found['system']}"),
        ("machine", f"{found['cores']} cores, {memory} of memory"),
        ("cache", f"{cache['folder']} ({held})"),
        *((name, known or f"MISSING: pip install {name}") for name, known in found["libraries"].items()),
    ]
    for extra, names in found["extras"].items():
        here = ", ".join(f"{name} {known}" for name, known in names.items() if known)
        whole = all(names.values())
        rows.append((f"[{extra}]", here if whole else f"not installed: pip install 'headstart[{extra}]'"))
    rows += [(one["name"], f"{one['state']}{': ' + one['install'] if one['install'] else ''}") for one in found["backbones"]]
    verdict = f"Missing: {', '.join(found['missing'])}." if found["missing"] else "All that is needed is here."
    return [*table(rows), "", verdict]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes that this process may use: the machine's, or the container's limit."""
    found = []
    with suppress(AttributeError, OSError, ValueError):  # not every system tells
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no container, or one without a limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def _cache() -> dict[str, Any]:
    folder = _io.cache_folder()
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    return {"folder": str(folder), "bytes": held, "writable": _takes_files(there)}


def _takes_files(folder: Path) -> bool:
    """Tried, not asked: permissions say nothing about a read-only or a full disk."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError:
        return False
    return True


def _weights(verify: bool) -> list[dict[str, str]]:
    from headstart.backbones import known

    found = []
    for one in known():
        state = ("installed" if not verify else _checked(one.name)) if one.installed else "missing"
        found.append({"name": one.name, "state": state, "install": "" if one.installed else one.install})
    return found


def _checked(name: str) -> str:
    """Whether the weight file is the pinned one: reading it checks its hash."""
    from headstart.backbones import find
    from headstart.errors import HeadstartError

    try:
        find(name).network()
    except HeadstartError as error:
        return str(error)
    return "installed, hash right"
