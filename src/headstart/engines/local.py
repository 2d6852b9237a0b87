"""Jobs in threads of this process, one BLAS and torch thread each while several run side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_jobs(function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int = 1) -> list[Result]:
    """``function`` of every job, in order. ``function`` turns its own failures into records.

    *Prefer* threads *when* the work is in libraries that let go of the interpreter (Pillow, BLAS, torch, ONNX Runtime), as
    it is here. Uncapped BLAS pools side by side run about ten times slower, so each worker is held to one thread.
    """
    jobs = list(jobs)
    if workers <= 1 or len(jobs) <= 1:
        return [function(job) for job in jobs]
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        waiting: list[Any] = [pool.submit(copy_context().run, function, job) for job in jobs]
        try:
            return [one.result() for one in waiting]
        except BaseException:
            for one in waiting:
                one.cancel()
            raise
