"""Folders of images or of texts: one folder a class, perhaps inside train, validation and test folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError
from headstart.readers import ABOUT, IMAGE_SUFFIXES, PARTS, TEXT_SUFFIXES, Found, Options
from headstart.readers._files import document

# The first bytes of the formats that are read, for files whose name does not tell.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")


@dataclass(frozen=True)
class _File:
    """A file with its kind of item, its class folder's name and its part."""

    path: Path
    kind: str
    label: str | None
    part: str


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """Every image, or every text file, under ``path``, labelled by its class folder. Of both, what there is more of.

    Three layouts are understood: ``class/image``; ``train/class/image`` with optional ``valid`` and ``test`` beside
    it (``PARTS`` has the spellings; case does not matter); and images alone, which have no labels. A path to one image, or
    one text, gives that. Folders inside a class folder belong to the class. Hidden files and links that leave ``path`` are
    not read. Names are paths relative to ``path``.
    """
    root = Path(path)
    if root.is_file():
        kind = "text" if root.name.lower().endswith(TEXT_SUFFIXES) else "image"
        return _found(root.parent, [_File(root, kind, None, "")], kind)
    if not root.is_dir():
        raise ProblemError(f"There is no folder {root}. A folder of images or of texts is needed. Check the path.")
    walk = _Walk(root)
    files = list(_files(walk, root))
    counts = Counter(file.kind for file in files)
    if not files:
        walk.report("images")
        raise ProblemError(
            f"The folder {root} holds no images and no texts. Image files ({', '.join(IMAGE_SUFFIXES)}) or text files "
            f"({', '.join(TEXT_SUFFIXES)}) in one folder a class are needed."
        )
    kind = "text" if counts["text"] > counts["image"] else "image"
    walk.other += [walk.name(file.path) for file in files if file.kind != kind]
    walk.report(f"{kind}s")
    kept = [file for file in files if file.kind == kind]
    direct = {file.path.parent for file in kept}
    full = direct | {above for folder in direct for above in folder.parents}
    for empty in (folder for folder in walk.classes if folder not in full):
        emit("data", f"The class folder {empty.name!r} holds no {kind}s; it is passed over.", folder=empty.name)
    return _found(root, kept, kind)


def _found(root: Path, files: Sequence[_File], kind: str) -> Found:
    inputs: list[Any] = []
    kept: list[_File] = []
    skipped: list[tuple[str, str]] = []
    for file in files:
        try:
            inputs.append(document(file.path) if kind == "text" else file.path)
            kept.append(file)
        except ProblemError as error:
            skipped.append((file.path.relative_to(root).as_posix(), str(error)))
    labels = np.empty(len(kept), dtype=object)
    labels[:] = [file.label for file in kept]
    return Found(
        kind=kind,
        inputs=inputs,
        names=tuple(file.path.relative_to(root).as_posix() for file in kept),
        targets=None if all(file.label is None for file in kept) else labels,
        parts=tuple(file.part for file in kept),
        root=str(root),
        skipped=tuple(skipped),
    )


def _files(walk: _Walk, root: Path) -> Iterator[_File]:
    folders = walk.folders(root)
    parts = {folder: PARTS[folder.name.lower()] for folder in folders if folder.name.lower() in PARTS}
    # 'train' beside 'car' is a vehicle: only folders that hold class folders are parts.
    parts = {folder: part for folder, part in parts.items() if walk.folders(folder)}
    if not parts:
        yield from _class_files(walk, root, "")
        return
    for folder, part in parts.items():
        yield from _class_files(walk, folder, part)
    beside = [folder.name for folder in folders if folder not in parts]
    if beside:
        emit(
            "data",
            f"Not read: folders beside the train and test folders, {len(beside)}: {', '.join(map(repr, beside[:5]))}.",
            folders=beside,
        )
    for file, kind in walk.items(root):
        yield _File(file, kind, None, "")


def _class_files(walk: _Walk, folder: Path, part: str) -> Iterator[_File]:
    for inner in walk.folders(folder):
        walk.classes.append(inner)
        for file, kind in walk.tree(inner):
            yield _File(file, kind, inner.name, part)
    for file, kind in walk.items(folder):
        yield _File(file, kind, None, part)


class _Walk:
    """A look around below ``root`` that never leaves it and remembers what it passed over."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = root.resolve()
        self.classes: list[Path] = []
        self.other: list[str] = []
        self.links: list[str] = []

    def folders(self, folder: Path) -> list[Path]:
        return [Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]

    def name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def items(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """The images and texts right in ``folder``, each with its kind."""
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                continue
            file = Path(entry.path)
            if entry.is_symlink() and not self._stays(file):
                self.links.append(self.name(file))
            elif _is_image(entry):
                yield file, "image"
            elif _is_text(entry):
                yield file, "text"
            elif not entry.name.lower().startswith(ABOUT):
                self.other.append(self.name(file))

    def tree(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """The same for ``folder`` and what is below."""
        yield from self.items(folder)
        for inner in self.folders(folder):
            yield from self.tree(inner)

    def report(self, wanted: str) -> None:
        told = ((self.other, f"files that are no {wanted}"), (self.links, "links that leave the folder or lead to folders"))
        for files, words in told:
            if files:
                shown = ", ".join(map(repr, files[:5]))
                emit("data", f"Passed over: {words}, {len(files)}: {shown}.", count=len(files), files=files)

    def _stays(self, link: Path) -> bool:
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or in a circle
            return False
        return target.is_file() and target.is_relative_to(self.real)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise ProblemError(f"The folder {folder} cannot be read: {error.strerror}. Check its permissions.") from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.lower().endswith(IMAGE_SUFFIXES):
        return True
    if not entry.is_file():
        return False
    try:
        with open(entry.path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def _is_text(entry: os.DirEntry[str]) -> bool:
    stem, suffix = os.path.splitext(entry.name.lower())
    return suffix in TEXT_SUFFIXES and stem not in ABOUT and entry.is_file()
