"""What a contestant's tuning trains: one joint space, one optimiser, and as many trainings for everyone.

A point of the space is a value for each of the task's tunables and each inner parameter that the contestant's losses
leave open. The first point is the default of all; a scrambled Sobol' sequence gives the others, which fills a space of
several axes more evenly than a grid and tries each axis at as many values as there are points. Of the trainings a
quarter is kept for the best points' second seed, so that luck chooses less. Why no model of the scores chooses the
points: docs/benchmarks/tuning.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, ...]
"""A value for each axis."""

FEWEST_TO_REPEAT = 4
"""With fewer trainings than this none is kept for a second seed. From here on one pays: the audit bets on the best of
its finalists more often (`benchmarks/finalist.py`)."""

_CANDIDATES = 1024


@dataclass(frozen=True)
class Axis:
    """What is tuned: a tunable of the task, or an inner parameter of a loss.

    Attributes:
        name: of it.
        default: tried first.
        low, high: that are tried, both included.
        log: whether equal steps are equal factors.
        whole: whether it is a whole number.
        slot: of the loss whose parameter it is; empty for a tunable.
    """

    name: str
    default: float
    low: float
    high: float
    log: bool = True
    whole: bool = False
    slot: str = ""

    def value(self, share: float) -> float:
        """The value at a share of the way from `low` to `high`, to two digits."""
        reach = self.high - self.low
        value = self.low * (self.high / self.low) ** share if self.log else self.low + share * reach
        return float(round(value)) if self.whole else float(f"{value:.2g}")


def tunable_axis(name: str, default: float, span: tuple[float, float]) -> Axis:
    """The axis of a tunable: from the least to the greatest factor on its default. Equal factors leave one value."""
    low, high = (factor * default for factor in span)
    return Axis(name, min(max(default, low), high), low, high)


class Trial(NamedTuple):
    """A point, trained with one of the tuning's seeds: 0 the first, 1 the second."""

    point: Point
    seed: int


def due(axes: Sequence[Axis], trainings: int, worths: Mapping[Trial, float]) -> list[Trial]:
    """What is to be trained next, now that the worths of trials are known; empty where the tuning is over.

    Args:
        axes: of the space.
        trainings: in all.
        worths: of trials, higher is better.
    """
    tried = _tried(axes, trainings)
    waiting = [one for one in tried if one not in worths]
    if not waiting and len(tried) > 1 and repeats(trainings):
        best = sorted(tried, key=lambda one: -worths[one])[: repeats(trainings)]
        waiting = [again for one in best if (again := one._replace(seed=1)) not in worths]
    return waiting


def best(axes: Sequence[Axis], trainings: int, worths: Mapping[Trial, float]) -> tuple[Point, float]:
    """The point with the best mean worth over two seeds, or over one where none has two; and that mean.

    Where nothing is known yet it is the default, of worth NaN.
    """
    known = [one for one in _tried(axes, trainings) if one in worths]
    means = {one.point: worths[one] for one in known}
    again = {p: (w + worths[Trial(p, 1)]) / 2 for p, w in means.items() if Trial(p, 1) in worths}
    means = again or means or {default(axes): float("nan")}
    chosen = max(means, key=lambda point: means[point])
    return chosen, means[chosen]


def repeats(trainings: int) -> int:
    """How many of so many trainings give the best points a second seed."""
    return trainings // 4 if trainings >= FEWEST_TO_REPEAT else 0


def default(axes: Sequence[Axis]) -> Point:
    """The first point."""
    return tuple(axis.default for axis in axes)


def _tried(axes: Sequence[Axis], trainings: int) -> list[Trial]:
    """The points of the first seed, in their order; fewer where the space has no more."""
    first = default(axes)
    points = [
        first,
        *(tuple(a.value(s) for a, s in zip(axes, row, strict=True)) for row in _sobol(len(axes))),
    ]
    return [Trial(point, 0) for point in dict.fromkeys(points)][: trainings - repeats(trainings)]


@lru_cache(maxsize=64)
def _sobol(axes: int) -> NDArray[np.float64]:
    """Shares, (points, axes)."""
    from scipy.stats import qmc

    return qmc.Sobol(axes, rng=0).random_base2(int(np.log2(_CANDIDATES))) if axes else np.empty((0, 0))
