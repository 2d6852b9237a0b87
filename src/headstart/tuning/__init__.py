"""Parts of fine-tuning: what moves, what is added to the loss, what is averaged at the end. A file each; the file bears the
registered name.

``fine_tune`` has one ``moves`` part, any number of ``term`` parts and one ``average`` part. ``--strategy lora`` is
``fine_tune`` with that part; ``--strategy lora:rank=4+l2_sp`` has two. A part is a frozen dataclass of hyper-parameters
whose ``slot`` says what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np

    from headstart._training import Penalty, Work
    from headstart.backbone import Network
    from headstart.features import Lens, Move

TABLE = {
    "layer_decay": "LayerDecay",
    "full": "Full",
    "partial": "Partial",
    "gradual": "Gradual",
    "bitfit": "BitFit",
    "norm_only": "NormOnly",
    "lora": "LoRA",
    "l2_sp": "L2SP",
    "delta": "Delta",
    "bss": "BSS",
    "co_tuning": "CoTuning",
    "learning_without_forgetting": "LearningWithoutForgetting",
    "ewc": "EWC",
    "wise_ft": "WiseFT",
    "soup": "Soup",
    "last": "Last",
}


@dataclass(frozen=True)
class Speed:
    """Parameters, by name, that move at ``share`` of the learning rate, from ``wait`` of the schedule on."""

    names: tuple[str, ...]
    share: float = 1.0
    wait: float = 0.0


class Moves(Protocol):
    """What moves, and how fast. ``slot`` is ``"moves"``."""

    name: ClassVar[str]
    slot: ClassVar[str]

    def cut(self, lens: Lens) -> str | None:
        """The place below which nothing moves, so that it runs once; None where something moves right from the input."""

    def attach(self, network: Network, cut: str | None) -> None:
        """Build into ``network`` what is to move and is not there yet; a network that only predicts gets it too."""

    def speeds(self, network: Network, cut: str | None, plan: Sequence[Move]) -> list[Speed]:
        """Everything that moves, the head left out. ``plan`` is what ``locate`` advises, stage by stage; it may be empty."""


class Term(Protocol):
    """What is added to the loss. ``slot`` is ``"term"``; ``needs``, where it has some, is added to what ``fine_tune`` needs."""

    name: ClassVar[str]
    slot: ClassVar[str]

    def start(self, work: Work) -> Penalty:
        """The penalty of a batch, for a training that is about to begin: the model in ``work`` has its first weights.

        ``NotAdmissible`` if the base or the task has not what this term needs.
        """


class Average(Protocol):
    """What is averaged at the end. ``slot`` is ``"average"``; one training is run at each of ``rates`` (times the rate)."""

    name: ClassVar[str]
    slot: ClassVar[str]
    rates: tuple[float, ...]

    def weigh(self, runs: int, loss: Callable[[np.ndarray], float] | None) -> np.ndarray:
        """The share of the probe and of each run's weights in what ships: (1 + ``runs``,), not negative, with sum 1.

        ``loss`` is the held-out log-loss of given shares; None where nothing could be held out.
        """


def part_named(text: str) -> Any:
    """The part that ``text`` names, with settings where it gives some: ``lora:rank=4``."""
    from headstart.strategy import plugin_named

    return plugin_named("tuning", text)
