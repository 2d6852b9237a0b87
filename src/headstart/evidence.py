"""What was measured: Ranking, Trial, Choice, Evidence, Verdict. Records that outlive the models they speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart.errors import RunError

if TYPE_CHECKING:
    from headstart.strategy import Predictor, Recipe
    from headstart.tasks import Task

ALL = "all"


@dataclass(frozen=True)
class Interval:
    """A score or a gain with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One candidate in one heat of the race: after so many epochs, its score and log-loss on ``held`` rows held out.

    ``behind`` is its loss less that of the heat's best, on the same rows; None for the best itself.
    """

    epochs: int
    score: float
    loss: float
    held: int = 0
    behind: Interval | None = None

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Rung:
        return cls(**{**found, "behind": Interval(**found["behind"]) if found.get("behind") else None})


@dataclass(frozen=True)
class Candidate:
    """One backbone's promise: the mean of its ranks, each ranker's score, what it costs to read.

    ``interval`` is of the leave-one-out score of a linear head, ``behind`` of the leader's minus this one's, on the same
    rows. A ``tied`` one is not clearly worse than the leader. ``prior`` is the published score, ``past`` the mean place on
    ``past_problems`` other problems (0 the first, 1 the last). ``seconds`` is what reading took, ``whole`` what one pass over
    all the data takes (None: nothing had to be computed). ``raced`` has a rung for every heat it ran. ``tap`` is
    the layer at which it was scored.
    """

    backbone: str
    scores: Mapping[str, float | None]
    mean_rank: float
    seconds: float
    parameters: int
    prior: float | None = None
    note: str = ""
    interval: Interval | None = None
    behind: Interval | None = None
    tied: bool = False
    whole: float | None = None
    past: float | None = None
    past_problems: int = 0
    raced: tuple[Rung, ...] = ()
    tap: str = ""

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Candidate:
        intervals = {name: Interval(**found[name]) for name in ("interval", "behind") if found.get(name)}
        return cls(**{**found, **intervals, "raced": tuple(map(Rung.from_dict, found.get("raced", ())))})


@dataclass(frozen=True)
class Cost:
    """What tuning takes: numbers of parameters, bytes by what they are for, and seconds on this machine.

    ``moving`` parameters are trained. ``weights`` to ``inputs`` are bytes in memory while training, ``disk`` bytes of the cache.
    """

    recipe: str
    parameters: int
    moving: int
    weights: int
    gradients: int
    optimiser: int
    copies: int
    activations: int
    inputs: int
    disk: int
    seconds: float

    @property
    def memory(self) -> int:
        """Bytes in memory, all in all; what Python and its libraries take comes on top."""
        return self.weights + self.gradients + self.optimiser + self.copies + self.activations + self.inputs


@dataclass(frozen=True)
class LeftOut:
    """A backbone that takes no part in a ranking, and why."""

    backbone: str
    reason: str


@dataclass(frozen=True)
class Ranking:
    """Candidates, the most promising first. Empty when no backbone suits the kind of input.

    ``static_best`` is what is known without this data would choose, the baseline to beat: by published scores, or by places on
    other problems where ``static_from`` is ``"log"``. ``shortlist`` names what is worth tuning for real.
    """

    candidates: tuple[Candidate, ...]
    rows: int
    static_best: str | None = None
    reason: str = ""
    metric: str = ""
    static_from: str = "card"
    shortlist: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    conclusion: str = ""

    @property
    def best(self) -> str | None:
        return self.candidates[0].backbone if self.candidates else None

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Ranking:
        candidates = tuple(Candidate.from_dict(one) for one in found["candidates"])
        left_out = tuple(LeftOut(**one) for one in found.get("left_out", ()))
        return cls(
            **{**found, "candidates": candidates, "shortlist": tuple(found.get("shortlist", ())), "left_out": left_out}
        )


@dataclass(frozen=True, eq=False)
class Trial:
    """One recipe, scored on inner rows that its ``fit`` never saw, the same rows for every recipe.

    ``inner_score`` pools the folds of each repeat. ``fold_scores`` has the score of each fold by its draw name, None where a
    fold alone has no score. ``models`` are the fold predictors while they
    are in memory; ``compare`` lets them sit the exam for spread, never for choice.
    """

    recipe: str
    uses: tuple[str, ...]
    settings: dict[str, Any]  # what Recipe.spec says
    seed: int
    status: str  # "done" or "failed"
    inner_score: float | None
    fold_scores: Mapping[str, float | None]
    seconds: float
    peak_memory: int = 0
    message: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Predictor] = field(default_factory=dict, repr=False)

    def spec(self) -> dict[str, Any]:
        """What makes this trial this one; not how long it took."""
        found = self.to_dict()
        return {name: found[name] for name in ("recipe", "settings", "seed", "status", "fold_scores")}

    def to_dict(self) -> dict[str, Any]:
        skipped = {"models"}
        return {name: _io.plain(value) for name, value in vars(self).items() if name not in skipped}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Trial:
        return cls(**{**found, "uses": tuple(found["uses"])})


@dataclass(frozen=True, eq=False)
class Choice:
    """The two finalists for one question, named before the exam opens. Either may be missing.

    ``challenger`` is the best recipe that uses the ingredient, ``incumbent`` the best that does not, by mean inner score.
    """

    worth: str
    challenger: Recipe | None
    incumbent: Recipe | None
    inner_scores: Mapping[str, float | None]
    cheaper: str
    reason: str = ""

    @property
    def arms(self) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in (self.challenger, self.incumbent) if recipe is not None)

    def spec(self) -> dict[str, Any]:
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        named = {side: recipe.name if (recipe := getattr(self, side)) else None for side in ("challenger", "incumbent")}
        scores = dict(self.inner_scores)
        return {"worth": self.worth, **named, "inner_scores": scores, "cheaper": self.cheaper, "reason": self.reason}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    name: str
    uses: tuple[str, ...]
    deterministic: bool
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Which fit a table of outcomes belongs to.

    ``draw`` is empty for a refit on the whole amount, else ``fold/R/K`` (a fold model: repeat R, fold K) or ``half/R``.
    """

    arm: str
    amount: str = ALL
    seed: int = 0
    draw: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """Outcomes of arms × amounts × seeds × exam items, kept as arrays: judging, curves and slices run no model again.

    ``outcomes`` is (cells, exam items, k): the task's sufficient statistics, in the order of ``cells``. ``train_size`` is
    the number of training items each whole refit saw; ``amounts`` maps the names of smaller amounts to theirs.
    """

    task: Task
    worth: str
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    outcomes: np.ndarray
    blocks: np.ndarray
    slices: Mapping[str, np.ndarray]
    items: tuple[str, ...]  # names of the exam items, for the report
    exam: str  # fingerprint
    train_size: int
    unit: str = "items"
    transductive: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Predictor] = field(default_factory=dict, repr=False)  # arm → its first refit, while in memory

    def of(self, arm: str, *, amount: str = ALL) -> np.ndarray:
        """Outcomes of the whole refits of ``arm``: (seeds, items, k)."""
        found = [i for i, c in enumerate(self.cells) if (c.arm, c.amount, c.draw) == (arm, amount, "")]
        return self.outcomes[found]

    def draws(self, arm: str, *, kind: str = "fold") -> dict[str, np.ndarray]:
        """Outcomes of the refits on parts of the training data, by draw name: (items, k) each."""
        cells = enumerate(self.cells)
        return {c.draw: self.outcomes[i] for i, c in cells if c.arm == arm and c.draw.startswith(kind) and c.amount == ALL}

    def score(self, arm: str, weights: np.ndarray | None = None, *, amount: str = ALL) -> float:
        """The metric under item weights, mean over seeds."""
        return float(np.mean([self.task.score(table, weights) for table in self.of(arm, amount=amount)]))

    def spec(self) -> dict[str, Any]:
        """What makes this evidence this one: the cells and their outcomes; not the models, nor the seconds."""
        cells = [[c.arm, c.amount, c.seed, c.draw] for c in self.cells]
        return {"exam": self.exam, "arms": self.arms, "cells": cells, "outcomes": _io.fingerprint(self.outcomes)}

    def save(self, folder: Path, name: str = "evidence") -> None:
        """Write ``name.json`` and its arrays. The array comes first: the record is the commit."""
        table = "outcomes.npy" if name == "evidence" else f"{name}-outcomes.npy"
        _io.write_array(folder / table, self.outcomes)
        plain = {key: _io.plain(value) for key, value in vars(self).items() if key not in ("outcomes", "models")}
        digest = _io.digest(np.ascontiguousarray(self.outcomes).data)
        _io.write_json(folder / f"{name}.json", {**plain, "table": table, "digest": digest})

    @classmethod
    def load(cls, folder: Path, name: str = "evidence") -> Evidence:
        from headstart.tasks import task_from_spec

        found = {key: value for key, value in _io.read_json(folder / f"{name}.json").items() if key != "inputs"}
        outcomes = _io.read_array(folder / Path(found.pop("table")).name)  # a name, never a way out of the folder
        if _io.digest(np.ascontiguousarray(outcomes).data) != found.pop("digest"):
            raise RunError(f"The outcomes in {folder} are damaged. Delete {name}.json and run again.")
        found["task"] = task_from_spec(found["task"])
        found["arms"] = tuple(Arm(**{**arm, "uses": tuple(arm["uses"])}) for arm in found["arms"])
        found["cells"] = tuple(Cell(**cell) for cell in found["cells"])
        found["blocks"] = np.asarray(found["blocks"], dtype=object)
        found["slices"] = {key: np.asarray(values, dtype=object) for key, values in found["slices"].items()}
        return cls(outcomes=outcomes, **{**found, "items": tuple(found["items"])})


@dataclass(frozen=True)
class Forgetting:
    """What tuning took from a base: how well it did on ``items`` of ``reference`` ``before``, how well it does ``after``.

    ``measured`` is ``"answers"`` (the share of items that still get the answer of the base's own classifier; 1 before) or
    ``"probe"`` (leave-one-out accuracy of a linear head on a task that it was not tuned for). ``error`` is one standard error
    of what was lost, ``divergence`` the mean KL divergence of the own classifier's answers after from those before (nats).
    """

    backbone: str
    measured: str
    reference: str
    items: int
    before: float
    after: float
    error: float
    divergence: float | None = None

    @property
    def lost(self) -> float:
        return self.before - self.after

    @property
    def sentence(self) -> str:
        if self.measured == "answers":
            return (
                f"Of {self.items} {self.reference}, {self.after:.0%} still get the answer that {self.backbone} gave them among "
                f"its own classes before it was tuned (mean divergence {self.divergence or 0.0:.3f} nats)."
            )
        return (
            f"A linear head on the tuned {self.backbone} names {self.after:.1%} of {self.items} {self.reference}, one on the "
            f"base {self.before:.1%}: tuning {'took' if self.lost >= 0 else 'added'} {100 * abs(self.lost):.1f} points "
            f"(± {100 * self.error:.1f})."
        )


@dataclass(frozen=True)
class Verdict:
    """What the ingredient is worth, as far as the exam can tell.

    ``outcome`` is ``helps``, ``no difference``, ``hurts`` or ``undecided``. ``gain`` (challenger − incumbent) and its
    interval speak of ``scope``: ``recipes`` (training draw included) or ``pair`` (these two fitted models); ``pair`` is
    always given too. ``details`` keeps every number that the rule used. ``further`` are verdicts on arms that sat beside
    these two: the same base, read at other layers.
    """

    worth: str
    outcome: str
    sentence: str
    reason: str
    challenger: str | None
    incumbent: str | None
    gain: Interval | None
    pair: Interval | None
    scope: str
    scores: Mapping[str, Interval]
    margin: float
    exam_items: int
    seeds: int
    ships: str
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    further: tuple[Verdict, ...] = ()

    def __str__(self) -> str:
        return self.sentence

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Verdict:
        def interval(value: dict[str, float] | None) -> Interval | None:
            return Interval(**value) if value else None

        scores = {name: Interval(**value) for name, value in found["scores"].items()}
        intervals = {side: interval(found[side]) for side in ("gain", "pair")}
        further = tuple(cls.from_dict(one) for one in found.get("further", ()))
        return cls(**{**found, **intervals, "scores": scores, "further": further})
