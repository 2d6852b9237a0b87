"""Headstart: is a pre-trained model worth it for your data, which one, how much of it, and how? Answered with evidence.

    import headstart

    problem, exam = headstart.read("photos/")
    run = headstart.transfer(problem, exam=exam)
    print(run.verdict)

Names are loaded when they are first used: importing this package imports nothing heavy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime writes a device id and may report usage unless this is set before its import. Nothing leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_HOME = {
    "transfer": "workflow",
    "admissible": "workflow",
    "read": "stages.read",
    "read_examples": "stages.read",
    "from_arrays": "readers.arrays",
    "rank": "stages.rank",
    "locate": "stages.locate",
    "extract": "stages.extract",
    "adapt": "stages.adapt",
    "choose": "stages.choose",
    "compare": "stages.compare",
    "judge": "stages.judge",
    "estimate": "stages.estimate",
    "mistakes": "stages.mistakes",
    "predict": "stages.predict",
    "export": "stages.export",
    "Items": "problem",
    "Examples": "problem",
    "Exam": "problem",
    "Problem": "problem",
    "Options": "readers",
    "Card": "backbone",
    "Tap": "backbone",
    "Backbone": "backbone",
    "FeatureStore": "features",
    "Features": "features",
    "Lens": "features",
    "Profile": "features",
    "Limits": "strategy",
    "Plan": "strategy",
    "Recipe": "strategy",
    "Strategy": "strategy",
    "Predictor": "strategy",
    "Ranking": "evidence",
    "Trial": "evidence",
    "Choice": "evidence",
    "Evidence": "evidence",
    "Verdict": "evidence",
    "Run": "run",
    "HeadstartClassifier": "estimator",
    "HeadstartRegressor": "estimator",
    "Event": "_events",
    "HeadstartError": "errors",
    "ProblemError": "errors",
    "UnknownName": "errors",
    "MissingExtra": "errors",
    "NotAdmissible": "errors",
    "OutOfBudget": "errors",
    "RunError": "errors",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from headstart._events import Event as Event
    from headstart.backbone import Backbone as Backbone
    from headstart.backbone import Card as Card
    from headstart.backbone import Tap as Tap
    from headstart.errors import HeadstartError as HeadstartError
    from headstart.evidence import Choice as Choice
    from headstart.evidence import Evidence as Evidence
    from headstart.evidence import Ranking as Ranking
    from headstart.evidence import Trial as Trial
    from headstart.evidence import Verdict as Verdict
    from headstart.features import FeatureStore as FeatureStore
    from headstart.features import Lens as Lens
    from headstart.features import Profile as Profile
    from headstart.problem import Exam as Exam
    from headstart.problem import Examples as Examples
    from headstart.problem import Items as Items
    from headstart.problem import Problem as Problem
    from headstart.run import Run as Run
    from headstart.stages.read import read as read
    from headstart.strategy import Limits as Limits
    from headstart.strategy import Plan as Plan
    from headstart.strategy import Predictor as Predictor
    from headstart.strategy import Recipe as Recipe
    from headstart.workflow import transfer as transfer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"headstart.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
