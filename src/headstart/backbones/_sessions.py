"""Open ONNX Runtime sessions: how they are set up, and which are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SESSIONS = 8  # held open; a run reads a handful of backbones, more would only hold memory

_open: dict[tuple[Any, ...], Any] = {}


def threads() -> int:
    """Threads that compute: ``HEADSTART_THREADS``, else two at most (more do not pay on small networks)."""
    asked = os.environ.get("HEADSTART_THREADS", "")
    return max(1, int(asked)) if asked.isdigit() else min(2, os.cpu_count() or 1)


def opened(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """The session called ``key``; made if it is not open, and the oldest closed if too many are."""
    found = _open.get(key)
    if found is None:
        while len(_open) >= SESSIONS:
            _open.pop(next(iter(_open)), None)
        found = _open[key] = make()
    return found


def started(content: bytes, *, inside: int, weights: Mapping[str, np.ndarray] | None = None) -> Any:
    """A session on the graph ``content``, with ``inside`` threads inside one operator.

    ``weights`` are those that the graph names and does not hold. Such a graph is run as it is written, and the memory of a
    shape is not planned when it is first seen: it sees many shapes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = inside
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads sleep instead of spinning: items are prepared beside, and often there is other work too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights is not None:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.enable_mem_pattern = False
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
