"""The pre-trained model as Headstart sees it: a card, an ordered list of taps, and ways to run between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from headstart.features import Features


@dataclass(frozen=True)
class Card:
    """What is known about a model before it is run.

    ``preprocessing`` is exact and part of the identity: another size or normalisation is another backbone. ``prior`` is a
    published score on the model's own data (0..1), used only to break ties and shown as the baseline to beat. ``until``
    is the last day (ISO) of the data it was trained on, ``items`` their fingerprints where they are known: an exam that
    holds one of them, or begins before ``until``, is refused.
    """

    name: str
    kind: str
    trained_on: str
    licence: str
    parameters: int
    weights_bytes: int
    preprocessing: dict[str, Any]
    origin: str = ""
    prior: float | None = None
    until: str | None = None
    items: frozenset[str] = frozenset()
    notes: str = ""


@dataclass(frozen=True)
class Tap:
    """A place where the network can be read.

    ``depth`` runs from 0 (input) to 1 (output). ``width`` is the length of a pooled row, ``pooling`` how the row is made
    of what stands there, ``unit`` what one row stands for: the whole ``item``, or each ``word`` of a text. A ``resumable``
    tap is one that the network can continue from: everything after it is a function of the state there. ``labels`` name
    the columns where the tap is the model's own output.

    One place can be read in several ways: ``layer4``, ``layer4:first``, ``layer4:words``. What follows the colon is the
    ``table``: taps of one table have the same units, come from one pass and are kept together.
    """

    name: str
    depth: float
    width: int
    pooling: str = "mean"
    resumable: bool = True
    labels: tuple[str, ...] = ()
    unit: str = "item"

    @property
    def place(self) -> str:
        """Where in the network it stands, however it is pooled: the name that cuts and states go by."""
        return self.name.partition(":")[0]

    @property
    def table(self) -> str:
        return self.name.partition(":")[2]


def _stacked(states: Sequence[np.ndarray]) -> Any:
    """A batch of states that all have one shape: half precision (how they are stored) becomes single, bytes stay bytes."""
    import torch

    found = torch.from_numpy(np.stack(states))
    return found.float() if found.is_floating_point() else found


def _one(state: np.ndarray) -> int:
    return 1


@dataclass(frozen=True)
class Network:
    """A torch network that can be cut at any resumable tap: ``above(below(x, tap), tap)`` is the whole.

    ``module`` owns every parameter. ``below(x, tap)`` takes a prepared batch (what ``Backbone.prepare`` gives, as a
    tensor) to the state at ``tap`` (``None``: the input itself); ``above(state, tap)`` continues to the rows of the last
    feature tap of the unit that the network was made for: (units, ``width``). ``collate`` makes a batch of the states (or
    prepared inputs) of single items, ``count`` says how many units one of them has. ``stages`` lists (place, parameter name
    prefixes) from input to output, so that a freeze plan can name what moves. ``rate`` is the learning rate of AdamW that
    suits pre-trained weights of this family. ``classifier`` names the submodule that makes the rows of single items into raw
    scores of the base's own classes; empty where it has none.
    """

    module: Any
    below: Any
    above: Any
    width: int
    stages: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())
    collate: Callable[[Sequence[np.ndarray]], Any] = _stacked
    count: Callable[[np.ndarray], int] = _one
    rate: float = 1e-3
    classifier: str = ""


class Backbone(Protocol):
    """What every backbone offers. Frozen: nothing here changes a parameter of it.

    ``fingerprint`` identifies weights and preprocessing. ``pretrained`` is False for random weights, ``trainable`` for a
    model that can only be read. ``shard`` is how many items are computed and kept at a time; a kill loses at most these.
    """

    @property
    def card(self) -> Card: ...

    @property
    def taps(self) -> tuple[Tap, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def pretrained(self) -> bool: ...

    @property
    def trainable(self) -> bool: ...

    @property
    def shard(self) -> int: ...

    def spec(self) -> dict[str, str]:
        """What makes this backbone this one: its card's name and its fingerprint."""

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> Any:
        """What the network takes: an array with one entry an item (images: uint8, (n, side, side, 3)), or ``Features`` where
        items differ in length (texts: a row a word piece).

        ``view`` names an augmentation; the empty one is the item as it is. The same item and view give the same bits.
        """

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Pooled rows at each of ``taps``, from one pass. An item's rows depend on nothing but the item."""

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Any:
        """The whole state at a resumable ``tap``: an array (n, …), or ``Features`` where items differ in length."""

    def remarks(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        """What is done to some of these inputs that their owner should know: sentences."""

    def network(self, *, seed: int = 0, unit: str = "item") -> Network:
        """A new torch copy that may be trained: with these weights, or random ones from ``seed`` when not pretrained. Its
        rows stand for ``unit``; ``NotAdmissible`` where the model has no such rows."""

    def untrained(self, *, slim: bool = False) -> Backbone:
        """The same backbone with random weights; ``slim`` at a size that a little data can train."""

    def onnx(self, module: Any | None = None, *, tap: str | None = None) -> Any:
        """The ONNX graph from prepared input to the row at ``tap`` (None: the last feature tap), with ``module``'s weights
        if given."""


def tap_named(backbone: Backbone, name: str) -> Tap:
    """The tap called ``name``; ``UnknownName`` with the nearest if there is none."""
    for tap in backbone.taps:
        if tap.name == name:
            return tap
    from headstart.errors import UnknownName

    raise UnknownName.of(f"tap of {backbone.card.name}", name, [tap.name for tap in backbone.taps])


def feature_taps(backbone: Backbone, unit: str = "item") -> tuple[Tap, ...]:
    """The taps whose rows stand for ``unit``, from input to output, pooled the model's own way.

    Left out are its named outputs and other ways to pool. Raises ``NotAdmissible`` if it has no rows for ``unit``.
    """
    from headstart.errors import NotAdmissible

    found = [tap for tap in backbone.taps if not tap.labels and tap.unit == unit]
    if not found:
        raise NotAdmissible(f"'{backbone.card.name}' has no row for each {unit}. Choose a backbone that has.")
    return tuple(tap for tap in found if tap.table == found[-1].table)
