"""Calls of a user's training function, here or in processes of their own: whatever it does, an outcome comes back."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.executors import Job, Work, make_executor
from cse_autoloss.graph import Signature
from cse_autoloss.plugins import run_file
from cse_autoloss.spaces.signatures import signature_from, stated
from cse_autoloss.study.candidate import Trial, modules

INSIDE = "CSE_AUTOLOSS_STUDY_WORKER"
"""Set in a worker's environment: a study must not start another one there."""

KEPT_OUTPUT = 10_000
"""Characters of what a function printed that are kept, the last ones."""

LONG = 10
"""Without a limit a call hangs that takes so many times as long as the longest that gave a value."""

QUICK = 60.0
"""Seconds that any call may take without a limit, or a tenth of the budget if that is less."""

Function = Callable[..., Any]


@dataclass(frozen=True)
class Request:
    """A call that is to be made.

    Attributes:
        key: unique.
        losses: text of each slot's loss.
        arguments: further ones, by name.
        others: step -> values of other candidates, for a function that wants to be stopped early.
        higher: whether higher is better.
    """

    key: str
    losses: Mapping[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[int, list[float]] = field(default_factory=dict)
    higher: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of a call: a finite value, or the reason why there is none.

    Attributes:
        value: None where it failed.
        status: "ok", "diverged" (not finite), "error", "timeout" or "crashed".
        detail: why it failed, in one line.
        seconds: wall time.
        steps: what it reported on the way.
    """

    value: float | None
    status: str = "ok"
    detail: str = ""
    seconds: float = 0.0
    steps: Mapping[int, float] = field(default_factory=dict)


class Caller(Protocol):
    """Makes calls, and gives their outcomes by key as they come."""

    def run(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """Outcomes of all requests, in any order; fewer once it is interrupted."""
        ...


def counted(value: Any, what: str, least: int = 1) -> None:
    """ConfigError, of what is counted, unless a value is a whole number and not less than the least."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{what}: expected a whole number of {least} or more, got {shorten(repr(value))}")


def judged(value: Any) -> Outcome:
    """What a returned value is worth: a finite number, or a failure that says what it is."""
    if isinstance(value, (bool, str, bytes)) or value is None:
        told = value[:100] if isinstance(value, (str, bytes)) else value
        return Outcome(None, "error", f"expected a number, got {shorten(repr(told))}")
    try:
        number = float(value)
    except Exception:  # a stranger's __float__ may raise anything
        return Outcome(None, "error", f"expected a number, got a value of type {type(value).__name__}")
    if not math.isfinite(number):
        return Outcome(None, "diverged", f"not finite: {number}")
    return Outcome(number)


def failed(why: object) -> Outcome:
    """A failure, told in one line: an error by its kind and words, anything else as it prints."""
    words = f"{type(why).__name__}: {why}" if isinstance(why, BaseException) else str(why)
    return Outcome(None, "error", shorten(" ".join(words.split()), 300))


def call(function: Function, slots: Mapping[str, Signature], request: Request) -> Outcome:
    """Make one call; only KeyboardInterrupt passes."""
    started = time.perf_counter()
    trial = Trial(request.others, request.higher)
    try:
        built = modules(request.losses, slots)
        first = built if len(built) > 1 else next(iter(built.values()))
        wants = "trial" in inspect.signature(function).parameters
        value = function(first, **request.arguments, **({"trial": trial} if wants else {}))
        found = judged(value)
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit) as error:
        found = failed(error)
    took = time.perf_counter() - started
    return Outcome(found.value, found.status, found.detail, took, trial.steps)


class Here:
    """Calls in this process, one after another; a function that hangs or crashes takes it along."""

    def __init__(self, function: Function, slots: Mapping[str, Signature]) -> None:
        self._function, self._slots = function, slots

    def run(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """See `Caller.run`."""
        for request in requests:
            yield request.key, call(self._function, self._slots, request)


class _Call(Job):
    """A job whose limit is its caller's at any moment: calls that run already are held to it too."""

    _caller: Apart

    def __init__(self, key: str, payload: Mapping[str, Any], caller: Apart) -> None:
        for name, value in (("key", key), ("payload", payload), ("_caller", caller)):
            object.__setattr__(self, name, value)

    @property
    def limit(self) -> float | None:
        return self._caller.limit


class Apart:
    """Calls in processes of their own: one that hangs is ended, one that crashes is replaced."""

    def __init__(
        self,
        function: Function,
        slots: Mapping[str, Signature],
        *,
        workers: int,
        limit: float | None,
        budget: float | None = None,
        longest: float | None = None,
    ) -> None:
        """
        Args:
            function: at the top of a file: a worker runs that file to get it.
            slots: the signatures.
            workers: processes.
            limit: wall seconds of a call, None for one that is learnt, see `limit`.
            budget: wall seconds from now on, after which calls that have no outcome are dropped.
            longest: seconds of the longest call so far that gave a value, if there is one.
        """
        orders = {
            "function": reference(function),
            "signatures": {slot: stated(signature) for slot, signature in slots.items()},
        }
        work = Work("cse_autoloss.study.functions:init", "cse_autoloss.study.functions:run", orders)
        self._executor = make_executor("pool", work, workers)
        self._given, self._budget, self._longest = limit, budget, longest
        self._until = None if budget is None else time.monotonic() + budget

    @property
    def limit(self) -> float | None:
        """Seconds after which a call hangs: as given, or `LONG` times the longest; before there is one, half
        the budget."""
        if self._given is not None:
            return self._given
        if self._longest is None:
            return None if self._budget is None else self._budget / 2
        return max(LONG * self._longest, QUICK if self._budget is None else min(QUICK, self._budget / 10))

    def run(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """See `Caller.run`."""
        for request in requests:
            payload = {**asdict(request), "others": [list(item) for item in request.others.items()]}
            self._executor.submit(_Call(request.key, payload, self))
        try:
            while self._executor.pending:
                result = self._executor.next_result(timeout=0.5)
                if result is not None and result.status == "ok":
                    value = result.value
                    if value["status"] == "ok":
                        self._longest = max(value["seconds"], self._longest or 0.0)
                    steps = {int(step): number for step, number in value["steps"]}
                    yield (
                        result.key,
                        Outcome(value["value"], value["status"], value["detail"], value["seconds"], steps),
                    )
                elif result is not None:
                    yield result.key, Outcome(None, result.status, result.detail, result.seconds)
                if self._until is not None and time.monotonic() > self._until:
                    break
        finally:
            self._executor.cancel()

    def close(self) -> None:
        """End the workers."""
        self._executor.shutdown()


def reference(function: Function) -> str:
    """`FILE.py:NAME`, or `module:NAME` of an installed package, by which a worker finds a function.

    Raises:
        ConfigError: it stands inside another function, or in no file.
    """
    name = getattr(function, "__qualname__", "")
    module = inspect.getmodule(function)
    file = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    if not name.isidentifier() or file is None or not os.path.isfile(file):
        raise ConfigError(
            f"{name or function!r}: workers need a function at the top of a file, which each of them can load; "
            "move it there, or give workers=0 to call it in this process"
        )
    if module is not None and module.__name__ != "__main__" and module.__package__:
        return f"{module.__name__}:{name}"
    return f"{Path(file).resolve()}:{name}"


@dataclass
class _Context:
    function: Function
    slots: Mapping[str, Signature]


def init(orders: dict[str, Any]) -> _Context:
    """Called once in a worker."""
    os.environ[INSIDE] = "1"
    place, _, name = orders["function"].rpartition(":")
    module = run_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    slots = {slot: signature_from(told) for slot, told in orders["signatures"].items()}
    return _Context(getattr(module, name), slots)


def run(context: _Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Make one call; what the function prints is not passed on."""
    others = {int(step): values for step, values in payload["others"]}
    request = Request(payload["key"], payload["losses"], payload["arguments"], others, payload["higher"])
    with contextlib.redirect_stdout(_Tail()), contextlib.redirect_stderr(_Tail()):
        found = call(context.function, context.slots, request)
    return {**asdict(found), "steps": [list(item) for item in found.steps.items()]}


class _Tail(io.TextIOBase):
    """A stream that remembers the end of what was written to it."""

    def __init__(self) -> None:
        self._kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._kept = (self._kept + text[-KEPT_OUTPUT:])[-KEPT_OUTPUT:]
        return len(text)
