"""Which reader a path is for."""

from __future__ import annotations

from pathlib import Path

from headstart import registry
from headstart.errors import ProblemError
from headstart.readers import IMAGE_SUFFIXES, TEXT_SUFFIXES, Found, Options, conll, table

SUFFIXES = {
    **dict.fromkeys(table.SUFFIXES, "table"),
    **dict.fromkeys(conll.SUFFIXES, "conll"),
    ".npz": "arrays",
    **dict.fromkeys((*TEXT_SUFFIXES, *IMAGE_SUFFIXES), "folder"),
}


def find(source: str | Path | Found, reader: str, options: Options, task: str) -> Found:
    """What the reader finds in ``source``; with the reader "auto", the one that fits what is there."""
    if isinstance(source, Found):
        return source
    if not str(source).strip():  # an unset variable in a script; as a path it would be the current folder
        raise ProblemError("The path is empty. Give the path of a folder or table ('.' for the current folder).")
    path = Path(source)
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise ProblemError(
            f"The path {str(path)[:80]!r} cannot be used: {error}. Give the path of a folder or table."
        ) from error
    if not there:
        raise ProblemError(
            f"There is no '{path}'. A folder of images or texts, a table, a file of tagged words or an .npz file is needed. "
            "Check the path."
        )
    reader = _reader(path, words=task == "token_labels") if reader == "auto" else reader
    if not reader:
        raise ProblemError(
            f"No reader is known for '{path.name}'. Known: a folder, {', '.join(sorted(SUFFIXES))}. "
            "Rename the file, or name the reader (--reader)."
        )
    return registry.get("readers", reader)(path, options)


def _reader(path: Path, *, words: bool) -> str:
    """The reader for what ``path`` looks like; ``words``: each word has a tag, or will get one."""
    suffix = path.suffix.lower()
    if not path.is_dir():
        known = SUFFIXES.get(suffix, "")
        if suffix in (*TEXT_SUFFIXES, ".tsv") or not known:
            alone = words and suffix in ("", *TEXT_SUFFIXES)
            return "conll" if alone or conll.looks_tagged(path) else known
        return known
    try:
        if conll.looks_tagged(path):
            return "conll"
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        flat = not any(entry.is_dir() or entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in inside)
        if flat and table.part_files(path):
            return "table"
    except OSError as error:
        raise ProblemError(f"The folder {path} cannot be read: {error.strerror}. Check its permissions.") from error
    return "conll" if words else "folder"
