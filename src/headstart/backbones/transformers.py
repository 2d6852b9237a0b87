"""Image encoders of the transformers library, from a local folder.

The folder is what ``save_pretrained`` writes: ``config.json``, ``model.safetensors`` and, with the exact preprocessing,
``preprocessor_config.json``. Every hidden state is a tap. Names that are no folder are looked up on the hub only when
``HEADSTART_ALLOW_HUB=1`` is set. Code that comes with a model is never run, pickled weights are never read.

Prefer this over ``packaged`` for a stronger or a domain's own encoder; it is slower on a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headstart import _io
from headstart._events import emit
from headstart.backbone import Card
from headstart.backbones import Listing
from headstart.backbones._eager import BATCH, EagerBackbone, hidden_taps, pooled
from headstart.backbones._photos import Preprocess
from headstart.errors import MissingExtra, NotAdmissible

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
RESAMPLE = {0: "NEAREST", 1: "LANCZOS", 2: "BILINEAR", 3: "BICUBIC", 4: "BOX", 5: "HAMMING"}  # Pillow's numbers


class Transformers:
    """The source ``transformers``: names are folders, or hub names when those are allowed."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """Nothing: folders are named by the user (``transformers:path/to/folder``), not listed."""
        return ()

    def load(self, name: str) -> EagerBackbone:
        """The encoder in the folder ``name``. ``MissingExtra`` without the library, ``NotAdmissible`` for a pickle."""
        if find_spec("transformers") is None:
            raise MissingExtra(
                f"'transformers:{name}' needs the transformers library, which is not installed. "
                "Bring it with: pip install 'headstart[transformers]'"
            )
        folder = _folder(name)
        files = _weight_files(folder)
        config = _io.read_json(folder / CONFIG)
        preprocess = _preprocess(folder)
        hashes = [_io.digest(file.read_bytes()) for file in files]
        build = _Build(folder)
        widths = _widths(build, preprocess.side)
        count, size = _count(files), sum(file.stat().st_size for file in files)
        card = Card(
            name=f"transformers:{name}",
            kind="image",
            trained_on="not stated in the folder",
            licence="not stated in the folder",
            parameters=count,
            weights_bytes=size,
            preprocessing=preprocess.spec(),
            origin=f"transformers folder {folder.name} ({config.get('model_type', 'unknown type')})",
            notes="Taps are hidden states, averaged over tokens or places.",
        )
        mark = _io.fingerprint(["transformers", BATCH, config, preprocess.spec(), hashes])
        return EagerBackbone(card, hidden_taps(widths), mark, True, preprocess, build, read)


SOURCE = Transformers()


def read(module: Any, x: Any) -> dict[str, Any]:
    """Pooled hidden states, ``hidden0`` (the embedding) upwards, and ``head``, the encoder's last state."""
    found = module(pixel_values=x, output_hidden_states=True)
    hidden = {f"hidden{place}": pooled(state) for place, state in enumerate(found.hidden_states)}
    return {**hidden, "head": pooled(found.last_hidden_state)}


@dataclass(frozen=True)
class _Build:
    folder: Path

    def __call__(self, seed: int | None) -> Any:
        import torch
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # the library prints nothing
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if seed is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return AutoModel.from_config(AutoConfig.from_pretrained(self.folder, **local))
        model, report = AutoModel.from_pretrained(
            self.folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **local
        )
        # A pooler is often left out of published weights, and is not read here.
        missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
        if missing:
            raise NotAdmissible(
                f"The weights in {self.folder} lack {len(missing)} that the model needs, such as '{missing[0]}'. "
                "All of them are needed. Save the model again with save_pretrained."
            )
        return model


def _widths(build: _Build, side: int) -> list[tuple[str, int]]:
    """(tap, width) as they really come out."""
    import torch

    with torch.inference_mode():
        found = read(_checked(build).eval(), torch.zeros(1, 3, side, side))
    return [(name, row.shape[1]) for name, row in found.items()]


def _checked(build: _Build) -> Any:
    try:
        return build(None)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, NotAdmissible):
            raise
        raise NotAdmissible(
            f"transformers cannot build the model in {build.folder}: {str(error).splitlines()[0]} "
            "An image encoder of a known type is needed; code from the folder is never run."
        ) from error


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if folder.exists():
        raise NotAdmissible(f"'{name}' holds no {CONFIG}; a folder that save_pretrained wrote is needed.")
    if os.environ.get("HEADSTART_ALLOW_HUB") != "1":
        raise NotAdmissible(
            f"'{name}' is not a folder on this machine, and nothing is downloaded unless you ask for it. "
            "Give the path of a folder, or set HEADSTART_ALLOW_HUB=1 to look it up on the Hugging Face hub."
        )
    return _from_hub(name)


@lru_cache(maxsize=8)
def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    emit("stage", f"looking up {name} on the hub")
    try:
        return Path(
            snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, "*.safetensors", "*.safetensors.index.json"])
        )
    except Exception as error:  # whatever the hub's client raises, the model is not here
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingExtra(
            f"'{name}' could not be brought from the hub: {reason} Check the name and the network."
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern))
        found = f"only {pickled[0]}, a pickle that could run code when it is read" if pickled else "no weights"
        raise NotAdmissible(
            f"{folder} holds {found}; model.safetensors is needed. "
            "Convert it where you trust its source: model.save_pretrained(folder, safe_serialization=True)."
        )
    return files


def _count(files: list[Path]) -> int:
    from math import prod

    from safetensors import safe_open

    total = 0
    for file in files:
        with safe_open(file, framework="np") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def _preprocess(folder: Path) -> Preprocess:
    """The folder's own preprocessing as one of ours."""
    if not (folder / PREPROCESSOR).is_file():
        raise NotAdmissible(
            f"{folder} holds no {PREPROCESSOR}, so the preprocessing that the model was trained with is not known. "
            "Save it beside the model: processor.save_pretrained(folder)."
        )
    found = _io.read_json(folder / PREPROCESSOR)
    size = _side(found.get("size", 224))
    centre = bool(found.get("do_center_crop")) and "crop_size" in found
    side = _side(found["crop_size"]) if centre else size
    squashed = not centre and not (isinstance(found.get("size"), Mapping) and "shortest_edge" in found["size"])
    factor = float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1.0
    normal = found.get("do_normalize", True)
    mean = found.get("image_mean", [0.5] * 3) if normal else [0.0] * 3
    deviation = found.get("image_std", [0.5] * 3) if normal else [1.0] * 3
    return Preprocess(
        side,
        mean=_three(value / factor for value in mean),
        scale=_three(factor / value for value in deviation),
        resample=RESAMPLE.get(found.get("resample", 2), "BILINEAR"),
        crop=0.0 if squashed else min(1.0, side / size),
    )


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height") or 224
    return int(size)


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
