"""Driving: a training function is called with one batch of candidates after another, and what comes of it is told."""

from __future__ import annotations

import time
from collections.abc import Callable

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.study.asking import asked
from cse_autoloss.study.candidate import Found
from cse_autoloss.study.functions import Apart, Caller, Function, Here, Outcome, Request, counted
from cse_autoloss.study.parts import Parts
from cse_autoloss.study.telling import record


def optimized(
    parts: Parts,
    fit: Function,
    *,
    budget: str | float | None,
    trials: int | None,
    workers: int,
    limit: str | float | None,
    say: Callable[[str], None] | None,
) -> Found | None:
    """Arguments as of `Study.optimize`."""
    if budget is None and trials is None:
        raise ConfigError("optimize: give a budget, as budget='20m', or a number of trials")
    if trials is not None:
        counted(trials, "optimize: trials")
    counted(workers, "optimize: workers", 0)
    if not callable(fit):
        raise ConfigError(f"optimize: expected a training function, got {shorten(repr(fit))}")
    held = None if budget is None else parse_duration(budget)
    until = None if held is None else time.monotonic() + held
    seconds = None if limit is None else parse_duration(limit)
    longest = max((one.seconds for one in parts.store.scores("proxy", status="ok")), default=0.0) or None
    caller: Caller = (
        Apart(fit, parts.slots, workers=workers, limit=seconds, budget=held, longest=longest)
        if workers
        else Here(fit, parts.slots)
    )
    done = 0
    try:
        while (trials is None or done < trials) and (until is None or time.monotonic() < until):
            left = parts.size - parts.at.closed
            count = left if trials is None else min(left, trials - done)
            done += _batch(parts, caller, max(1, count), until)
            if say is not None and (best := parts.found()) is not None:
                told = len(parts.store.scores("proxy"))
                say(f"generation {parts.at.state.generation}: {told} told, best {best.value:g}")
    except KeyboardInterrupt:
        if say is not None:
            say(f"interrupted; the same lines go on with it in {parts.directory}")
    finally:
        if isinstance(caller, Apart):
            caller.close()
    return parts.found()


def _batch(parts: Parts, caller: Caller, count: int, until: float | None) -> int:
    """A batch of candidates, told in the order in which they were asked for; how many were told."""
    candidates = {f"candidate {one.number}": one for one in asked(parts, count)}
    others = parts.steps()
    requests = [
        Request(key, one.texts, others=others, higher=parts.metric.higher) for key, one in candidates.items()
    ]
    outcomes: dict[str, Outcome] = {}
    try:
        for key, outcome in caller.run(requests):
            outcomes[key] = outcome
            if until is not None and time.monotonic() > until:
                break
    finally:
        for key, candidate in candidates.items():
            if key in outcomes:
                record(parts, candidate, outcomes[key])
            else:
                parts.at.again.append(candidate)
    return len(outcomes)
