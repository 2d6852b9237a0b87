"""A described encoder in torch, cut at any place.

Linear maps and norms run over one flat stream of pieces, text after text, so nothing is padded; attention runs over chunks
of one length at a time. There is no dropout: runs must repeat to the bit with several fits side by side, and torch's
generator is shared by all of them. Early stopping and the average of weights do its work here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.backbone import Network
from headstart.backbones._convnet_torch import put
from headstart.backbones._encoder import BUCKETS, Architecture, distances, names
from headstart.backbones._pieces import BEGINS, Layout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts: ``rows`` (pieces,) are numbers of pieces, or (pieces, width) a state.

    ``groups`` are the chunks of one length: where their pieces lie, (chunks, length); ``back`` (pieces,) is the way back from
    all groups, one after the other, to the stream. ``positions`` (pieces,) count within a chunk. ``units`` (pieces,) says
    which row of the answer each piece is part of, ``parts`` (units,) how many make a row.
    Pieces that are part of none (special ones, for words) have the unit after the last.
    """

    rows: Tensor
    groups: tuple[Tensor, ...]
    back: Tensor
    positions: Tensor
    units: Tensor
    parts: Tensor


def network(
    architecture: Architecture, weights: Mapping[str, np.ndarray], *, unit: str = "item", rate: float = 5e-5
) -> Network:
    """A new network with a copy of ``weights``, in evaluation mode. Every name must match."""
    import torch

    module = _module(architecture)
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, strict=True)
    places = architecture.places

    def position(place: str | None) -> int:
        return 0 if place is None else places.index(place.partition(":")[0]) + 1

    def run(batch: Batch, start: int, stop: int) -> Batch:
        for index in range(start, stop):
            batch = replace(batch, rows=_step(module, architecture, index, batch))
        return batch

    def below(batch: Batch, place: str | None) -> Batch:
        return run(batch, 0, position(place))

    def above(batch: Batch, place: str | None) -> Tensor:
        return pooled(run(batch, position(place), len(places)))

    def collate(states: Sequence[np.ndarray]) -> Batch:
        return collated(states, unit=unit)

    def count(state: np.ndarray) -> int:
        return int((state[:, -1] == BEGINS).sum()) if unit == "word" else 1

    return Network(
        module.eval(), below, above, architecture.width, architecture.stages, collate=collate, count=count, rate=rate
    )


def collated(states: Sequence[np.ndarray], *, unit: str = "item") -> Batch:
    """One batch of the prepared pieces (pieces, 2) or the states (pieces, width + 1) of single texts."""
    import torch

    rows = np.concatenate(states)
    offsets = np.concatenate([[0], np.cumsum([len(state) for state in states])])
    layout = Layout.of(rows[:, -1], offsets)
    groups = [layout.spread(chunks).reshape(len(chunks), -1) for chunks in layout.batches(len(rows))]
    if unit == "word":
        count = int(layout.word_offsets[-1])
        units = np.where(layout.words < 0, count, layout.words)
    else:
        count = len(states)
        units = np.repeat(np.arange(count), np.diff(offsets))
    own = rows[:, 0].astype(np.int64) if np.issubdtype(rows.dtype, np.integer) else rows[:, :-1].astype(np.float32)
    starts = np.repeat(layout.starts, layout.lengths)
    return Batch(
        rows=torch.from_numpy(own),
        groups=tuple(torch.from_numpy(group) for group in groups),
        back=torch.from_numpy(np.argsort(np.concatenate([group.ravel() for group in groups]))),
        positions=torch.from_numpy(np.arange(len(rows)) - starts),
        units=torch.from_numpy(units.astype(np.int64)),
        parts=torch.from_numpy(np.bincount(units, minlength=count)[:count].astype(np.float32)),
    )


def _module(architecture: Architecture) -> Any:
    """A tree of plain modules that only holds the weights under their names; ``_step`` knows the way through."""
    from torch import nn

    root, width = nn.Module(), architecture.width
    for name, shape in architecture.shapes().items():
        path, _, part = name.rpartition(".")
        if part != "weight":
            continue  # a bias comes with its weight
        if len(shape) == 1:
            made: Any = nn.LayerNorm(width, eps=architecture.eps)
        elif path.startswith("embeddings.") or path == BUCKETS:
            made = nn.Embedding(shape[0], shape[1])
        else:
            made = nn.Linear(shape[1], shape[0])
        put(root, path, made)
    return root


def _step(module: Any, architecture: Architecture, index: int, batch: Batch) -> Tensor:
    """From the state at one place (``index`` 0: numbers of pieces) to the state at the next."""
    from torch.nn import functional

    part = module.get_submodule
    if index == 0:
        at = part("embeddings")
        x = at.word_embeddings(batch.rows) + at.position_embeddings(batch.positions + architecture.offset)
        if architecture.types:
            x = x + at.token_type_embeddings.weight[0]
        found: Tensor = at.LayerNorm(x)
        return found
    layer, x = names(architecture.family, index - 1), batch.rows
    y = part(layer.out)(_attention(module, architecture, index, batch))
    x = part(layer.out_norm)(y + x)
    y = part(layer.outer)(functional.gelu(part(layer.inner)(x)))
    found = part(layer.outer_norm)(y + x)
    return found


def _attention(module: Any, architecture: Architecture, index: int, batch: Batch) -> Tensor:
    """What every piece takes from the pieces of its chunk, (pieces, width)."""
    import torch
    from torch.nn import functional

    layer, heads = names(architecture.family, index - 1), architecture.heads
    parts = [module.get_submodule(name) for name in (layer.query, layer.key, layer.value)]
    weight, shift = torch.cat([one.weight for one in parts]), torch.cat([one.bias for one in parts])
    mixed = functional.linear(batch.rows, weight, shift)
    found = []
    for group in batch.groups:
        chunks, length = group.shape
        query, key, value = mixed[group].view(chunks, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        bias = None
        if architecture.buckets:
            bias = module.get_submodule(BUCKETS)(_near(architecture)[:length, :length]).permute(2, 0, 1)[None]
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        found.append(y.transpose(1, 2).reshape(chunks * length, -1))
    return torch.cat(found)[batch.back]


@lru_cache(maxsize=4)
def _near(architecture: Architecture) -> Tensor:
    import torch

    return torch.from_numpy(distances(architecture, architecture.longest))


def pooled(batch: Batch) -> Tensor:
    """The mean over the pieces of each unit, (units, width)."""
    count = len(batch.parts)
    total = batch.rows.new_zeros(count + 1, batch.rows.shape[1]).index_add(0, batch.units, batch.rows)
    return total[:count] / batch.parts[:, None]
