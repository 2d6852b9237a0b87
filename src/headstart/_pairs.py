"""Low-rank pairs (LoRA; Hu et al. 2022): in a network, folded into its weights, and as files of the peft library.

A pair adds (scale · B A) to a weight that stays as it is. It is a parametrization of torch: whoever reads the ``weight`` of
a module reads the sum, so the networks' own code knows nothing of pairs. Import this file only where torch is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from headstart import _io
from headstart.errors import NotAdmissible, RunError

if TYPE_CHECKING:
    from headstart.backbone import Network

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # what peft puts before the name of every module
PLAIN = {"peft_type": "LORA", "fan_in_fan_out": False, "bias": "none", "use_dora": False, "lora_bias": False}


class Pair(torch.nn.Module):
    """The two factors, ``A`` (rank, inputs) and ``B`` (outputs, rank), of what is added to a weight, ``scale`` · B A."""

    def __init__(self, A: torch.Tensor, B: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.A, self.B, self.scale = torch.nn.Parameter(A), torch.nn.Parameter(B), scale

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.scale * (self.B @ self.A)).view_as(weight)


def linear_maps(network: Network, names: Collection[str]) -> dict[str, Any]:
    """The modules whose weight is a matrix and among the parameters ``names``, by path: linear layers, and convolutions that
    see one place."""
    found = {}
    for path, module in network.module.named_modules():
        linear = isinstance(module, torch.nn.Linear)
        point = isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        if (linear or point) and f"{path}.weight" in names:
            found[path] = module
    return found


def build_in(maps: Mapping[str, Any], *, rank: int, scale: float, seed: int = 0) -> None:
    """Put a pair on each of ``maps``. B is zero, so that the network is the same to the bit; A is drawn as Kaiming's.

    ``NotAdmissible`` where ``rank`` is more than a matrix has.
    """
    if not maps:
        return
    most, tight = min(((min(module.weight.shape[:2]), path) for path, module in maps.items()))
    if not 1 <= rank <= most:
        outputs, inputs = maps[tight].weight.shape[:2]
        raise NotAdmissible(
            f"The rank is {rank}; '{tight}' is a matrix of {outputs} x {inputs}, so 1 to {most} would be right. "
            f"Choose such a rank (lora:rank={most}), or a higher cut."
        )
    draw = torch.Generator().manual_seed(seed)
    for module in maps.values():
        outputs, inputs = module.weight.shape[:2]
        A, B = torch.empty(rank, inputs), torch.zeros(outputs, rank)
        torch.nn.init.kaiming_uniform_(A, a=5**0.5, generator=draw)  # as torch.nn.Linear is drawn, and peft's A
        parametrize.register_parametrization(module, "weight", Pair(A, B, scale))


def pairs_in(module: Any) -> dict[str, Pair]:
    """The pairs that were built into ``module``, by the path of what they are on."""
    found = {}
    for path, part in module.named_modules():
        if parametrize.is_parametrized(part, "weight") and isinstance(part.parametrizations.weight[-1], Pair):
            found[path] = part.parametrizations.weight[-1]
    return found


def merged(module: Any) -> Any:
    """``module`` with the sums as plain weights, under the names that they always had; itself where no pair is in it."""
    import copy

    if not pairs_in(module):
        return module
    whole = copy.deepcopy(module)
    for path in pairs_in(whole):
        part = whole.get_submodule(path)
        weight = torch.nn.Parameter(part.weight.detach(), requires_grad=False)
        # Not remove_parametrizations: a copy shares the class that torch made for the original, and that would be emptied.
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        part.weight = weight
    return whole


def write_adapter(network: Network, folder: Path | str, *, base: str = "") -> Path:
    """Write the pairs in ``network`` as an adapter that the peft library loads onto the same encoder; the folder.

    ``base`` is where that encoder is found: a folder or a hub name. Only the pairs are written, neither the encoder nor a
    head. ``NotAdmissible`` if there are no pairs, or one is on a convolution.
    """
    folder, pairs = Path(folder), pairs_in(network.module)
    linear = [isinstance(network.module.get_submodule(path), torch.nn.Linear) for path in pairs]
    if not pairs or not all(linear):
        what = "has pairs on convolutions" if pairs else "has no low-rank pairs"
        raise NotAdmissible(
            f"This network {what}; an adapter in the format of peft needs pairs on linear layers. Tune a text encoder with "
            "'lora', or export to ONNX."
        )
    (rank,), (scale,) = {pair.A.shape[0] for pair in pairs.values()}, {pair.scale for pair in pairs.values()}
    arrays = {}
    for path, pair in pairs.items():
        arrays[f"{PREFIX}{path}.lora_A.weight"] = pair.A.detach().numpy()
        arrays[f"{PREFIX}{path}.lora_B.weight"] = pair.B.detach().numpy()
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": rank * scale,  # peft's scale is alpha / r, whatever ours was made of
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(pairs),
        "task_type": "FEATURE_EXTRACTION",
        "inference_mode": True,
        "modules_to_save": None,
    }
    _io.write_arrays(folder / WEIGHTS, arrays)
    _io.write_json(folder / CONFIG, config)
    return folder


def read_adapter(network: Network, folder: Path | str) -> None:
    """Build the pairs of an adapter, as the peft library writes it, into ``network``.

    Names may begin with the encoder's name in a larger model (``bert.``). ``RunError`` if the folder holds no adapter that
    can be read; ``NotAdmissible`` if it is for another encoder.
    """
    config, arrays = _checked(Path(folder))
    maps, taken = linear_maps(network, dict(network.module.named_parameters())), set()
    for name in sorted(arrays):
        path, _, part = name.removeprefix(PREFIX).rpartition(".lora_A.")
        if part != "weight":
            continue
        own = next((one for one in maps if path == one or path.endswith(f".{one}")), "")
        other = name.replace(".lora_A.", ".lora_B.")
        A, B = (torch.from_numpy(np.array(arrays.get(key, ()), dtype=np.float32)) for key in (name, other))
        shape = tuple(maps[own].weight.shape) if own else ()
        if A.ndim != 2 or B.ndim != 2 or (B.shape[0], A.shape[1]) != shape:
            raise NotAdmissible(
                f"The adapter in {folder} changes '{path}', and this network has no such linear layer of that size. Give the "
                f"encoder that it was made for ({config.get('base_model_name_or_path') or 'its config does not say which'})."
            )
        parametrize.register_parametrization(maps[own], "weight", Pair(A, B, _scale(config, path, len(A))))
        taken |= {name, other}
    if not taken or taken != set(arrays):
        odd = next(iter(sorted(set(arrays) - taken)), "nothing")
        raise RunError(f"{Path(folder) / WEIGHTS} holds {odd}; pairs named lora_A and lora_B, and no more, can be read.")


def _checked(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and arrays of the adapter in ``folder``."""
    config = _io.read_json(folder / CONFIG)
    for key, right in PLAIN.items():
        if config.get(key, right) != right:
            raise RunError(
                f"{folder / CONFIG} has {key} = {config[key]!r}; only {right!r} can be read. Save it as plain LoRA."
            )
    return config, _io.read_arrays(folder / WEIGHTS)


def _scale(config: Mapping[str, Any], path: str, rank: int) -> float:
    """What peft multiplies B A with, for the module at ``path``."""
    own = [value for key, value in (config.get("alpha_pattern") or {}).items() if path == key or path.endswith(f".{key}")]
    alpha = float(own[0] if own else config["lora_alpha"])
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
