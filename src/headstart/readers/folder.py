"""Folders of images: one folder a class, perhaps inside train, validation and test folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError
from headstart.readers import IMAGE_SUFFIXES, PARTS, Found, Options

ABOUT = ("readme", "license", "licence")  # files about the data: nobody needs to hear that they are no images
# The first bytes of the formats that are read, for files whose name does not tell.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """Every image under ``path``, labelled by its class folder.

    Three layouts are understood: ``class/image``; ``train/class/image`` with optional ``valid`` and ``test`` beside
    it (``PARTS`` has the spellings; case does not matter); and images alone, which have no labels. A path to one image
    gives that image. Folders inside a class folder belong to the class. Hidden files and links that leave ``path`` are
    not read. Names are paths relative to ``path``.
    """
    root = Path(path)
    if root.is_file():
        return Found("image", [root], (root.name,), None, ("",), root=str(root.parent))
    if not root.is_dir():
        raise ProblemError(f"There is no folder {root}. A folder of images is needed. Check the path.")
    walk = _Walk(root)
    rows = list(_rows(walk, root))
    walk.report()
    if not rows:
        raise ProblemError(
            f"The folder {root} holds no images. Image files ({', '.join(IMAGE_SUFFIXES)}) in one folder a class are needed."
        )
    labels = np.empty(len(rows), dtype=object)
    labels[:] = [label for _, label, _ in rows]
    return Found(
        kind="image",
        inputs=[file for file, _, _ in rows],
        names=tuple(file.relative_to(root).as_posix() for file, _, _ in rows),
        targets=None if all(label is None for label in labels) else labels,
        parts=tuple(part for _, _, part in rows),
        root=str(root),
    )


def _rows(walk: _Walk, root: Path) -> Iterator[tuple[Path, str | None, str]]:
    """(file, class or None, part) of every image."""
    folders = walk.folders(root)
    parts = {folder: PARTS[folder.name.lower()] for folder in folders if folder.name.lower() in PARTS}
    # 'train' beside 'car' is a vehicle: only folders that hold class folders are parts.
    parts = {folder: part for folder, part in parts.items() if walk.folders(folder)}
    if not parts:
        yield from _classes(walk, root, "")
        return
    for folder, part in parts.items():
        yield from _classes(walk, folder, part)
    beside = [folder.name for folder in folders if folder not in parts]
    if beside:
        emit(
            "data",
            f"Not read: folders beside the train and test folders, {len(beside)}: {', '.join(map(repr, beside[:5]))}.",
            folders=beside,
        )
    for file in walk.images(root):
        yield file, None, ""


def _classes(walk: _Walk, folder: Path, part: str) -> Iterator[tuple[Path, str | None, str]]:
    for inner in walk.folders(folder):
        files = list(walk.tree(inner))
        if not files:
            emit("data", f"The class folder {inner.name!r} holds no images; it is passed over.", folder=inner.name)
        for file in files:
            yield file, inner.name, part
    for file in walk.images(folder):
        yield file, None, part


class _Walk:
    """A look around below ``root`` that never leaves it and remembers what it passed over."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = root.resolve()
        self.other: list[str] = []
        self.links: list[str] = []

    def folders(self, folder: Path) -> list[Path]:
        return [Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]

    def images(self, folder: Path) -> Iterator[Path]:
        """The images right in ``folder``."""
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                continue
            file = Path(entry.path)
            name = file.relative_to(self.root).as_posix()
            if entry.is_symlink() and not self._stays(file):
                self.links.append(name)
            elif _is_image(entry):
                yield file
            elif not entry.name.lower().startswith(ABOUT):
                self.other.append(name)

    def tree(self, folder: Path) -> Iterator[Path]:
        """The images in ``folder`` and below."""
        yield from self.images(folder)
        for inner in self.folders(folder):
            yield from self.tree(inner)

    def report(self) -> None:
        told = ((self.other, "files that are no images"), (self.links, "links that leave the folder or lead to folders"))
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
