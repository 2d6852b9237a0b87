"""A network that is trained from a cut upward, with a linear head: what moves, what is stored, what it predicts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from headstart.backbone import Backbone, Network
    from headstart.features import Features, Lens
    from headstart.problem import Examples

CHUNK = 32  # rows a prediction batch, always filled up: a row's score does not depend on how many are asked for
PART = 1024  # items whose inputs are in memory at once while predicting


@dataclass(frozen=True, eq=False)
class Model:
    """A network that is trained above ``cut`` (None: all of it) and a linear head on its last feature row.

    ``still`` names stages above the cut that do not move either. ``statistics`` says whether batch-norm layers keep learning
    their running means; otherwise they stay in eval mode.
    """

    network: Network
    head: Any
    cut: str | None = None
    statistics: bool = True
    still: tuple[str, ...] = ()
    moving: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        network: Network,
        width: int,
        *,
        cut: str | None = None,
        statistics: bool = True,
        still: Collection[str] = (),
    ) -> Model:
        """The model with a head of zeros. Whatever does not move stops asking for gradients."""
        import torch

        head = torch.nn.Linear(network.width, width)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        above = stages_above(network, cut)
        moving = tuple(name for place, names in above.items() if place not in still for name in names)
        for name, parameter in network.module.named_parameters():
            parameter.requires_grad_(name in moving)
        return cls(network, head, cut, statistics, tuple(still), moving)

    def scores(self, states: Any) -> Any:
        """Raw scores (units, K) of a batch of states at the cut."""
        return self.head(self.network.above(states, self.cut))

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


def stages_above(network: Network, cut: str | None) -> dict[str, list[str]]:
    """Names of the parameters in each stage above ``cut``, by the place that it leads to, from the cut to the output."""
    names = [name for name, _ in network.module.named_parameters()]
    if not network.stages:
        return {"": names}
    places = [place for place, _ in network.stages]
    above = network.stages[places.index(cut) + 1 if cut is not None else 0 :]
    return {place: [name for name in names if name.startswith(tuple(prefixes))] for place, prefixes in above}


def views_of(backbone: Backbone, wanted: int) -> tuple[str, ...]:
    """The item as it is, and up to ``wanted`` − 1 augmented views of its kind: a mirror image, then crops."""
    views = ("flip", *(f"crop-{k}{'-flip' * (k % 2)}" for k in range(1, wanted))) if backbone.card.kind == "image" else ()
    return ("", *views[: max(0, wanted - 1)])


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
            "still": list(self.model.still),
            "unit": self.unit,
        }
        return learned, arrays

    @classmethod
    def restore(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> NetworkScorer:
        import torch

        unit, width = state.get("unit", "item"), len(arrays["head.bias"])
        network = lens.backbone.network(unit=unit)
        still = tuple(state.get("still", ()))
        model = Model.of(network, width, cut=state["cut"], statistics=state["statistics"], still=still)
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
