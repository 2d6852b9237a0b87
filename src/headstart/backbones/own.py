"""Backbones that Headstart itself wrote: a folder with ``card.json`` and ``weights.safetensors``.

Every network that was trained here can become the base of the next problem. The folder holds plain data: the card, the
architecture's name, the preprocessing and the arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import _io
from headstart.backbone import Card
from headstart.backbones import Listing, _convnet
from headstart.backbones._images import ImageBackbone, image_backbone
from headstart.backbones._photos import Preprocess
from headstart.errors import MissingExtra, NotAdmissible, RunError

FORMAT = 1
CARD, WEIGHTS = "card.json", "weights.safetensors"


class Own:
    """The source ``own``: names are folders."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """Nothing: folders are named by the user (``own:path/to/folder``), not listed."""
        return ()

    def load(self, name: str) -> ImageBackbone:
        """The backbone in the folder ``name``. ``RunError`` if it is damaged or of a newer format."""
        folder = Path(name).expanduser()
        if not (folder / CARD).is_file():
            raise MissingExtra(
                f"There is no backbone in '{folder}': a folder with {CARD} and {WEIGHTS} is needed. "
                "Such a folder is what headstart.backbones.own.save_backbone writes."
            )
        record = _io.read_json(folder / CARD)
        try:
            if record["format"] > FORMAT:
                raise RunError(
                    f"{folder} has format {record['format']}; this version reads up to {FORMAT}. Update headstart."
                )
            card = record["card"]
            # The name is the one that finds it again; the name it was given stays in its origin.
            origin = f"'{card['name']}', {card['origin']}"
            card = Card(**{**card, "name": f"own:{name}", "origin": origin, "items": frozenset(card["items"])})
            preprocess = _preprocess(card.preprocessing)
            architecture = _convnet.named(record["architecture"])
            identity = str(record["digest"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{folder / CARD} is not a backbone card: {error!r}. Save the backbone again.") from error
        weights = _Read(folder / WEIGHTS, identity, architecture)
        return image_backbone(architecture, preprocess, weights, card=card, identity=identity, pretrained=True)


SOURCE = Own()


def save_backbone(
    module: Any,
    backbone: ImageBackbone,
    folder: Path,
    *,
    name: str,
    trained_on: str,
    licence: str = "",
    until: str | None = None,
    items: Iterable[str] = (),
    notes: str = "",
) -> ImageBackbone:
    """Write ``module``, a network of ``backbone`` that was trained further, as a backbone folder; the backbone in it.

    ``items`` are the fingerprints of what it was trained on, so that no later exam holds one of them; those of
    ``backbone`` are added. The classifier of the original classes is left out: it no longer fits the moved features.
    """
    from headstart._pairs import merged
    from headstart.backbones._convnet_torch import weights_of

    if not isinstance(backbone, ImageBackbone):
        raise NotAdmissible(f"Only convolutional image backbones can be saved; this is a {type(backbone).__name__}.")
    architecture = replace(backbone.architecture, classes=0)
    # Arrays of at least one dimension: the counters of the normalisations are of no use later.
    arrays = {key: array for key, array in weights_of(merged(module)).items() if key in architecture.shapes() and array.ndim}
    problem = _convnet.mismatch(architecture, {**_counters(architecture), **arrays})
    if problem:
        raise NotAdmissible(
            f"The network does not have the architecture {architecture.name}: {problem}. Pass its own backbone."
        )
    base = backbone.card
    card = replace(
        base,
        name=name,
        trained_on=f"{base.trained_on}; then {trained_on}" if backbone.pretrained else trained_on,
        licence=licence or base.licence,
        parameters=architecture.parameters(),
        weights_bytes=sum(array.nbytes for array in arrays.values()),
        origin=f"trained further with Headstart from {base.name}",
        prior=None,
        until=max([day for day in (until, base.until) if day], default=None),
        items=base.items | frozenset(items),
        notes=notes,
    )
    _io.write_arrays(folder / WEIGHTS, arrays)
    record = {"format": FORMAT, "architecture": architecture.name, "digest": _digest(arrays), "card": card}
    _io.write_json(folder / CARD, record)
    return SOURCE.load(str(folder))


@dataclass(frozen=True)
class _Read:
    file: Path
    identity: str
    architecture: _convnet.Architecture

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        arrays = _io.read_arrays(self.file)
        whole = {**_counters(self.architecture), **arrays}
        problem = _convnet.mismatch(self.architecture, whole)
        if problem or _digest(arrays) != self.identity:
            raise RunError(
                f"The weights in {self.file} are not those of its card: {problem or 'their digest is another'}. "
                "Copy the whole folder again, or save the backbone again."
            )
        return whole


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    return _io.fingerprint({name: arrays[name] for name in sorted(arrays)})


def _counters(architecture: _convnet.Architecture) -> dict[str, np.ndarray]:
    return {name: np.zeros((), np.int64) for name, shape in architecture.shapes().items() if not shape}


def _preprocess(found: Mapping[str, Any]) -> Preprocess:
    mean, scale = (tuple(float(value) for value in found[key]) for key in ("mean", "scale"))
    if len(mean) != 3 or len(scale) != 3:
        raise TypeError("mean and scale need three values each")
    return Preprocess(int(found["side"]), mean, scale, str(found["resample"]), float(found["crop"]))
