"""The pre-trained model as Headstart sees it: a card, an ordered list of taps, and ways to run between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

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
    of what stands there. A ``resumable`` tap is one that the network can continue from: everything after it is a
    function of the state there. ``labels`` name the columns where the tap is the model's own output.
    """

    name: str
    depth: float
    width: int
    pooling: str = "mean"
    resumable: bool = True
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A torch network that can be cut at any resumable tap: ``above(below(x, tap), tap)`` is the whole.

    ``module`` owns every parameter. ``below(x, tap)`` takes a prepared batch (what ``Backbone.prepare`` gives, as a
    tensor) to the state at ``tap`` (``None``: the input itself); ``above(state, tap)`` continues to the pooled row of the
    last feature tap, (n, ``width``). ``stages`` lists (tap name, parameter name prefix) from input to output, so that a
    freeze plan can name what moves.
    """

    module: Any
    below: Any
    above: Any
    width: int
    stages: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


class Backbone(Protocol):
    """What every backbone offers. Frozen: nothing here changes a parameter of it.

    ``fingerprint`` identifies weights and preprocessing. ``pretrained`` is False for random weights.
    """

    @property
    def card(self) -> Card: ...

    @property
    def taps(self) -> tuple[Tap, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def pretrained(self) -> bool: ...

    def spec(self) -> dict[str, str]:
        """What makes this backbone this one: its card's name and its fingerprint."""

    def prepare(self, inputs: Sequence[Any], *, view: str = "") -> Any:
        """Loaded, sized inputs as one array of a fixed shape per item (images: uint8, (n, side, side, 3)).

        ``view`` names an augmentation; the empty one is the item as it is. The same item and view give the same bits.
        """

    def features(self, inputs: Sequence[Any], taps: Sequence[str], *, view: str = "") -> dict[str, Features]:
        """Pooled rows at each of ``taps``, from one pass. An item's row depends on nothing but the item."""

    def states(self, inputs: Sequence[Any], tap: str, *, view: str = "") -> Any:
        """The whole state at a resumable ``tap``: an array (n, …)."""

    def network(self, *, seed: int = 0) -> Network:
        """A new torch copy that may be trained: with these weights, or random ones from ``seed`` when not pretrained."""

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


def feature_taps(backbone: Backbone) -> tuple[Tap, ...]:
    """The taps that are features, not the model's own named outputs."""
    return tuple(tap for tap in backbone.taps if not tap.labels)
