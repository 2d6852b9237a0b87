"""How well the model's own classes tell the new ones (LEEP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headstart.rankers._classes import expected_log_likelihood

if TYPE_CHECKING:
    from headstart.rankers import Seen


def score(seen: Seen) -> float | None:
    """Mean log probability of the label, told from the model's own class probabilities alone (Nguyen et al. 2020).

    At most 0; minus the entropy of the labels when its classes say nothing. None for a model without a head, and unless each
    row has one class. Row weights count. *Prefer* it *when* the model's own classes are close to yours.
    """
    if seen.outputs is None or seen.labels is None:
        return None
    return expected_log_likelihood(seen.outputs, seen.labels, seen.found.weights)
