"""Ways to transfer, and what they make: Strategy, Recipe, Plan, Predictor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from headstart import _io, registry
from headstart.errors import NotAdmissible, ProblemError, UnknownName
from headstart.problem import INGREDIENTS, Examples, Problem

if TYPE_CHECKING:
    from headstart._checkpoint import Checkpoint
    from headstart.features import Features, Lens
    from headstart.tasks import Task


_JOINED = re.compile(r"\+(?=[A-Za-z_])")  # not the sign of an exponent


@dataclass(frozen=True)
class Plan:
    """What a budget buys, fixed before anything is fitted. The clock only aborts.

    ``repeats`` × ``folds`` inner fits score a recipe; one that tunes a network is scored on the first ``tuned_folds`` of
    the same folds, one that trains a network from nothing on the first ``scratch_folds``. ``seeds`` refits of a stochastic
    recipe sit the exam (``scratch_seeds`` of a network from nothing). ``epochs`` caps the training of a network from
    nothing, ``tuned_epochs`` that of a pre-trained one (0: there is no time for it, so it takes part only when asked for by
    name); ``whole`` says that there is time to tune all of its layers. ``views`` caps the looks at an item that are read.
    ``rank_rows`` is how many training rows a ranking reads, ``shortlist`` how many leaders that it cannot tell apart race
    each other on real tuning (0: none). ``draws`` says whether the fold models of the finalists sit the exam, so that the
    interval covers the training draw.
    """

    seconds: float = 600.0
    folds: int = 5
    repeats: int = 2
    tuned_folds: int = 5
    scratch_folds: int = 1
    seeds: int = 3
    scratch_seeds: int = 1
    epochs: int = 80
    tuned_epochs: int = 8
    whole: bool = False
    views: int = 4
    rank_rows: int = 2000
    shortlist: int = 0
    draws: bool = True
    threads: int = 2

    def inner_fits(self, strategy: Strategy) -> int:
        """On how many of the repeats × folds ``strategy`` is scored."""
        if not strategy.costly:
            return self.repeats * self.folds
        return self.scratch_folds if strategy.starts_from == "untrained" else min(self.tuned_folds, self.folds)

    def refits(self, strategy: Strategy) -> int:
        """How many seeds of ``strategy`` sit the exam."""
        if strategy.deterministic:
            return 1
        return self.scratch_seeds if strategy.costly and strategy.starts_from == "untrained" else self.seeds


@dataclass(frozen=True)
class Limits:
    """What a backbone may cost at most; None: anything. One beyond is left out of a ranking, with the reason.

    ``seconds`` is the time of one pass over all the data, ``memory`` bytes while it is read or tuned, ``parameters`` their
    number.
    """

    seconds: float | None = None
    memory: float | None = None
    parameters: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ProblemError(f"The limit of {name} is {value:g}; a number above 0 is needed, or none.")


class Scorer(Protocol):
    """The fitted part of a predictor: raw scores, and a state that is JSON and arrays."""

    def scores(self, examples: Examples, lens: Lens) -> Features:
        """Raw scores (units, K) with each item's share of them; what K means is the task's business."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Everything that was learned: plain values and arrays."""


class Strategy(Protocol):
    """A way to transfer: a frozen dataclass of hyper-parameters, which is its own configuration and record.

    ``needs`` must all be in ``problem.has | lens.has`` (``labels``, ``features``, ``layers``, ``network``,
    ingredients).
    ``starts_from`` says which lens it is given: ``"nothing"``, ``"untrained"`` or ``"pretrained"``. ``deterministic``
    strategies give the same answer for every seed; ``costly`` ones train a network. One with ``on_request`` set takes part
    only where it is named.
    """

    name: ClassVar[str]
    starts_from: ClassVar[str]
    deterministic: ClassVar[bool]
    costly: ClassVar[bool]

    @property
    def needs(self) -> frozenset[str]: ...

    def fit(self, problem: Problem, lens: Lens, *, plan: Plan, seed: int) -> Predictor:
        """A predictor fitted on ``problem.train``. Never looks at ``problem.valid``."""

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Scorer:
        """The scorer that ``Scorer.state`` described."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """A strategy and the lens it works through. Knows which ingredients it draws on."""

    strategy: Strategy
    lens: Lens
    title: str = ""

    @property
    def name(self) -> str:
        """What a person reads: ``linear_probe on efficientnet_lite0``, or the strategy alone when it reads nothing.

        Settings that are not the default are named: ``scratch(full=True) on …``.
        """
        read, said = self.lens.title, _said(self.strategy)
        return self.title or (f"{said} on {read}" if read else said)

    @property
    def uses(self) -> frozenset[str]:
        """The ingredients drawn on."""
        return (self.strategy.needs & frozenset(INGREDIENTS)) | (self.lens.has & {"base"})

    def admissible(self, problem: Problem) -> bool:
        return self.strategy.needs <= problem.has | self.lens.has

    def fit(self, problem: Problem, *, plan: Plan | None = None, seed: int = 0) -> Predictor:
        """Fit on ``problem.train``. ``NotAdmissible`` if something that the strategy needs is not there."""
        missing = self.strategy.needs - problem.has - self.lens.has
        if missing:
            raise NotAdmissible(
                f"'{self.strategy.name}' needs {_listed(self.strategy.needs)}; this problem and lens have "
                f"{_listed(problem.has | self.lens.has) or 'nothing'}. Provide {_listed(missing)}, or choose a strategy "
                "that does without (`headstart list strategies`)."
            )
        if problem.train.labelled:  # what the task learns, it learns from the rows that this fit may see
            problem = replace(problem, task=problem.task.fitted(problem.train.targets))
        return self.strategy.fit(problem, self.lens, plan=plan or Plan(), seed=seed)

    def checkpoint(self, problem: Problem, *, plan: Plan, seed: int, factor: float = 1.0) -> Checkpoint | None:
        """Where a training of this recipe keeps its state: everything that decides how it goes is in the name."""
        decides = {
            "recipe": self,
            "train": problem.train,
            "task": problem.task,
            "plan": plan,
            "seed": seed,
            "factor": factor,
        }
        return self.lens.store.checkpoint(_io.fingerprint(decides))

    def spec(self) -> dict[str, Any]:
        fields = {"name": self.strategy.name, **_io.plain(self.strategy)}
        return {"strategy": fields, "lens": self.lens.spec()}

    @cached_property
    def hash(self) -> str:
        return _io.fingerprint(self.spec())[:8]


@dataclass(frozen=True, eq=False)
class Predictor:
    """What ships: answers for new examples. Holds only what was learned; its backbones are named by fingerprint.

    ``temperature`` divides the raw scores before they become probabilities; it is fitted on out-of-fold scores.
    """

    task: Task
    lens: Lens
    strategy: Strategy
    scorer: Scorer
    temperature: float = 1.0
    notes: Mapping[str, Any] = field(default_factory=dict)

    def raw(self, examples: Examples) -> Features:
        """Calibrated raw scores (units, K), with the units of each item."""
        from headstart.features import Features

        if len(examples) == 0:
            return Features.one_each(np.zeros((0, self.task.width)))
        found = self.scorer.scores(examples, self.lens)
        return Features(found.rows / self.temperature, found.offsets)

    def scores(self, examples: Examples) -> np.ndarray:
        """Calibrated raw scores alone, (units, K)."""
        return self.raw(examples).rows

    def predict(self, examples: Examples) -> np.ndarray:
        """One answer an item, in the words of the task: a class, a set of classes, a number."""
        found = self.raw(examples)
        return self.task.decode(found.rows, found.offsets)

    def predict_proba(self, examples: Examples) -> np.ndarray:
        """Probabilities (units, classes). ``NotAdmissible`` for a task where they have no meaning."""
        return self.task.proba(self.scores(examples))

    def spec(self) -> dict[str, Any]:
        """What makes this predictor this one: all that was learned."""
        state, arrays = self.state()
        return {**state, "arrays": dict(arrays)}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All of it as JSON and arrays; ``Predictor.restore`` brings it back."""
        learned, arrays = self.scorer.state()
        return {
            "task": self.task.spec(),
            "strategy": {"name": self.strategy.name, **_io.plain(self.strategy)},
            "lens": self.lens.spec(),
            "temperature": float(self.temperature),
            "learned": learned,
            "notes": dict(self.notes),
        }, arrays

    @classmethod
    def restore(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], lens: Lens) -> Predictor:
        """The predictor that ``state`` and ``arrays`` describe, reading through ``lens``."""
        from headstart.tasks import task_from_spec

        named = dict(state["strategy"])
        made = registry.get("strategies", named.pop("name"))
        known = {field.name for field in dataclass_fields(made)}  # an older record has settings that are gone
        strategy = made(**_tuples({name: value for name, value in named.items() if name in known}))
        scorer = strategy.restore(state["learned"], arrays, lens)
        task = task_from_spec(state["task"])
        return cls(task, lens, strategy, scorer, float(state["temperature"]), state.get("notes", {}))


def strategy_named(text: str) -> Strategy:
    """The strategy that ``text`` names, with settings where it gives some: ``scratch:full=true,batch=32``.

    A part of fine-tuning stands for ``fine_tune`` with it, and parts are joined by ``+``: ``lora:rank=4+l2_sp``. Raises
    ``UnknownName`` for a strategy or a setting that does not exist, ``ProblemError`` for a value of another kind.
    """
    first, *others = _JOINED.split(text)
    if first.partition(":")[0] in registry.names("tuning"):
        first, others = "fine_tune", [first, *others]
    try:
        found: Strategy = plugin_named("strategies", first)
    except UnknownName as error:
        near = get_close_matches(first.partition(":")[0], registry.names("tuning"), n=1, cutoff=0.6)
        raise UnknownName(
            f"{error} Or did you mean '{near[0]}'?" if near and "Did you mean" not in str(error) else str(error)
        ) from None
    joined = getattr(found, "joined", None)
    if others and joined is None:
        raise ProblemError(
            f"'{found.name}' has no parts to add '{'+'.join(others)}' to; only fine_tune has. Leave them out."
        )
    return joined(others) if others and joined is not None else found


def plugin_named(folder: str, text: str) -> Any:
    """What ``text`` names in ``folder``, made with the settings that it gives."""
    name, _, settings = text.partition(":")
    made = registry.get(folder, name)
    known = {field.name: getattr(made(), field.name) for field in dataclass_fields(made)}
    given: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        if key not in known:
            raise UnknownName.of(f"setting of {name}", key, known)
        given[key] = _parsed(value, known[key], f"{name}:{key}")
    return made(**given)


def _parsed(value: str, like: Any, what: str) -> Any:
    """``value`` as the kind of thing that ``like`` is."""
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(like, tuple):
            return tuple(float(part) if like else part for part in value.split("/"))
        return type(like)(value)
    except (KeyError, ValueError):
        kind = "numbers with / between" if isinstance(like, tuple) else type(like).__name__
        raise ProblemError(f"'{value}' is no value for {what}; it takes {kind}, for example {like!r}.") from None


def _said(strategy: Strategy) -> str:
    """The strategy's name, and its settings that are not the default."""
    if hasattr(strategy, "said"):
        return str(strategy.said)
    fields: tuple[Any, ...] = dataclass_fields(strategy) if is_dataclass(strategy) else ()
    changed = [f"{one.name}={value!r}" for one in fields if (value := getattr(strategy, one.name)) != one.default]
    return f"{strategy.name}({', '.join(changed)})" if changed else strategy.name


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
