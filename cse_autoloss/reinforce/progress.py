"""What a REINFORCE run tells of itself while it goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class ReinforceStatus:
    """A snapshot of a run, for a screen.

    Attributes:
        space, task, metric: names; the metric is the reward.
        parameters: names of μ's numbers.
        start: μ before the first epoch.
        mu: μ now; empty until the first search has begun.
        seed: of the seeds, the one that is going on, from 0; `seeds` in all.
        name: of the contestant that trains.
        searches: whether it is the search itself, so that μ is its own.
        rate, rates: which learning rate is tried, from 1, of how many; 0 where all train side by side.
        epoch, epochs: finished, and in all.
        rewards: of the models after the last epoch; NaN where one diverged.
        climb: best reward of each epoch of this training.
        found: contestant -> validation of its tuned best, by seed.
        elapsed: seconds of this process.
        left: seconds that the rest may take, once there is something to judge by.
        message: one line on what just happened.
    """

    space: str
    task: str
    metric: str
    parameters: tuple[str, ...]
    start: tuple[float, ...]
    seeds: int
    mu: tuple[float, ...] = ()
    seed: int = 0
    name: str = ""
    searches: bool = False
    rate: int = 0
    rates: int = 0
    epoch: int = 0
    epochs: int = 0
    rewards: tuple[float, ...] = ()
    climb: list[float] = field(default_factory=list)
    found: dict[str, list[float]] = field(default_factory=dict)
    elapsed: float = 0.0
    left: float | None = None
    message: str = ""


class Observer(Protocol):
    """Whoever watches a run: a screen, a log, a test."""

    def update(self, status: ReinforceStatus) -> None:
        """Called after each epoch, from the run's own thread; must be quick."""
        ...


class Silent:
    """Watches nothing."""

    def update(self, status: ReinforceStatus) -> None:
        """Does nothing."""


class Reporter:
    """Keeps a status up to date and shows it to an observer; time is judged by epochs of one model."""

    def __init__(self, status: ReinforceStatus, observer: Observer, total: int) -> None:
        """
        Args:
            status: of the run before its first training.
            observer: sees it.
            total: epochs of one model in the whole run, those of an earlier process included.
        """
        self.status, self._observer = status, observer
        self._start = time.monotonic()
        self._total, self._skipped, self._done = total, 0, 0
        self._first: tuple[float, int] | None = None

    def begin(self, name: str, epochs: int, *, rate: int = 0, rates: int = 0, searches: bool = False) -> None:
        """A training begins."""
        status = self.status
        status.name, status.searches, status.rate, status.rates = name, searches, rate, rates
        status.epoch, status.epochs, status.rewards, status.climb = 0, epochs, (), []
        if searches:
            status.mu = status.start
        self._show("")

    def epoch(
        self, epoch: int, models: int, rewards: Sequence[float], best: float | None, message: str
    ) -> None:
        """So many epochs of a training are done; `rewards` may be empty where none were asked for."""
        self.status.epoch, self.status.rewards = epoch, tuple(rewards)
        if best is not None:
            self.status.climb.append(best)
        self._done += models
        if self._first is None:  # what came before it, as reading the data, tells nothing of the pace
            self._first = time.monotonic(), self._done
        self._show(message)

    def skip(self, models_epochs: int) -> None:
        """So many epochs of one model are not needed: an earlier process did them, or the training ended."""
        self._skipped += models_epochs

    def result(self, name: str, value: float, message: str) -> None:
        """A contestant's tuned validation value for the seed."""
        self.status.found.setdefault(name, []).append(value)
        self._show(message)

    def told(self, message: str) -> None:
        """One line."""
        self._show(message)

    def _show(self, message: str) -> None:
        status = self.status
        now = time.monotonic()
        status.message = message or status.message
        status.elapsed = now - self._start
        rest = max(0, self._total - self._skipped - self._done)
        if self._first is not None and self._done > self._first[1]:
            status.left = (now - self._first[0]) / (self._done - self._first[1]) * rest
        self._observer.update(status)
