"""Image encoders of the timm library, with weights from a local safetensors file.

An extra: timm needs torchvision, which the base installation leaves out. Nothing is downloaded. Prefer ``packaged`` for a
quick answer and ``transformers`` for an encoder that lies in a folder with its preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart import _io
from headstart.backbone import Card
from headstart.backbones import Listing
from headstart.backbones._eager import BATCH, EagerBackbone, hidden_taps
from headstart.backbones._photos import Preprocess
from headstart.errors import MissingExtra, NotAdmissible


class Timm:
    """The source ``timm``: names are ``architecture@path/to/weights.safetensors``."""

    def suitable(self, kind: str | None) -> tuple[Listing, ...]:
        """Nothing: weight files are named by the user, not listed."""
        return ()

    def load(self, name: str) -> EagerBackbone:
        """The encoder ``name``, read at its pooled features only. ``MissingExtra`` if timm cannot be imported."""
        try:
            import timm  # noqa: F401
        except ImportError as error:
            raise MissingExtra(
                f"'timm:{name}' needs the timm library and its torchvision ({error}). "
                "Bring both with: pip install 'headstart[timm]'"
            ) from error
        architecture, _, path = name.partition("@")
        file = Path(path).expanduser()
        if not path.endswith(".safetensors") or not file.is_file():
            raise NotAdmissible(
                f"'timm:{name}' names no weight file; timm:architecture@path/to/weights.safetensors is needed. "
                "Nothing is downloaded."
            )
        build = _Build(architecture, file)
        module = build(None)
        preprocess = _preprocess(module)
        count = sum(parameter.numel() for parameter in module.parameters())
        card = Card(
            name=f"timm:{name}",
            kind="image",
            trained_on="not stated in the file",
            licence="not stated in the file",
            parameters=count,
            weights_bytes=file.stat().st_size,
            preprocessing=preprocess.spec(),
            origin=f"timm architecture {architecture}, weights {file.name}",
        )
        mark = _io.fingerprint(["timm", BATCH, architecture, preprocess.spec(), _io.digest(file.read_bytes())])
        return EagerBackbone(card, hidden_taps([("head", module.num_features)]), mark, True, preprocess, build, read)


SOURCE = Timm()


def read(module: Any, x: Any) -> dict[str, Any]:
    """The pooled features that the classifier would read."""
    return {"head": module(x)}


@dataclass(frozen=True)
class _Build:
    architecture: str
    file: Path

    def __call__(self, seed: int | None) -> Any:
        import timm
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            module = timm.create_model(self.architecture, pretrained=False, num_classes=0)
        if seed is None:
            arrays = {name: torch.from_numpy(array) for name, array in _io.read_arrays(self.file).items()}
            missing = module.load_state_dict(arrays, strict=False).missing_keys
            if missing:
                raise NotAdmissible(
                    f"{self.file} lacks {len(missing)} weights of {self.architecture}, such as '{missing[0]}'. "
                    "The file of exactly this architecture is needed."
                )
        return module


def _preprocess(module: Any) -> Preprocess:
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(module)
    first, second, third = (255 * value for value in found["mean"])
    one, two, three = (1 / (255 * value) for value in found["std"])
    return Preprocess(
        int(found["input_size"][-1]),
        mean=(first, second, third),
        scale=(one, two, three),
        resample=str(found["interpolation"]).upper(),
        crop=float(found["crop_pct"]),
    )
