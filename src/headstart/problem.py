"""The question: Items, Examples, Problem, Exam.

Three levels are kept apart. A **unit** is what one target and one feature row stand for (image, word, box). An **item**
is what a backbone runs on and what has a fingerprint (image, sentence, window). A **block** is what may be dependent
(patient, speaker, document); no split, fold or resample cuts one. **Slices** only say where scores are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart._events import emit
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart.tasks import Task

INGREDIENTS = ("base", "source", "unlabelled", "siblings", "descriptions")


@dataclass(frozen=True, eq=False)
class Items:
    """A root of items that many views share.

    ``kind`` names the kind of input (``inputs/``). Each item has its ``inputs`` entry (a path, bytes, a text, a row of
    numbers: what the kind loads), a ``names`` entry for people, and a ``fingerprints`` entry made from its content.
    ``targets`` (None when nothing is labelled), ``blocks`` (None: every item is its own) and ``slices`` have one
    entry an item too.
    """

    kind: str
    inputs: Sequence[Any]
    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    targets: np.ndarray | None = None
    blocks: np.ndarray | None = None
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    times: np.ndarray | None = None  # ISO dates, where the order in time matters
    notes: tuple[Any, ...] = ()  # events: what was done to the data while it was read
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)  # what a kind computed once for the whole root

    def __post_init__(self) -> None:
        parts: dict[str, Any] = {"names": self.names, "fingerprints": self.fingerprints, "targets": self.targets}
        parts |= {"blocks": self.blocks, "times": self.times}
        for name, part in {**parts, **self.slices}.items():
            if part is not None and len(part) != len(self.inputs):
                raise ProblemError(
                    f"'{name}' has {len(part)} entries for {len(self.inputs)} items; one for each item is needed."
                )


@dataclass(frozen=True, eq=False)
class Examples:
    """A view: a shared root of items and the row numbers that are in it. Cheap to take, split and join."""

    items: Items
    rows: np.ndarray

    @classmethod
    def of(cls, items: Items) -> Examples:
        """All of ``items``."""
        return cls(items, np.arange(len(items.inputs)))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        labelled = "labelled" if self.items.targets is not None else "unlabelled"
        return f"Examples({len(self)} {labelled} {self.kind} items)"

    @property
    def kind(self) -> str:
        return self.items.kind

    @property
    def inputs(self) -> list[Any]:
        return [self.items.inputs[row] for row in self.rows]

    @property
    def names(self) -> list[str]:
        return [self.items.names[row] for row in self.rows]

    @cached_property
    def fingerprints(self) -> list[str]:
        return [self.items.fingerprints[row] for row in self.rows]

    @property
    def targets(self) -> np.ndarray:
        """One target an item. ``ProblemError`` when there are none."""
        if self.items.targets is None:
            raise ProblemError("These examples have no labels; labelled ones are needed here. Name a label column.")
        return self.items.targets[self.rows]

    @property
    def labelled(self) -> bool:
        return self.items.targets is not None and len(self) > 0

    @property
    def blocks(self) -> np.ndarray:
        """One block label an item; by default the item's content, so that two copies of one photo stay together."""
        if self.items.blocks is None:
            return np.asarray(self.fingerprints, dtype=object)
        return self.items.blocks[self.rows]

    @property
    def times(self) -> np.ndarray | None:
        return None if self.items.times is None else self.items.times[self.rows]

    @property
    def slices(self) -> dict[str, np.ndarray]:
        return {name: values[self.rows] for name, values in self.items.slices.items()}

    def take(self, index: Any) -> Examples:
        """The examples at ``index`` of this view (integers or a mask)."""
        chosen = np.asarray(index)
        return replace(self, rows=self.rows[chosen if len(chosen) else chosen.astype(int)])

    def join(self, other: Examples | None) -> Examples:
        """This view followed by ``other``. Views of one root stay cheap; two roots become a new one."""
        if other is None or len(other) == 0:
            return self
        if other.items is self.items:
            return replace(self, rows=np.concatenate([self.rows, other.rows]))
        if other.kind != self.kind:
            raise ProblemError(f"Cannot join {self.kind} with {other.kind} items; both must be of one kind.")
        return Examples.of(_merge(self, other))

    def spec(self) -> dict[str, Any]:
        """What makes these examples these: content, labels, blocks; not where the files lie."""
        targets = (
            None if self.items.targets is None else [_io.plain(t, arrays_as_digests=True) for t in self.targets.tolist()]
        )
        blocks = None if self.items.blocks is None else [str(block) for block in self.blocks]
        return {"kind": self.kind, "items": self.fingerprints, "targets": targets, "blocks": blocks}


@dataclass(frozen=True, eq=False)
class Exam:
    """The held-out target data. Sealed: only ``compare`` accepts one.

    ``transductive=True`` says that a problem's ``unlabelled`` part may hold the exam's *inputs*; the verdict then says so.
    """

    examples: Examples
    transductive: bool = False

    def __len__(self) -> int:
        return len(self.examples)

    def spec(self) -> dict[str, Any]:
        slices = {name: [str(value) for value in values] for name, values in self.examples.slices.items()}
        return {"examples": self.examples.spec(), "slices": slices, "transductive": self.transductive}


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be learned, and all that may be drawn on to learn it.

    ``train`` is the labelled target domain and may be tiny or empty; ``valid`` the user's own validation part;
    ``source`` related labelled domains; ``unlabelled`` target-domain items without labels; ``siblings`` tasks learned
    jointly.
    """

    task: Task
    train: Examples
    valid: Examples | None = None
    source: Examples | None = None
    unlabelled: Examples | None = None
    siblings: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        for name, part in self.parts().items():
            if part.kind != self.train.kind:
                raise ProblemError(f"'{name}' holds {part.kind} items, 'train' {self.train.kind}; one kind is needed.")

    @property
    def kind(self) -> str:
        return self.train.kind

    def parts(self) -> dict[str, Examples]:
        """The parts that hold at least one item, by name."""
        named = {"train": self.train, "valid": self.valid, "source": self.source, "unlabelled": self.unlabelled}
        return {name: part for name, part in named.items() if part is not None and len(part)}

    @property
    def labelled(self) -> Examples:
        """``train`` and ``valid`` together: what a finalist is fitted on before it sits the exam."""
        return self.train.join(self.valid)

    @cached_property
    def has(self) -> frozenset[str]:
        """What is present: target ``labels``, exclusive ``classes`` of items, ingredients. A strategy's ``needs`` must be among
        these."""
        present: set[str] = self.parts().keys() & {"source", "unlabelled"}
        if self.train.labelled:
            present.add("labels")
        if self.task.link == "softmax" and self.task.unit == "item":
            present.add("classes")
        if self.siblings:
            present.add("siblings")
        if getattr(self.task, "descriptions", None) is not None:
            present.add("descriptions")
        return frozenset(present)

    @property
    def setting(self) -> str:
        """The field's name for this kind of problem. For display: no code asks for it."""
        has = self.has
        if "siblings" in has:
            return "multi-task"
        if "labels" in has:
            shots = self.task.shots(self.train)
            return f"few-shot ({shots} per class)" if shots is not None and shots <= 10 else "inductive"
        if "source" in has:
            return "transductive"
        return "zero-shot" if "descriptions" in has else "unsupervised"

    @property
    def question(self) -> str:
        """The ingredient whose worth is the headline: ``unlabelled``, ``siblings`` or ``base``."""
        if "labels" not in self.has and "unlabelled" in self.has:
            return "unlabelled"
        return "siblings" if "siblings" in self.has else "base"

    def split(self, *, fraction: float = 1 / 3, seed: int = 0) -> tuple[Problem, Exam]:
        """This problem without an exam drawn from ``train``, and that exam. No block stands on both sides."""
        keep, held = self.task.split(self.train, fraction=fraction, seed=seed)
        if len(keep) == 0 or len(held) == 0:
            raise ProblemError(
                f"No exam can be split off {len(self.train)} items in {len(set(map(str, self.train.blocks)))} blocks: no "
                "block may stand on both sides. Give a test part, or a block column with more blocks."
            )
        exam, kept = Exam(self.train.take(held)), self.train.take(keep)
        left = replace(self, train=kept).without(exam)
        if gone := len(kept) - len(left.train):
            emit("data", f"Left out of train: items whose content stands in the held-out exam too, {gone}.", count=gone)
        return replace(left, task=self.task.fitted(left.train.targets)), exam

    def without(self, exam: Exam) -> Problem:
        """This problem with the exam's items and blocks removed from every part."""

        def clean(part: Examples | None) -> Examples | None:
            return None if part is None else part.take(~shared(part, exam.examples))

        unlabelled = self.unlabelled if exam.transductive else clean(self.unlabelled)
        siblings = tuple(sibling.without(exam) for sibling in self.siblings)
        train = clean(self.train)
        assert train is not None
        return replace(
            self, train=train, valid=clean(self.valid), source=clean(self.source), unlabelled=unlabelled, siblings=siblings
        )

    def shrink(self, amount: int, *, seed: int = 0) -> Problem:
        """This problem with only ``amount`` of ``train`` (as the task counts it: labels a class, rows). Nested for one seed."""
        return replace(self, train=self.train.take(self.task.shrink(self.train, amount, seed=seed)))

    def spec(self) -> dict[str, Any]:
        parts = {name: part.spec() for name, part in self.parts().items()}
        return {"task": self.task.spec(), **parts, "siblings": [sibling.spec() for sibling in self.siblings]}


def shared(part: Examples, other: Examples) -> np.ndarray:
    """Which of ``part``'s items (boolean mask) stand in ``other`` too, by content or by block."""
    seen_items, seen_blocks = set(other.fingerprints), {str(block) for block in other.blocks}
    by_item = [item in seen_items for item in part.fingerprints]
    by_block = [str(block) in seen_blocks for block in part.blocks]
    return np.asarray(by_item, dtype=bool) | np.asarray(by_block, dtype=bool)


def _merge(first: Examples, second: Examples) -> Items:
    def both(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
        return None if a is None or b is None else np.concatenate([a, b])

    named = [name for name in first.items.slices if name in second.items.slices]
    has_blocks = first.items.blocks is not None or second.items.blocks is not None
    has_targets = first.items.targets is not None and second.items.targets is not None
    return Items(
        kind=first.kind,
        inputs=first.inputs + second.inputs,
        names=tuple(first.names + second.names),
        fingerprints=tuple(first.fingerprints + second.fingerprints),
        targets=both(first.targets, second.targets) if has_targets else None,
        blocks=np.concatenate([first.blocks, second.blocks]) if has_blocks else None,
        slices={name: np.concatenate([first.slices[name], second.slices[name]]) for name in named},
        times=both(first.times, second.times),
    )
