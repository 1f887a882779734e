"""Runs jobs in the calling process, one at a time: for debugging, tests, and where no process may be started.

A job's limit is kept by an alarm signal, which ends Python code but not one endless C call, and only in the
main thread of a POSIX system; elsewhere a job over its limit runs to its end and is reported then. Time in which
the process stood still counts for no job. A crash takes the caller down. Torch is held to one thread for each job,
so that results equal the pool's.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cse_autoloss.executors.base import (
    ExecutorBase,
    Job,
    JobResult,
    Utilisation,
    Work,
    encode,
    failed_start,
    resolve,
    run_job,
    tell_failed_start,
)
from cse_autoloss.executors.pauses import Pauses
from cse_autoloss.threads import one_torch_thread


class _OverLimit(BaseException):
    """Not an Exception, so that a job's own ``except Exception`` lets it through."""


class InProcessExecutor(ExecutorBase):
    """Runs a job whenever a result is asked for; see `Executor`.

    Args:
        work: what to do; its `init` is called before the first job.
    """

    def __init__(self, work: Work) -> None:
        self._init, self._run = resolve(work.init), resolve(work.run)
        self._config = json.loads(encode(dict(work.config)))
        self._context: Any = None
        self._begun = False
        self._waiting: deque[Job] = deque()
        self._born = time.monotonic()
        self._busy = 0.0
        self._jobs = 0
        self._closed = False
        self._pauses = Pauses()
        self._pauses.start()

    @property
    def workers(self) -> int:
        return 1

    @property
    def pending(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> int:
        return max(1 - len(self._waiting), 0)

    def submit(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError("the executor was shut down")
        if any(waiting.key == job.key for waiting in self._waiting):
            raise ValueError(f"a job with key {job.key!r} is under way")
        encode(dict(job.payload))
        self._waiting.append(job)

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        """As in `Executor`; `timeout` can't be kept, since nothing goes on between the calls."""
        if not self._waiting:
            return None
        with one_torch_thread():
            if not self._begun:
                try:
                    self._context = self._init(self._config)
                except Exception as error:
                    raise failed_start(tell_failed_start(error)) from error
                self._begun = True
        job = self._waiting.popleft()
        begun, spent = time.perf_counter(), _stopwatch(self._pauses)
        try:
            with one_torch_thread(), _alarm(job.limit, spent):
                answer = run_job(self._run, self._context, json.loads(encode(dict(job.payload))))
                answer["value"] = json.loads(encode(answer["value"]))
        except _OverLimit:
            answer = {"status": "timeout"}
        seconds = time.perf_counter() - begun
        self._busy += seconds
        self._jobs += 1
        if answer["status"] == "timeout" or (job.limit is not None and spent() >= job.limit):
            how = f"still running at its limit of {job.limit:g} s"
            return JobResult(job.key, "timeout", {}, how, seconds, os.getpid())
        return JobResult(key=job.key, worker=os.getpid(), **answer)

    def cancel(self) -> list[str]:
        dropped = sorted(job.key for job in self._waiting)
        self._waiting.clear()
        return dropped

    def utilisation(self) -> Utilisation:
        return Utilisation(time.monotonic() - self._born, (self._busy,), self._jobs, 0)

    def shutdown(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._pauses.end()
        self._context = None


def _stopwatch(pauses: Pauses) -> Callable[[], float]:
    """Tells the seconds since now, without those in which the process stood still."""
    begun, paused = time.monotonic(), pauses.total
    return lambda: time.monotonic() - begun - (pauses.total - paused)


@contextmanager
def _alarm(limit: float | None, spent: Callable[[], float]) -> Iterator[None]:
    if limit is None or not hasattr(signal, "setitimer") or not _in_main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        left = limit - spent()
        if left <= 0.0:
            raise _OverLimit
        signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(limit, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
