"""Stage four: features, computed once and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from headstart._events import emit
from headstart.features import Lens
from headstart.problem import Problem


@dataclass(frozen=True)
class Extraction:
    """What an extraction did: items looked at, how many of them had to be computed, seconds."""

    items: int
    computed: int
    seconds: float

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Extraction:
        return cls(**found)


def extract(problem: Problem, lens: Lens) -> Extraction:
    """Bring the features of every part of ``problem`` into the lens's store, all taps in one pass.

    What is there already is not computed again, whoever computed it.
    """
    started, items, computed = time.perf_counter(), 0, 0
    for part in problem.parts().values():
        items += len(part)
        for backbone, tap in lens.reads:
            computed += len(lens.store.missing(backbone, part, tap))
            lens.store.features(backbone, part, [tap])
    for backbone, _ in lens.reads:
        for remark in backbone.remarks([raw for part in problem.parts().values() for raw in part.inputs]):
            emit("data", remark)
    seconds = time.perf_counter() - started
    if lens.reads:
        emit("stage", f"Features of {items} items: {computed} computed, {items - computed} were cached ({seconds:.1f} s)")
    return Extraction(items, computed, seconds)
