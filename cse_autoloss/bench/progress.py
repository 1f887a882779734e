"""What a run tells of itself while it goes on, and the clock that books its time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from cse_autoloss.runs import RunStore
from cse_autoloss.tasks.protocol import Metric

STAGES = ("data", "measure", "generate", "verify", "simulate", "proxy", "combine", "tune", "audit")
"""The parts of a run that do its work; all other time is overhead."""

SEARCH_STAGES = ("generate", "verify", "simulate", "proxy")
"""Those that the search itself is made of; several of them may be under way at a time."""


@dataclass
class RunStatus:
    """A snapshot of a run, for a screen.

    Attributes:
        phase: what is going on, for example "search" or "audit".
        generation: number of the current generation, from 0.
        slot: the slot that it works on.
        funnel: losses that were generated, duplicates, verified, simulated, trained; each counts once.
        rejected: stage -> reason code -> count.
        seconds: wall time of each stage.
        elapsed: seconds since the start.
        budget: seconds in all, or None.
        metric: that is climbed; None before the run has begun.
        best: formula and validation figure of the best so far, by slot.
        baseline: name and validation figure of the best handcrafted losses so far.
        done, total: progress within the phase, where it is known.
        remaining: seconds that the rest may take, where there is no budget and something to judge by.
        message: one line on what just happened.
        lost: workers that were lost, whose jobs were begun again.
        details: what else a search tells of itself, by name: rewards, a distribution's mean.
    """

    phase: str = "start"
    generation: int = 0
    slot: str = ""
    funnel: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    elapsed: float = 0.0
    budget: float | None = None
    metric: Metric | None = None
    best: dict[str, tuple[str, float]] = field(default_factory=dict)
    baseline: tuple[str, float] | None = None
    done: int = 0
    total: int = 0
    remaining: float | None = None
    message: str = ""
    lost: int = 0
    details: Mapping[str, str] = field(default_factory=dict)

    def reject(self, stage: str, code: str, number: int = 1) -> None:
        """Count rejections."""
        self.rejected.setdefault(stage, Counter())[code] += number

    def counts(self) -> dict[str, Any]:
        """What a resumed run goes on counting from, as JSON."""
        return {
            "funnel": dict(self.funnel),
            "rejected": {stage: dict(codes) for stage, codes in self.rejected.items()},
        }

    def restore(self, counts: dict[str, Any]) -> None:
        """The inverse of `counts`."""
        self.funnel = Counter(counts["funnel"])
        self.rejected = {stage: Counter(codes) for stage, codes in counts["rejected"].items()}


class Observer(Protocol):
    """Whoever watches a run: a screen, a log, a test."""

    def update(self, status: RunStatus) -> None:
        """Called often, from the run's own thread; must be quick."""
        ...


class Silent:
    """Watches nothing."""

    def update(self, status: RunStatus) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class _Kept:
    """A clock, as a store has it."""

    elapsed: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)


class Clock:
    """Books wall time to the stages, and tells how much of the budget is left.

    Time of an earlier process that the run was resumed from counts: pass it as `before`.

    Attributes:
        seconds: wall time of each stage.
        busy: workers' time of each stage.
        current: the stage that is going on; empty between stages.
    """

    def __init__(
        self,
        budget: float | None,
        before: float = 0.0,
        seconds: dict[str, float] | None = None,
        busy: dict[str, float] | None = None,
    ) -> None:
        """
        Args:
            budget: seconds in all, None for no end.
            before: seconds that earlier processes of the run took.
            seconds: what they booked to each stage.
            busy: what their workers booked to each stage.
        """
        self._start = time.monotonic() - before
        self.budget = budget
        self.seconds: dict[str, float] = dict(seconds or {})
        self.busy: dict[str, float] = dict(busy or {})
        self.current = ""
        self._within = 0.0

    @classmethod
    def of(cls, store: RunStore, budget: float | None) -> Clock:
        """The clock of a run, that goes on from what its store has."""
        kept = store.typed_meta("clock", _Kept) or _Kept()
        return cls(budget, max(kept.elapsed, 0.0), kept.seconds, kept.busy)

    @property
    def elapsed(self) -> float:
        """Seconds that the run took so far."""
        return time.monotonic() - self._start

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book the time inside to a stage; that of a stage within another counts for the inner one alone."""
        start, self.current, outer = time.monotonic(), name, self.current
        within, self._within = self._within, 0.0
        try:
            yield
        finally:
            self.current = outer
            took = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._within
            self._within = within + took

    def work(self, stage: str, seconds: float) -> None:
        """Book a worker's time to a stage."""
        self.busy[stage] = self.busy.get(stage, 0.0) + seconds

    def utilisation(self, workers: int) -> dict[str, Any]:
        """What the workers did of the time that they had, phase by phase; see `Utilisation` of an executor for one's
        whole life.

        Returns:
            `workers`, and for "measure", "search", "combine", "tune" and "audit", as far as they were entered:
            `seconds` of wall time, and the shares of the workers' time, in [0, 1], that went into `training`
            (scoring included) and into `simulation`.
        """
        told: dict[str, Any] = {"workers": workers}
        for phase in ("measure", "search", "combine", "tune", "audit"):
            stages = SEARCH_STAGES if phase == "search" else (phase,)
            wall = sum(self.seconds.get(stage, 0.0) for stage in stages)
            if wall > 0:
                training = self.busy.get("proxy" if phase == "search" else phase, 0.0)
                # A job is booked whole to the phase that began it, also where it ended in the next.
                told[phase] = {"seconds": wall, "training": min(1.0, training / (wall * workers))}
                if phase == "search":
                    told[phase]["simulation"] = self.busy.get("simulate", 0.0) / (wall * workers)
        return told

    @property
    def overhead(self) -> float:
        """Share of the time so far that was spent outside the stages, in [0, 1]."""
        inside = sum(self.seconds.get(name, 0.0) for name in STAGES)
        return max(0.0, 1.0 - inside / self.elapsed) if self.elapsed > 0 else 0.0
