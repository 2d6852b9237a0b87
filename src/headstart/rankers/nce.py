"""Uncertainty that the model's own answer leaves about the label (NCE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from headstart.rankers import Seen


def score(seen: Seen) -> float | None:
    """Negative conditional entropy −H(label | the model's most probable class), in nats (Tran et al. 2019).

    At most 0; minus the entropy of the labels when its classes say nothing. None for a model without a head, and unless each
    row has one class. Row weights count. *Prefer* ``leep``; this one *when* the head's probabilities are not calibrated,
    for it reads only which class is largest.
    """
    if seen.outputs is None or seen.labels is None:
        return None
    answers = np.unique(seen.outputs.argmax(axis=1), return_inverse=True)[1]
    joint = np.zeros((answers.max() + 1, seen.labels.max() + 1))
    np.add.at(joint, (answers, seen.labels), seen.found.weights)
    told = joint / joint.sum(axis=1, keepdims=True)
    return float((joint * np.log(np.where(told > 0, told, 1.0))).sum() / joint.sum())
