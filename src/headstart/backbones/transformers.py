"""Image and text encoders of the transformers library, from a local folder.

The folder is what ``save_pretrained`` writes: ``config.json``, ``model.safetensors`` and, with the exact preprocessing,
``preprocessor_config.json`` of an image encoder or ``tokenizer.json`` of a text encoder. Every hidden state is a tap. Names
that are no folder are looked up on the hub only when ``HEADSTART_ALLOW_HUB=1`` is set. Code that comes with a model is
never run, pickled weights are never read.

Prefer this over ``packaged`` for a stronger or a domain's own encoder. Text encoders like BERT, RoBERTa and MPNet are as
fast as packaged ones, can be cut at every layer and need no transformers library; all others run slower on a CPU.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from headstart import _io
from headstart._events import emit
from headstart.backbone import Card
from headstart.backbones import Listing, _encoder
from headstart.backbones._eager import BATCH, EagerBackbone, hidden_taps, pooled
from headstart.backbones._eager_texts import BATCH as TEXT_BATCH
from headstart.backbones._eager_texts import EagerTextBackbone, text_taps
from headstart.backbones._photos import Preprocess
from headstart.backbones._pieces import FIRST, Pieces
from headstart.backbones._texts import TextBackbone, text_backbone
from headstart.errors import MissingExtra, NotAdmissible

CONFIG, PREPROCESSOR, TOKENIZER = "config.json", "preprocessor_config.json", "tokenizer.json"
README = "README.md"  # its head has the licence and the data sets, where the hub's form is kept
# Where a text folder says how many pieces are read at once, and under which name.
LIMITS = (
    (CONFIG, "max_position_embeddings"),
    ("tokenizer_config.json", "model_max_length"),
    ("sentence_bert_config.json", "max_seq_length"),
)
LONGEST = 512  # pieces read at once at most: attention's work grows with the square of them
RESAMPLE = {0: "NEAREST", 1: "LANCZOS", 2: "BILINEAR", 3: "BICUBIC", 4: "BOX", 5: "HAMMING"}  # Pillow's numbers


class Transformers:
    """The source ``transformers``: names are folders, or hub names when those are allowed."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """Nothing: folders are named by the user (``transformers:path/to/folder``), not listed."""
        return ()

    def load(self, name: str) -> EagerBackbone | EagerTextBackbone | TextBackbone:
        """The encoder in the folder ``name``. ``MissingExtra`` without the library, ``NotAdmissible`` for a pickle."""
        folder = _folder(name)
        files = _weight_files(folder)
        config = _io.read_json(folder / CONFIG)
        if _reads_text(folder, config):
            return _text(name, folder, files, config)
        _need_library(name)
        preprocess = _preprocess(folder)
        build = _Build(folder)
        widths = _widths(build, preprocess.side)
        card = _card(name, folder, files, config, kind="image", preprocessing=preprocess.spec())
        mark = _io.fingerprint(["transformers", BATCH, config, preprocess.spec(), _hashes(files)])
        return EagerBackbone(card, hidden_taps(widths), mark, True, preprocess, build, read)


SOURCE = Transformers()


def read(module: Any, x: Any) -> dict[str, Any]:
    """Pooled hidden states, ``hidden0`` (the embedding) upwards, and ``head``, the encoder's last state."""
    found = module(pixel_values=x, output_hidden_states=True)
    hidden = {f"hidden{place}": pooled(state) for place, state in enumerate(found.hidden_states)}
    return {**hidden, "head": pooled(found.last_hidden_state)}


def read_text(module: Any, x: Any) -> list[Any]:
    """The state at every place, the embedding first, of pieces (n, length) that are all read."""
    import torch

    found = module(input_ids=x, attention_mask=torch.ones_like(x), output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


def _reads_text(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the encoder in ``folder`` reads texts: it has a tokenizer, or a vocabulary, and no image preprocessing."""
    if (folder / PREPROCESSOR).is_file():
        return False
    if (folder / TOKENIZER).is_file():
        return True
    if "vocab_size" in config:
        raise NotAdmissible(
            f"{folder} holds no {TOKENIZER}, so how the encoder cuts texts into pieces is not known. "
            "Save it beside the model: AutoTokenizer.from_pretrained(...).save_pretrained(folder)."
        )
    return False


def _text(name: str, folder: Path, files: list[Path], config: Mapping[str, Any]) -> EagerTextBackbone | TextBackbone:
    """A text encoder: as this package runs it where it is of a known family, else as the library does."""
    digest = _io.digest((folder / TOKENIZER).read_bytes())
    if Pieces(_At(folder / TOKENIZER), LONGEST).prepare(["a"]).rows[0, 1] != FIRST:
        raise NotAdmissible(
            f"The tokenizer in {folder} puts no special piece before a text, as encoders like BERT do. "
            "An encoder is needed, not a model that writes text."
        )
    architecture = _encoder.described(config)
    known = architecture is not None and _fits(architecture, files)
    limit = min(_limit(folder), architecture.longest if architecture else LONGEST)
    if not known:
        _need_library(name)
        build = _Build(folder)
        widths, limit = _text_widths(build, limit)
    pieces = Pieces(_At(folder / TOKENIZER), limit)
    card = _card(name, folder, files, config, kind="text", preprocessing={"tokenizer": digest, "pieces": limit})
    if known and architecture is not None:
        identity = _io.fingerprint([digest, _hashes(files)])
        weights = _ReadText(architecture, tuple(files))
        return text_backbone(architecture, pieces, weights, card=card, identity=identity, pretrained=True)
    mark = _io.fingerprint(["transformers text", TEXT_BATCH, config, card.preprocessing, _hashes(files)])
    vocabulary = int(config.get("vocab_size", 0))
    return EagerTextBackbone(card, text_taps(widths), mark, True, vocabulary, pieces, build, read_text)


@dataclass(frozen=True)
class _Build:
    folder: Path

    def __call__(self, seed: int | None) -> Any:
        import torch
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # the library prints nothing
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(self.folder, **local)
        for name, value in vars(config).items():  # torch's one generator for all would make two fits side by side differ
            if isinstance(value, float) and any(part in name for part in ("dropout", "drop_path", "layerdrop", "_pdrop")):
                setattr(config, name, 0.0)
        if seed is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return _reader(AutoModel.from_config(config))
        model, report = AutoModel.from_pretrained(
            self.folder, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **local
        )
        # A pooler is often left out of published weights, and is not read here.
        missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
        if missing:
            raise NotAdmissible(
                f"The weights in {self.folder} lack {len(missing)} that the model needs, such as '{missing[0]}'. "
                "All of them are needed. Save the model again with save_pretrained."
            )
        return _reader(model)


def _reader(model: Any) -> Any:
    """The part that reads, of a model that reads and writes."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _widths(build: _Build, side: int) -> list[tuple[str, int]]:
    """(tap, width) as they really come out."""
    import torch

    with torch.inference_mode():
        found = read(_checked(build).eval(), torch.zeros(1, 3, side, side))
    return [(name, row.shape[1]) for name, row in found.items()]


def _text_widths(build: _Build, limit: int) -> tuple[list[tuple[str, int]], int]:
    """(place, width) as they really come out, and how many pieces the encoder has positions for.

    RoBERTa's relatives count positions from the number after the padding piece's, so they have some fewer than they say.
    """
    import torch

    module = _checked(build).eval()
    spare = int(getattr(module.config, "pad_token_id", None) or 0) + 1
    for length in (limit, limit - spare):
        try:
            with torch.inference_mode():
                found = read_text(module, torch.full((1, length), spare))
        except (IndexError, RuntimeError, TypeError, AttributeError):
            continue
        if all(state.shape[:2] == (1, length) for state in found):
            names = ["embedding", *(f"layer{number}" for number in range(1, len(found)))]
            return [(name, int(state.shape[2])) for name, state in zip(names, found, strict=True)], length
    raise NotAdmissible(
        f"The model in {build.folder} does not give a state for every word piece. A text encoder like BERT is needed."
    )


def _checked(build: _Build) -> Any:
    try:
        return build(None)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, NotAdmissible):
            raise
        raise NotAdmissible(
            f"transformers cannot build the model in {build.folder}: {str(error).splitlines()[0]} "
            "An encoder of a known type is needed; code from the folder is never run."
        ) from error


@dataclass(frozen=True)
class _At:
    file: Path

    def __call__(self) -> Path:
        return self.file


@dataclass(frozen=True)
class _ReadText:
    """The arrays of a folder's encoder; the seed plays no part."""

    architecture: _encoder.Architecture
    files: tuple[Path, ...]

    def __call__(self, seed: int) -> Mapping[str, np.ndarray]:
        from safetensors.torch import load_file  # numpy has no bfloat16

        arrays = {name: array.float().numpy() for file in self.files for name, array in load_file(file).items()}
        return _encoder.fitting(self.architecture, arrays)


def _fits(architecture: _encoder.Architecture, files: list[Path]) -> bool:
    """Whether the files hold every weight of ``architecture``; only their heads are read."""
    hollow = {name: np.broadcast_to(np.float32(0), shape) for name, shape in _shapes(files)}
    try:
        _encoder.fitting(architecture, hollow)
    except NotAdmissible:
        return False  # weights under older names, which the library knows
    return True


def _limit(folder: Path) -> int:
    """Pieces that the encoder reads at once, special ones too: the least that its folder says."""
    found = [LONGEST]
    for file, key in LIMITS:
        value = _io.read_json(folder / file).get(key) if (folder / file).is_file() else None
        found += [value] if isinstance(value, int) and value > 0 else []
    return min(found)


def _card(
    name: str, folder: Path, files: list[Path], config: Mapping[str, Any], *, kind: str, preprocessing: dict[str, Any]
) -> Card:
    ways = {"image": "averaged over tokens or places", "text": "over word pieces: mean, first and max; mean of each word"}
    return Card(
        name=f"transformers:{name}",
        kind=kind,
        trained_on=", ".join(_said(folder, "datasets")) or "not stated in the folder",
        licence=", ".join(_said(folder, "license")) or "not stated in the folder",
        parameters=sum(prod(shape) for _, shape in _shapes(files)),
        weights_bytes=sum(file.stat().st_size for file in files),
        preprocessing=preprocessing,
        origin=f"transformers folder {folder.name} ({config.get('model_type', 'unknown type')})",
        notes=f"Taps are hidden states, {ways[kind]}.",
    )


def _said(folder: Path, key: str) -> list[str]:
    """What the head of the folder's README says under ``key``: one value, or a list with a line each."""
    if not (folder / README).is_file():
        return []
    head = re.match(r"---\s*\n(.*?\n)---", (folder / README).read_text("utf-8", "replace"), re.DOTALL)
    lines = re.search(rf"^{key}:[ ]*(.*\n(?:[ ]*- .*\n)*)", head[1], re.MULTILINE) if head else None
    values = [line.strip().removeprefix("- ").strip("\"' ") for line in lines[1].splitlines()] if lines else []
    return [value for value in values if value]


def _need_library(name: str) -> None:
    if find_spec("transformers") is None:
        raise MissingExtra(
            f"'transformers:{name}' needs the transformers library, which is not installed. "
            "Bring it with: pip install 'headstart[transformers]'"
        )


def _hashes(files: list[Path]) -> list[str]:
    return [_io.digest(file.read_bytes()) for file in files]


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if folder.exists():
        raise NotAdmissible(f"'{name}' holds no {CONFIG}; a folder that save_pretrained wrote is needed.")
    here = in_cache(name)
    if here is not None:
        return here
    _need_library(name)  # it brings the client of the hub
    if not allowed():
        raise NotAdmissible(
            f"'{name}' is not a folder on this machine, and nothing is downloaded unless you ask for it. "
            "Give the path of a folder, or set HEADSTART_ALLOW_HUB=1 to look it up on the Hugging Face hub."
        )
    return _from_hub(name)


def allowed() -> bool:
    """Whether the user allows models to be brought from the hub."""
    return os.environ.get("HEADSTART_ALLOW_HUB") == "1"


def in_cache(name: str) -> Path | None:
    """Where the hub's client keeps the weights of ``name`` on this machine; None if it does not. Nothing is downloaded."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except Exception:  # whatever the hub's client raises, the model is not here
        return None
    return folder if (folder / CONFIG).is_file() and any(folder.glob("*.safetensors")) else None


@lru_cache(maxsize=8)
def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    emit("stage", f"looking up {name} on the hub")
    small = {PREPROCESSOR, TOKENIZER, README, *(file for file, _ in LIMITS)}
    try:
        return Path(snapshot_download(name, allow_patterns=[*small, "*.safetensors", "*.safetensors.index.json"]))
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


def _shapes(files: list[Path]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every array; only the heads of the files are read."""
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="np") as arrays:
                yield from ((name, tuple(arrays.get_slice(name).get_shape())) for name in arrays.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise NotAdmissible(f"{file} is damaged: {error}. Copy or download it again.") from error


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
