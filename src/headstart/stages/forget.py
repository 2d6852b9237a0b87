"""What tuning cost the base: how much of what it could do before, it still does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from headstart import registry
from headstart._linear import Decomposition
from headstart._network import Model, NetworkScorer, states_of
from headstart.errors import NotAdmissible
from headstart.evidence import Forgetting
from headstart.features import Lens
from headstart.problem import Examples
from headstart.stages._references import Reference, reference
from headstart.strategy import Predictor

MOST = 200  # items: enough to see a loss of some points, in seconds


def forgetting(predictor: Predictor, examples: Examples, *, known: Reference | None = None) -> Forgetting:
    """What the tuned network in ``predictor`` has lost of what its base could do.

    A base with classes of its own is asked about up to 200 of ``examples``, which need no labels: on how many does its
    classifier, put on the tuned rows, still give the answer that it gives on the base's rows (Li & Hoiem 2016 train for
    that), and how far apart are the two distributions? Any other base is measured on ``known``, a labelled task that it was
    not tuned for: by how much does the exact leave-one-out accuracy of a linear head on its last rows drop? By default that
    is a set that is on every machine, the same for every problem.

    ``NotAdmissible`` where there is no tuned network of a pre-trained base, where its rows stand for words, or where there is
    nothing to measure it on.
    """
    tuned = _tuned(predictor)
    before = Model.of(predictor.lens.backbone.network(), 1, cut=tuned.cut)
    classifier = before.network.classifier
    if classifier:
        own, plural = _some(examples), registry.get("inputs", examples.kind)().plural
        head = before.network.module.get_submodule(classifier)
        outputs = [_log_softmax(_with(head, model, own, predictor.lens)) for model in (before, tuned)]
        return _answers(*outputs, backbone=predictor.lens.title, reference=plural)
    known = known or reference(examples.kind)
    if known is None:
        raise NotAdmissible(
            f"{predictor.lens.title} has no classes of its own, and no reference task for the kind '{examples.kind}' comes with "
            "Headstart. Give `known`: labelled items of something else."
        )
    labels = np.unique([str(target) for target in known.examples.targets], return_inverse=True)[1]
    right = [_named(_rows(model, known.examples, predictor.lens), labels) for model in (before, tuned)]
    return _probes(*right, backbone=predictor.lens.title, reference=known.title)


def _tuned(predictor: Predictor) -> Model:
    scorer, reads = predictor.scorer, predictor.lens.reads
    if not isinstance(scorer, NetworkScorer) or not reads or not predictor.lens.backbone.pretrained:
        raise NotAdmissible(
            f"'{predictor.strategy.name}' shipped no tuned network of a pre-trained base, so nothing was forgotten. "
            "Only such a predictor can be asked."
        )
    if scorer.unit != "item":
        raise NotAdmissible("The rows of this network stand for words; forgetting is measured on whole items only.")
    return scorer.model


def _some(examples: Examples) -> Examples:
    """Up to ``MOST`` of them, evenly spread."""
    return examples.take(np.unique(np.linspace(0, len(examples) - 1, min(MOST, len(examples))).round().astype(int)))


def _rows(model: Model, examples: Examples, lens: Lens) -> np.ndarray:
    """The network's last rows (items, width), float64. Both networks go on from the same cached states."""
    import torch

    return replace(model, head=torch.nn.Identity()).predict(states_of(lens, examples, model.cut)).rows


def _with(classifier: Any, model: Model, examples: Examples, lens: Lens) -> np.ndarray:
    """Raw scores of the base's own classes on the rows of ``model``."""
    weight, bias = (part.detach().double().numpy() for part in (classifier.weight, classifier.bias))
    return _rows(model, examples, lens) @ weight.T + bias


def _log_softmax(raw: np.ndarray) -> np.ndarray:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(raw, axis=1))


def _named(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which items a linear head that has not seen them names rightly."""
    _, left_out = Decomposition.of(rows).select(np.eye(labels.max() + 1)[labels])
    return left_out.argmax(axis=1) == labels


def _answers(before: np.ndarray, after: np.ndarray, *, backbone: str, reference: str) -> Forgetting:
    same = before.argmax(axis=1) == after.argmax(axis=1)
    divergence = float((np.exp(before) * (before - after)).sum(axis=1).mean())
    return Forgetting(backbone, "answers", reference, len(same), 1.0, float(same.mean()), _error(~same), divergence)


def _probes(before: np.ndarray, after: np.ndarray, *, backbone: str, reference: str) -> Forgetting:
    lost = before.astype(float) - after
    return Forgetting(backbone, "probe", reference, len(lost), float(before.mean()), float(after.mean()), _error(lost), None)


def _error(lost: np.ndarray) -> float:
    """One standard error of the mean of ``lost``."""
    return float(np.std(lost) / np.sqrt(len(lost)))
