"""Which labelled rows a model or a layer is scored on."""

from __future__ import annotations

from headstart.errors import NotAdmissible
from headstart.features import unit_offsets
from headstart.problem import Examples, Problem


def some_rows(problem: Problem, most: int) -> Examples:
    """Up to ``most`` labelled items, strata in proportion, the same ones for every candidate: of ``train``, else of ``source``.

    Of texts whose words are labelled, as many as have ``most`` × 3 words: a word says less than an item.
    """
    rows = next((part for part in (problem.train, problem.source) if part is not None and part.labelled), None)
    if rows is None:
        raise NotAdmissible("There are no training labels, so no model or layer can be scored. Add labelled examples.")
    units = unit_offsets(rows, problem.task.unit)[-1]
    fraction = most / units if units == len(rows) else 3 * most / units
    if fraction >= 1:
        return rows
    _, part = problem.task.split(rows, fraction=fraction, seed=0)
    return rows.take(part)
