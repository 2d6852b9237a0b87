"""The report: made from records alone, complete, safe whatever the names are, and the same bytes every time."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from headstart import _io, report
from headstart.errors import RunError
from headstart.evidence import Arm, Candidate, Cell, Evidence, Interval, Ranking, Trial, Verdict
from headstart.features import Profile, TapScore
from headstart.report import _page
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression

GARMENTS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "line\nbreak\ttab",
    "../../etc/passwd",
    "' onmouseover='alert(1)",
    "\u202egnirts desrever",
    "x" * 5000,
    "</title></style><script>",
    "&lt;b&gt; &amp;",
    "lone \ud800 surrogate",
)
WITH, WITHOUT = "linear_probe on efficientnet_lite0", "plain"


def a_run(folder: Path, *, classes: tuple[str, ...] = GARMENTS, name: str = "clothing") -> Path:
    """A finished run, as `transfer` leaves it: 10 garments, 400 training and 200 exam images."""
    rng = np.random.default_rng(7)
    evidence = _evidence(classes, rng)
    evidence.save(folder)
    records = {
        "run": _run(classes, name),
        "ranking": _ranking(),
        "profile": _profile(),
        "choice": {
            "worth": "base",
            "challenger": WITH,
            "incumbent": WITHOUT,
            "inner_scores": {WITH: 0.8125, WITHOUT: 0.5375},
            "cheaper": WITHOUT,
            "reason": "",
        },
        "verdict": _verdict(evidence),
        "mistakes": [_mistake(i, classes) for i in range(12)],
    }
    for stage, record in records.items():
        _io.write_json(folder / f"{stage}.json", record)
    for i, trial in enumerate(_trials(rng)):
        _io.write_json(folder / "trials" / f"{i}.json", trial.to_dict())
    _io.write_text(folder / "events.jsonl", "".join(json.dumps(event) + "\n" for event in _events(classes)))
    (folder / "predictor").mkdir()
    return folder


def _evidence(classes: tuple[str, ...], rng: np.random.Generator) -> Evidence:
    task = Classification(classes=classes)
    truth = np.repeat(np.arange(len(classes)), 20)

    def answers(right: float) -> np.ndarray:
        near = np.where(rng.random(len(truth)) < 0.6, (truth + 2) % len(classes), rng.integers(0, len(classes), len(truth)))
        chosen = np.where(rng.random(len(truth)) < right - 0.03 * (truth % 4), truth, near)
        return np.stack([chosen == truth, truth, chosen], axis=1).astype(float)

    cells = [Cell(WITH, seconds=1.3), *(Cell(WITHOUT, seed=s, seconds=2.1) for s in range(3))]
    outcomes = np.stack([answers(0.86), *(answers(0.58) for _ in range(3))])
    arms = (Arm(WITH, ("base",), True, {}), Arm(WITHOUT, (), False, {}))
    items = tuple(f"exam/{classes[c][:40]}/{i:03d}.jpg" for i, c in enumerate(truth))
    light = np.where(rng.random(len(truth)) < 0.7, "day", "night").astype(object)
    return Evidence(
        task,
        "base",
        arms,
        tuple(cells),
        outcomes,
        np.array(items, dtype=object),
        {"light": light},
        items,
        "e1",
        400,
        "images",
    )


def _verdict(evidence: Evidence) -> Verdict:
    ours, theirs = evidence.score(WITH), evidence.score(WITHOUT)
    gain = ours - theirs

    def around(value: float, half: float) -> Interval:
        return Interval(value, value - half, value + half)

    refits = {f"fold/{i // 5}/{i % 5}": gain + 0.02 * (-1) ** i * (i % 3) for i in range(10)}
    sentence = (
        f"Transfer helps: {WITH} scores {ours:.2f} against {theirs:.2f} for {WITHOUT} without pre-training "
        f"(gain {gain:.2f}, 95 % interval {gain - 0.081:.2f} to {gain + 0.081:.2f}; 200 exam images, 400 training images, "
        "3 seeds, training draw included)."
    )
    return Verdict(
        worth="base",
        outcome="helps",
        sentence=sentence,
        reason="The whole interval of the gain lies above 0.",
        challenger=WITH,
        incumbent=WITHOUT,
        gain=around(gain, 0.081),
        pair=around(gain, 0.062),
        scope="recipes",
        scores={WITH: around(ours, 0.051), WITHOUT: around(theirs, 0.067)},
        margin=0.02,
        exam_items=200,
        seeds=3,
        ships=WITH,
        details={"n": 200, "kappa": 0.71, "midp": [0.0, 1.0], "V": 0.00031, "nu": 8, "alpha": 0.025, "draw_gains": refits},
    )


def _run(classes: tuple[str, ...], name: str) -> dict:
    stages = {"rank": 41.2, "locate": 3.4, "extract": 2.2, "adapt": 128.9, "compare": 31.0, "judge": 0.3, "report": 0.4}
    card = {"kind": "image", "trained_on": "ImageNet-1k", "parameters": 4_652_008, "weights_bytes": 18_826_032}
    return {
        "format": 1,
        "version": "0.1.0",
        "name": name,
        "created": "2026-05-04T10:11:12+00:00",
        "problem": {
            "task": Classification(classes=classes).spec(),
            "kind": "image",
            "plural": "images",
            "setting": "inductive",
            "counts": {"train": 400, "valid": 0, "exam": 200},
            "classes": dict.fromkeys(classes, 40),
        },
        "plan": {"seconds": 600.0, "folds": 5, "repeats": 2, "costly_folds": 1, "seeds": 3, "costly_seeds": 1},
        "backbones": [
            {**card, "name": "efficientnet_lite0", "licence": "Apache-2.0"},
            {**card, "name": "mobilenet_v2", "licence": "BSD-3"},
        ],
        "seconds": sum(stages.values()),
        "stages": stages,
        "peak_memory": 1_240_000_000,
        "machine": "2 cores, Linux x86_64",
    }


def _ranking() -> Ranking:
    def one(name: str, scores: tuple[float, float, float], mean_rank: float, prior: float) -> Candidate:
        return Candidate(
            name, dict(zip(("ridge_loo", "nearest", "logme"), scores, strict=True)), mean_rank, 11.0, 4652008, prior
        )

    found = (
        one("efficientnet_lite0", (0.797, 0.702, 1.214), 1.3, 0.751),
        one("efficientnet_lite2", (0.785, 0.705, 1.190), 2.0, 0.774),
        one("mobilenet_v2", (0.762, 0.671, 1.102), 3.3, 0.718),
    )
    return Ranking(found, 400, "efficientnet_lite2")


def _profile() -> Profile:
    depth = np.linspace(0.05, 1.0, 17)
    score = 0.28 + 0.55 * (1 - np.exp(-2.6 * depth)) - 0.05 * np.maximum(0, depth - 0.85) / 0.15
    taps = tuple(
        TapScore(f"blocks.{i}", float(d), 24 + 16 * i, float(s), float(2.2 - 1.6 * s), 0.019)
        for i, (d, s) in enumerate(zip(depth, score, strict=True))
    )
    return Profile(
        "efficientnet_lite0", taps, "blocks.14", "blocks.9", "The lowest loss; nothing above it is clearly better."
    )


def _trials(rng: np.random.Generator) -> list[Trial]:
    def one(recipe: str, uses: tuple[str, ...], score: float, seconds: float, folds: int = 10) -> Trial:
        scores = {f"{k // 5}/{k % 5}": round(float(rng.normal(score, 0.03)), 4) for k in range(folds)}
        return Trial(recipe, uses, {}, 0, "done", float(np.mean(list(scores.values()))), scores, seconds, 410_000_000)

    failure = Trial(
        "fine_tune on mobilenet_v2", ("base",), {}, 0, "failed", None, {}, 3.1,
        message="RunError: Cannot read /home/ann/secret/weights.pth: No such file. Fetch it again.",
    )  # fmt: skip
    return [
        one(WITH, ("base",), 0.8125, 4.2),
        one("nearest_mean on efficientnet_lite0", ("base",), 0.741, 0.8),
        one("fine_tune on efficientnet_lite0", ("base",), 0.80, 61.0, folds=1),
        one(WITHOUT, (), 0.5375, 9.6),
        one("scratch", (), 0.455, 48.3, folds=1),
        one("chance", (), 0.10, 0.0),
        failure,
    ]


def _events(classes: tuple[str, ...]) -> list[dict]:
    told = [("data", f"'/home/ann/photos/{classes[0]}/{i}.jpg' is truncated; it was skipped.") for i in range(4)]
    told += [("data", "2 exact duplicates of exam images were removed from the training images."), ("stage", "rank")]
    told += [("warning", "The graph of mobilenet_v2 is not cached, so later starts are slower.")]
    return [{"kind": kind, "message": message, "data": {}, "time": 1.0} for kind, message in told]


def _mistake(i: int, classes: tuple[str, ...]) -> dict:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 48, 3), 20 * i, np.uint8)).save(buffer, "JPEG")
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    truth, answer = classes[i % len(classes)], classes[(i + 2) % len(classes)]
    shown = f'<figure><img src="{source}" alt=""><figcaption>{i}.jpg</figcaption></figure>'
    return {"name": f"exam/{i}.jpg", "truth": truth, "answer": answer, "confidence": 0.97 - 0.03 * i, "html": shown}
