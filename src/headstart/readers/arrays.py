"""Arrays and lists in memory, and .npz files of arrays."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import ProblemError, UnknownName
from headstart.readers import IMAGE_SUFFIXES, PARTS, TEXT_SUFFIXES, Found, Options
from headstart.readers._files import document


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """The arrays in the .npz file at ``path``: ``X``, and when there, ``y``, ``split``, ``block``, ``names``.

    ``options`` may give other names to them, and names the arrays that are slices. Object arrays are refused: they
    would need pickle.
    """
    arrays = _load(Path(path))
    chosen = {"X": (options.inputs or ("X",))[0], "y": options.label, "split": options.split, "block": options.block}
    for name in (*(name for name in chosen.values() if name), *options.slices):
        if name not in arrays:
            raise UnknownName.of(f"array of {Path(path).name}", name, arrays)
    pick = lambda role: arrays.get(chosen.get(role) or role)  # noqa: E731
    split = pick("split")
    return from_arrays(
        arrays[chosen["X"] or "X"],
        pick("y"),
        blocks=pick("block"),
        slices={name: arrays[name] for name in options.slices},
        names=None if pick("names") is None else [str(name) for name in arrays["names"].tolist()],
        parts=None if split is None else [str(part) for part in split.tolist()],
    )


def from_arrays(
    X: Any,
    y: Any = None,
    *,
    blocks: Sequence[Any] | np.ndarray | None = None,
    slices: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    kind: str | None = None,
    names: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
) -> Found:
    """What stands in ``X`` and ``y``.

    ``X`` is (n, d) numbers; (n, H, W) or (n, H, W, 3 or 4) uint8 images; a list of image paths, file contents or uint8
    arrays; a list of texts (strings that mostly neither end like image files nor name a file); or a list of sentences, each
    a list of words. ``y`` has one label an item (text, number, or a tuple for several labels, or for the tags of words); a
    0/1 table (n, C) becomes tuples of column numbers. ``parts`` holds train, valid or test an item. ``kind`` overrides what
    the shape says.
    """
    inputs, guessed = _inputs(X)
    count = len(inputs)
    if not count:
        raise ProblemError("X holds no items. At least one is needed.")
    given = {"y": y, "blocks": blocks, "names": names, "parts": parts, **(slices or {})}
    for name, values in given.items():
        if values is not None and len(values) != count:
            raise ProblemError(f"'{name}' has {len(values)} entries for {count} items in X; one for each is needed.")
    return Found(
        kind=kind or guessed,
        inputs=inputs,
        names=tuple(names) if names is not None else _names(inputs, kind or guessed),
        targets=None if y is None else _labels(y, tags=(kind or guessed) == "text" and isinstance(inputs[0], tuple)),
        parts=("",) * count if parts is None else tuple(_part(part) for part in parts),
        blocks=None if blocks is None else _words(blocks),
        slices={name: _words(values) for name, values in (slices or {}).items()},
        columns=tuple(str(name) for name in getattr(X, "columns", ())),
    )


def _inputs(X: Any) -> tuple[Sequence[Any], str]:
    if isinstance(X, (list, tuple)) and X and isinstance(X[0], (str, Path, bytes)):
        return _strings(list(X))
    if isinstance(X, (list, tuple)) and X and isinstance(X[0], np.ndarray) and X[0].ndim > 1:
        return list(X), "image"
    if _sentences(X):
        return [tuple(map(str, words)) for words in X], "text"
    try:
        table = np.asarray(X)
    except ValueError as error:
        raise ProblemError(f"X is no array: {error}. Rows of equal length, or a list of images, are needed.") from error
    if table.ndim == 1 and table.dtype.kind in "OU" and len(table) and isinstance(table[0], (str, Path, bytes)):
        return _strings([path if isinstance(path, (Path, bytes)) else str(path) for path in table])
    if table.ndim in (3, 4):
        if table.dtype != np.uint8:
            raise ProblemError(f"X holds images of type {table.dtype}; uint8 in 0..255 is needed. Scale and convert them.")
        return list(table), "image"
    if table.ndim != 2:
        raise ProblemError(f"X has the shape {table.shape}; (n, d) numbers or (n, H, W[, 3]) images are needed.")
    try:
        return list(table.astype(np.float64)), "numbers"
    except (TypeError, ValueError) as error:
        raise ProblemError(f"X holds values that are no numbers ({str(error)[:80]}). Encode or remove them.") from error


def _strings(values: list[Any]) -> tuple[list[Any], str]:
    """Texts, or paths and contents of images."""
    if all(isinstance(value, Path) and value.name.lower().endswith(TEXT_SUFFIXES) for value in values):
        return [_read_text(path) for path in values], "text"
    strings = [value for value in values[:100] if isinstance(value, str)]
    paths = sum(value.strip().lower().endswith(IMAGE_SUFFIXES) or os.path.isfile(value) for value in strings)
    return values, "text" if paths < len(strings) / 2 else "image"


def _read_text(path: Path) -> str:
    try:
        return document(path)
    except ProblemError as error:
        raise ProblemError(f"{path} {error}. Repair it, or leave it out.") from error


def _sentences(X: Any) -> bool:
    """Whether X is a list, or an array of objects, of lists of words."""
    if not isinstance(X, (list, tuple)) and not (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        return False
    words = [isinstance(one, (list, tuple)) or (isinstance(one, np.ndarray) and one.ndim == 1) for one in X]
    return len(X) > 0 and all(words) and all(isinstance(word, str) for one in X for word in one) and any(map(len, X))


def _names(inputs: Sequence[Any], kind: str) -> tuple[str, ...]:
    paths = (str, Path) if kind == "image" else Path
    return tuple(str(raw) if isinstance(raw, paths) else f"item {i + 1}" for i, raw in enumerate(inputs))


def _labels(y: Any, *, tags: bool = False) -> np.ndarray:
    """``tags``: each label is a list with one tag a word."""
    values = list(y) if isinstance(y, (list, tuple)) else list(np.asarray(y))
    if tags:
        values = [one.tolist() if isinstance(one, np.ndarray) and one.ndim else one for one in values]
    if values and isinstance(values[0], np.ndarray):
        table = np.asarray(y)
        if not np.isin(table, (0, 1)).all():
            raise ProblemError(f"y has the shape {table.shape}; one label an item, or a table of 0 and 1, is needed.")
        values = [tuple(str(column) for column in np.flatnonzero(row)) for row in table]
    out = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        out[row] = value.item() if isinstance(value, np.generic) else tuple(value) if isinstance(value, list) else value
    return out


def _words(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = [str(value) for value in values]
    return out


def _part(name: str) -> str:
    if name == "" or name.strip().lower() in PARTS:
        return PARTS.get(name.strip().lower(), "")
    raise ProblemError(f"'{name[:40]}' is no part. One of {', '.join(PARTS)} is needed.")


def _reason(error: Exception) -> str:
    """Why numpy could not read it. Its own advice is to allow pickle, which would run what stands in the file."""
    return "it holds Python objects, or is another kind of file" if "pickle" in str(error) else str(error)[:120].rstrip(".")


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files} if hasattr(found, "files") else {"X": np.asarray(found)}
    except OSError as error:
        raise ProblemError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ProblemError(f"{path} is no .npz file of plain arrays: {_reason(error)}. Save it with numpy.savez.") from error
    if "X" not in arrays and len(arrays) == 1:
        arrays = {"X": next(iter(arrays.values()))}
    return arrays
