"""The one door to the disk: atomic writes, JSON, arrays, fingerprints.

Every durable write goes to a temporary name in the same folder, is flushed to the disk and renamed into place. A kill at
any moment leaves the old file or the new one, never half of one. Formats: JSON, npy, safetensors. No pickle.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import RunError

if TYPE_CHECKING:
    import numpy as np


def write_bytes(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, whole or not at all."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}. "
            "A folder that can be written, on a disk with room, is needed. Choose another: with --out, or HEADSTART_CACHE for "
            "the cache."
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` as UTF-8. Lone surrogates (odd file names) become ``\\udcxx`` escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Put the plain form of ``value`` at ``path``."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Add ``line`` to the log at ``path``. In one write, so that lines of several processes do not mix; a kill may cut it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # A line that a kill cut short has no end: the next one begins on a row of its own.
            os.write(handle, f"\n{line}\n".encode("utf-8", "backslashreplace"))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}. A folder that can be written, on a disk with room, is needed."
        ) from error


def read_json(path: Path) -> Any:
    """What ``write_json`` put there. ``RunError`` if the file is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}. Is it a folder that Headstart wrote?") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Delete it and run again: finished work is kept.") from error


def write_array(path: Path, array: np.ndarray) -> None:
    """Put one array at ``path`` in npy format."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getbuffer())  # type: ignore[arg-type]


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array at ``path``; ``mapped`` leaves it on disk until it is looked at."""
    import numpy as np

    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"Cannot read the array {path}: {error}. Delete it and run again.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Put named arrays at ``path`` in safetensors format."""
    import numpy as np
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What ``write_arrays`` put there."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(f"Cannot read the weights {path}: {why}. Fit again, or copy the whole run folder.") from error


def digest(content: bytes | memoryview) -> str:
    """128 bits of xxh3 as 32 hex digits: the identity of some bytes."""
    import xxhash

    return xxhash.xxh3_128_hexdigest(content)


def fingerprint(value: Any) -> str:
    """The identity of a record, array, or nest of them: equal content, equal fingerprint, in any process."""
    text = json.dumps(plain(value, arrays_as_digests=True), sort_keys=True, allow_nan=False)
    return digest(text.encode("utf-8", "surrogatepass"))


def plain(value: Any, *, arrays_as_digests: bool = False) -> Any:
    """``value`` in the words of JSON.

    A record with ``spec()`` gives that, any other dataclass its public fields, an array a list (or its digest), a NaN or
    an infinity ``None``.
    """
    again = lambda inner: plain(inner, arrays_as_digests=arrays_as_digests)  # noqa: E731
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if callable(getattr(value, "spec", None)):
        return again(value.spec())
    if is_dataclass(value) and not isinstance(value, type):
        public = {f.name: again(getattr(value, f.name)) for f in fields(value) if not f.name.startswith("_")}
        return {"type": type(value).__name__, **public} if arrays_as_digests else public
    if isinstance(value, Mapping):
        return {str(key): again(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(again(inner) for inner in value)
    if isinstance(value, (list, tuple)):
        return [again(inner) for inner in value]
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        if arrays_as_digests and value.ndim:
            return again(_array_identity(value))
        return again(value.tolist())
    return str(value)


def cache_folder() -> Path:
    """Where features, exported graphs and fetched weights are kept: ``HEADSTART_CACHE``, else the user's cache."""
    chosen = os.environ.get("HEADSTART_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "headstart"
    except RuntimeError:  # no home at all
        return Path(tempfile.gettempdir()) / "headstart-cache"


def _array_identity(array: Any) -> list[Any]:
    if array.dtype == object:
        return [str(array.shape), [plain(item, arrays_as_digests=True) for item in array.ravel().tolist()]]
    import numpy as np

    return [str(array.dtype), list(array.shape), digest(np.ascontiguousarray(array).data)]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
