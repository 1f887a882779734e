"""What an executor is: jobs go in, results come out in any order, and no job can take the run down with it.

The shape is that of `concurrent.futures`, with two differences. A job is named by a key and carries JSON,
not a function: what runs is fixed when the executor is made (`Work`), so that nothing but data crosses to a
worker. And a result is always a value (`JobResult`): error, time-out and crash are statuses of it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from cse_autoloss import errors
from cse_autoloss.errors import AutoLossError, WorkersLost

Status = Literal["ok", "error", "timeout", "crashed"]
Run = Callable[[Any, dict[str, Any]], dict[str, Any]]

# Workers run code of this package alone, also if a message to them was tampered with.
_PACKAGE = "cse_autoloss."

OUT_OF_MEMORY: Final = "out of memory"
"""How the detail of a job begins that failed for want of memory, a GPU's or the machine's."""

_NO_MEMORY: Final = ("out of memory", "allocate memory", "not enough memory")

TRIES: Final = 3
"""A job whose worker was lost by no fault of the job's is begun so often at most."""

START_LIMIT: Final = 300.0
"""Seconds that a worker may take to be ready."""

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Set to 1 in a worker before it imports anything: more workers than cores would only fight."""


@dataclass(frozen=True)
class Work:
    """What the workers of an executor do.

    Attributes:
        init: "module:function" called once in each worker, `init(config) -> context`.
        run: "module:function" called for each job, `run(context, payload) -> value`; payload and value are
            JSON objects.
        config: what `init` receives, a JSON object.
    """

    init: str
    run: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        key: names the job in its result; unique among the jobs that are under way.
        payload: what `run` receives, a JSON object.
        limit: seconds that it may take once a worker has begun it, or None for no limit.
    """

    key: str
    payload: Mapping[str, Any]
    limit: float | None = None


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        key: the job's.
        status: "ok"; "error" (it raised); "timeout" (over its limit); "crashed" (it took its worker down).
        value: what `run` returned, for status "ok"; else empty.
        detail: one line for a person, for any other status.
        seconds: wall time from the moment that a worker had it.
        worker: process id of the worker.
        tries: how often it was begun: its worker was lost all times but the last, or all (then "crashed").
    """

    key: str
    status: Status
    value: dict[str, Any]
    detail: str
    seconds: float
    worker: int
    tries: int = 1


@dataclass(frozen=True)
class Utilisation:
    """How busy the workers were.

    Attributes:
        wall: seconds since the executor was made.
        busy: seconds each worker's place spent on jobs.
        jobs: results so far.
        restarts: workers that were replaced after a time-out or a crash.
    """

    wall: float
    busy: tuple[float, ...]
    jobs: int
    restarts: int

    @property
    def share(self) -> float:
        """Part of the workers' time that went into jobs, in [0, 1]."""
        return min(sum(self.busy) / (self.wall * len(self.busy)), 1.0) if self.wall > 0 else 0.0


class Executor(Protocol):
    """Runs jobs; use it in one thread, with ``with``. `cse_autoloss.testing.executors.ExecutorConformance` tests it."""

    @property
    def workers(self) -> int:
        """How many jobs run at a time."""
        ...

    @property
    def pending(self) -> int:
        """Jobs submitted whose results weren't handed out yet."""
        ...

    @property
    def idle(self) -> int:
        """Workers that have nothing to do, not even a job in waiting: submit as many."""
        ...

    def submit(self, job: Job) -> None:
        """Takes a job, at once; more than `idle` of them wait in order.

        Raises:
            ValueError: a job with this key is under way, or the payload isn't JSON.
            RuntimeError: after `shutdown`.
        """
        ...

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        """Waits for a result; None when no job is pending or `timeout` seconds have passed.

        Raises:
            AutoLossError: the context can't be made: what `init` raised, if that was one, else a WorkersLost.
            WorkersLost: no worker can be started.
        """
        ...

    def as_completed(self) -> Iterator[JobResult]:
        """Results as they come, until no job is pending; jobs may be submitted meanwhile."""
        ...

    def cancel(self) -> list[str]:
        """Drops the jobs that have no result yet, those that run included, and gives their keys, sorted.

        The executor stays usable.
        """
        ...

    def utilisation(self) -> Utilisation:
        """How busy the workers were so far."""
        ...

    def shutdown(self) -> None:
        """Ends the workers, dropping what is pending. More than once is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ExecutorBase:
    """The parts that all executors share; a subclass gives `pending`, `next_result` and `shutdown`."""

    @property
    def pending(self) -> int:
        raise NotImplementedError

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        raise NotImplementedError

    def shutdown(self) -> None:
        raise NotImplementedError

    def as_completed(self) -> Iterator[JobResult]:
        while self.pending:
            result = self.next_result()
            if result is not None:
                yield result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def default_workers() -> int:
    """One for each core that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def check_path(path: str) -> str:
    """`path` itself, when it is a "module:function" that workers may run.

    Raises:
        ValueError: it isn't one of this package's.
    """
    module, colon, name = path.partition(":")
    if not (module.startswith(_PACKAGE) and colon and name.isidentifier() and not name.startswith("_")):
        raise ValueError(f"expected 'cse_autoloss.MODULE:FUNCTION', but got {path!r}")
    return path


def resolve(path: str) -> Callable[..., Any]:
    """The function behind "module:function".

    Raises:
        ValueError: it isn't one of this package's, or isn't there.
    """
    module, _, name = check_path(path).partition(":")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise ValueError(f"{module} has no function {name!r}")
    found: Callable[..., Any] = function
    return found


def run_job(run: Run, context: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """Runs one job: status ("ok" or "error"), value, detail and seconds."""
    begun = time.perf_counter()
    try:
        value = run(context, payload)
        if not isinstance(value, dict):
            raise TypeError(f"a job must return a dict, but got {type(value).__name__}")
        encode(value)
        status, detail = "ok", ""
    except (Exception, SystemExit) as error:  # a user's file may end itself: that is no end of the worker
        value, status, detail = {}, "error", one_line(error)
        if _for_memory(error):
            detail = f"{OUT_OF_MEMORY}: {detail}"
    _give_back_gpu()
    return {"status": status, "value": value, "detail": detail, "seconds": time.perf_counter() - begun}


def _for_memory(error: BaseException) -> bool:
    """Whether it is Python's, or what torch raises on a GPU (a RuntimeError) and elsewhere."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in _NO_MEMORY)
    )


def tell_failed_start(error: BaseException) -> dict[str, str]:
    """What a worker says whose context can't be made; `failed_start` makes an error of it again."""
    kind = type(error).__name__ if isinstance(error, AutoLossError) else ""
    return {"failed": str(error) if kind else one_line(error), "kind": kind}


def failed_start(told: Mapping[str, str]) -> AutoLossError:
    """The user's mistake that `init` raised, of the same class; for anything else a WorkersLost."""
    kind = getattr(errors, told["kind"], None) if told["kind"] else None
    if isinstance(kind, type) and issubclass(kind, AutoLossError):
        return kind(told["failed"])
    return WorkersLost(f"no worker can be started: {told['failed']}")


def single_thread() -> None:
    """Holds torch to one thread in this process, if torch is in use at all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _give_back_gpu() -> None:
    """Leaves no memory of a GPU with a worker that waits: others share it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def encode(value: Any) -> bytes:
    """JSON bytes.

    Raises:
        ValueError: it isn't JSON: only dicts with text keys, lists, text, numbers, true, false and None are.
    """
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"only JSON values cross to a worker and back: {error}") from None


def one_line(error: BaseException) -> str:
    """Type and message of an exception on one line of bearable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__
