"""What the layers show of an item is pulled back to what they first showed."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from headstart._network import stages_above
from headstart.errors import NotAdmissible
from headstart.tuning._start import Start

if TYPE_CHECKING:
    from headstart._training import Penalty, Step, Work
    from headstart.backbone import Network

FEW = 64  # rows that show how much each channel matters


@dataclass(frozen=True)
class Delta:
    """Adds ``pull`` · Σ w ‖FM(θ) − FM(θ₀)‖² over the channels of each stage above the cut (Li et al. 2019).

    FM is what the stage's last norm gives, squares are averaged over the items and places of a batch, and the w of a stage
    have sum 1. They are equal; with ``attention`` they are the softmax of how much the loss rises without the channel, by
    its slope on the first 64 training rows (a pass without each channel would cost thousands; where training starts from a
    head of zeros no channel matters, and they are equal too). Each step costs one more forward pass. *Prefer it when* there
    are few labels and the base is close to the task, but weights must be free to move: it holds what layers say, not how.
    """

    pull: float = 1.0
    attention: bool = False

    name: ClassVar[str] = "delta"
    slot: ClassVar[str] = "term"

    def start(self, work: Work) -> Penalty:
        places = _places(work.model.network, work.model.cut)
        if not places:
            raise NotAdmissible("'delta' needs norm or linear layers above the cut, and there are none. Use 'l2_sp'.")
        weights = _attention(work, places) if self.attention else {}
        maps, start = _Maps.of(work.model.network, places), Start.of(work.model)

        def penalty(step: Step) -> Any:
            with start.back():
                work.model.rows(step.inputs)
            apart = {place: ((now - maps.first[place]) ** 2).mean(dim=0) for place, now in maps.now.items()}
            return self.pull * sum((one * weights.get(place, 1 / len(one))).sum() for place, one in apart.items())

        return penalty


def _places(network: Network, cut: str | None) -> list[str]:
    """The last norm of each stage above the cut, by its module's name; the last linear layer of a stage without a norm."""
    from torch import nn

    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    found, modules = [], [(name, module) for name, module in network.module.named_modules() if name]
    for names in stages_above(network, cut).values():
        own = [(name, module) for name, module in modules if any(one.startswith(f"{name}.") for one in names)]
        last = [name for name, module in own if isinstance(module, norms)]
        found += (last or [name for name, module in own if isinstance(module, nn.Linear)])[-1:]
    return found


def _channels_last(module: Any, found: Any) -> Any:
    """(…, channels): layer norms and linear layers have it so, others the channels in second place."""
    from torch import nn

    return found if isinstance(module, (nn.LayerNorm, nn.Linear)) else found.movedim(1, -1)


@dataclass(eq=False)
class _Maps:
    """Rows (positions, channels) at each place: ``now`` in the last pass that kept gradients, ``first`` in the last that did
    not. The hooks go when this goes: the network outlives its training."""

    now: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, places: list[str]) -> _Maps:
        made = cls()
        now, first = made.now, made.first  # not ``made`` itself, which the hooks would keep alive

        def hook(place: str) -> Any:
            def keep(layer: Any, _: Any, found: Any) -> None:
                rows = _channels_last(layer, found)
                (now if rows.requires_grad else first)[place] = rows.reshape(-1, rows.shape[-1])

            return network.module.get_submodule(place).register_forward_hook(keep)

        handles = [hook(place) for place in places]
        weakref.finalize(made, lambda: [handle.remove() for handle in handles])
        return made


def _attention(work: Work, places: list[str]) -> dict[str, Any]:
    """The softmax, over a place's channels, of how much the loss rises when one is taken away, to first order."""
    import torch

    module, gates, handles = work.model.network.module, {}, []

    def gate(place: str) -> Any:
        def scale(layer: Any, _: Any, found: Any) -> Any:
            rows = _channels_last(layer, found)
            gates[place] = torch.ones(rows.shape[-1], requires_grad=True)
            return (rows * gates[place]).movedim(-1, 1) if rows is not found else found * gates[place]

        return module.get_submodule(place).register_forward_hook(scale)

    work.model.mode(training=False)
    try:
        handles = [gate(place) for place in places]
        inputs, encoded, weights = work.batches(work.rows[:FEW], None)
        loss = (work.task.loss(work.model.scores(inputs), encoded) * weights).mean()
    finally:
        for handle in handles:
            handle.remove()
    slopes = torch.autograd.grad(loss, list(gates.values()), allow_unused=True)
    return {place: (-slope).softmax(0) for place, slope in zip(gates, slopes, strict=True) if slope is not None}
