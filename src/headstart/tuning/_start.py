"""What terms know of the base: the network as it was when the training began, and its own classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.errors import NotAdmissible

if TYPE_CHECKING:
    from headstart._network import Model
    from headstart._training import Work


@dataclass(frozen=True, eq=False)
class Start:
    """The first weights of what moves. Within ``back`` the network has them again, and no gradients are kept.

    The way through a network is bound to its own module, so that it cannot be copied; and one network fits in less memory
    than two.
    """

    moving: list[Any]
    first: list[Any]

    @classmethod
    def of(cls, model: Model) -> Start:
        moving = model.parameters()
        return cls(moving, [parameter.detach().clone() for parameter in moving])

    @contextmanager
    def back(self) -> Iterator[None]:
        import torch

        live = [parameter.data for parameter in self.moving]
        _give(self.moving, self.first)
        try:
            with torch.no_grad():
                yield
        finally:
            _give(self.moving, live)


def _give(parameters: list[Any], values: list[Any]) -> None:
    # Other storage, no copy: what a backward pass to come has kept of the live weights stays as it is.
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value


def own_classifier(work: Work) -> Any:
    """The base's own classifier, from feature rows to the raw scores of its own classes; None where it has none."""
    name = work.model.network.classifier
    return work.model.network.module.get_submodule(name) if name else None


def required_classifier(work: Work, part: str) -> Any:
    """The same; ``NotAdmissible`` where it has none, for the ``part`` of that name."""
    found = own_classifier(work)
    if found is None:
        raise NotAdmissible(
            f"'{part}' needs a base with classes of its own, and this one has none. "
            "Choose a base that ends in a classifier (an image model trained on ImageNet), or use 'l2_sp'."
        )
    return found
