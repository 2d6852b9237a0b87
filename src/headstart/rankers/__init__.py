"""Scores of promise: how well features seem to fit labels, without training a network. Higher is better.

A ranker is a function ``score(decomposition, task, targets, blocks) -> float | None`` (None: it does not apply) over the
shared ``Decomposition`` of one feature matrix.
"""

TABLE = {
    "ridge_loo": "score",
    "nearest": "score",
    "logme": "score",
}
