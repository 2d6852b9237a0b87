"""A network that is trained from a cut upward, with a linear head: what moves, what is stored, what it predicts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import registry

if TYPE_CHECKING:
    from headstart.backbone import Backbone, Network
    from headstart.features import Features, Lens
    from headstart.problem import Examples

CHUNK = 32  # rows a prediction batch, always filled up: a row's score does not depend on how many are asked for
LOOKS = 8000  # rows that a linear head learns from at most, where some of them are further views
PART = 1024  # items whose inputs are in memory at once while predicting


@dataclass(frozen=True, eq=False)
class Model:
    """A network that is trained above ``cut`` (None: all of it) and a linear head on its last feature row.

    ``moving`` names the parameters above the cut that move. ``statistics`` says whether batch-norm layers keep learning
    their running means; otherwise they stay in eval mode.
    """

    network: Network
    head: Any
    cut: str | None = None
    statistics: bool = True
    moving: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        network: Network,
        width: int,
        *,
        cut: str | None = None,
        statistics: bool = True,
        moving: Collection[str] | None = None,
    ) -> Model:
        """The model with a head of zeros; all above the cut moves, or ``moving``. What does not asks for no gradients."""
        import torch

        head = torch.nn.Linear(network.width, width)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        if moving is None:
            moving = [name for names in stages_above(network, cut).values() for name in names]
        for name, parameter in network.module.named_parameters():
            parameter.requires_grad_(name in moving)
        return cls(network, head, cut, statistics, tuple(moving))

    def rows(self, states: Any) -> Any:
        """Feature rows (units, width) of a batch of states at the cut."""
        return self.network.above(states, self.cut)

    def scores(self, states: Any) -> Any:
        """Raw scores (units, K) of a batch of states at the cut."""
        return self.head(self.rows(states))

    def mode(self, *, training: bool) -> None:
        import torch

        self.network.module.train(training)
        if training and not self.statistics:
            for module in self.network.module.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def set_head(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """Put a linear head (width, K) and (K,) on the last feature row."""
        import torch

        self.head.weight.data.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
        self.head.bias.data.copy_(torch.from_numpy(np.asarray(bias)))

    def parameters(self) -> list[Any]:
        """The network's parameters that move, without the head."""
        own = dict(self.network.module.named_parameters())
        return [own[name] for name in self.moving]

    def tensors(self) -> dict[str, Any]:
        """Everything that training may change, by name: not copies."""
        own = dict(self.network.module.named_parameters())
        found = {f"network.{name}": own[name].data for name in self.moving}
        if self.statistics:
            floats = ((name, value) for name, value in self.network.module.named_buffers() if value.is_floating_point())
            found.update({f"network.{name}": value for name, value in floats})
        return {**found, "head.weight": self.head.weight.data, "head.bias": self.head.bias.data}

    def copy(self) -> dict[str, Any]:
        return {name: value.clone() for name, value in self.tensors().items()}

    def load(self, tensors: Mapping[str, Any]) -> None:
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.tensors().values())

    def predict(self, states: Sequence[np.ndarray]) -> Features:
        """Raw scores (units, K), float64, of the states of single items, in eval mode and in batches of one fixed size.

        Items of different length are taken in order of length, so that neighbours are alike.
        """
        import torch

        from headstart.features import Features

        self.mode(training=False)
        if not len(states):
            return Features(np.zeros((0, self.head.out_features)), np.zeros(1, dtype=int))
        order = np.argsort([len(state) for state in states], kind="stable")
        found: list[np.ndarray] = [np.zeros(0)] * len(states)
        with torch.inference_mode():
            for start in range(0, len(order), CHUNK):
                part = order[start : start + CHUNK]
                full = [states[i] for i in (*part, *part[:1].repeat(CHUNK - len(part)))]
                rows = self.scores(self.network.collate(full)).double().numpy()
                ends = np.cumsum([self.network.count(state) for state in full])
                for place, own in zip(part, np.split(rows, ends[:-1]), strict=False):
                    found[place] = own
        return Features(np.concatenate(found), np.concatenate([[0], np.cumsum([len(rows) for rows in found])]))


class RunningMean:
    """A running mean of the parameters. Batch-norm statistics are copied, never averaged from their start values."""

    def __init__(self, model: Model, decay: float) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.mean = model.copy() if decay else {}

    def update(self) -> None:
        import torch

        if not self.decay:
            return
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = self.model.tensors()
        learned = [name for name in now if name.startswith("head.") or name.removeprefix("network.") in self.model.moving]
        torch._foreach_lerp_([self.mean[name] for name in learned], [now[name] for name in learned], share)
        for name in now.keys() - set(learned):
            self.mean[name].copy_(now[name])

    def swap_in(self) -> dict[str, Any]:
        """Put the mean into the model; what was there before."""
        live = self.model.copy()
        if self.decay:
            self.model.load(self.mean)
        return live


def stages_above(network: Network, cut: str | None) -> dict[str, list[str]]:
    """Names of the parameters in each stage above ``cut``, by the place that it leads to, from the cut to the output."""
    names = [name for name, _ in network.module.named_parameters()]
    if not network.stages:
        return {"": names}
    places = [place for place, _ in network.stages]
    above = network.stages[places.index(cut) + 1 if cut is not None else 0 :]
    return {place: [name for name in names if name.startswith(tuple(prefixes))] for place, prefixes in above}


def views_of(backbone: Backbone, wanted: int) -> tuple[str, ...]:
    """The item as it is, and up to ``wanted`` − 1 of the other looks that its kind of input offers."""
    return ("", *registry.get("inputs", backbone.card.kind)().views(max(0, wanted - 1)))


def probe_views(lens: Lens, wanted: int, items: int) -> tuple[str, ...]:
    """The views that a linear head learns from: up to ``wanted``, fewer where there are many ``items``, which gain little."""
    if len(lens.reads) != 1:
        return ("",)
    return views_of(lens.backbone, int(np.clip(LOOKS // max(1, items), 1, wanted)))


def states_of(lens: Lens, examples: Examples, cut: str | None, *, view: str = "") -> Sequence[np.ndarray]:
    """What the network is trained on, item by item: prepared inputs, or the cached states at the cut."""
    if cut is not None:
        return lens.store.states(lens.backbone, examples, cut, view=view)
    from headstart.features import Features

    found = lens.backbone.prepare(examples.inputs, view=view)
    return found.parts() if isinstance(found, Features) else list(found)


@dataclass(frozen=True, eq=False)
class NetworkScorer:
    """A trained network's raw scores, averaged over ``views`` of each item (a photo and its mirror image)."""

    model: Model
    views: tuple[str, ...] = ("",)
    unit: str = "item"

    def scores(self, examples: Examples, lens: Lens) -> Features:
        from headstart.features import Features

        rows, counts = [np.zeros((0, self.model.head.out_features))], [np.zeros(0, dtype=int)]
        for start in range(0, len(examples), PART):
            part = examples.take(np.arange(start, min(start + PART, len(examples))))
            views = [self.model.predict(states_of(lens, part, self.model.cut, view=view)) for view in self.views]
            rows.append(np.mean([view.rows for view in views], axis=0))
            counts.append(np.diff(views[0].offsets))
        return Features(np.concatenate(rows), np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(int))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The tensors above the cut and the head; whatever did not move is the backbone's."""
        arrays = {name: value.numpy().copy() for name, value in self.model.tensors().items()}
        learned = {
            "scorer": "network",
            "cut": self.model.cut,
            "views": list(self.views),
            "statistics": self.model.statistics,
            "unit": self.unit,
        }
        return learned, arrays

    @classmethod
    def restore(
        cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens, *, network: Network | None = None
    ) -> NetworkScorer:
        """The scorer that ``state`` describes, on ``network`` (the lens's own, unless something was built into it)."""
        import torch

        unit, width = state.get("unit", "item"), len(arrays["head.bias"])
        network = network or lens.backbone.network(unit=unit)
        moving = [name for name, _ in network.module.named_parameters() if f"network.{name}" in arrays]
        model = Model.of(network, width, cut=state["cut"], statistics=state["statistics"], moving=moving)
        model.load({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        model.mode(training=False)
        return cls(model, tuple(state["views"]), unit)


@contextmanager
def contained(threads: int) -> Iterator[None]:
    """Within the block, torch uses at most ``threads`` threads; afterwards its global state is as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(threads, before)))
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
