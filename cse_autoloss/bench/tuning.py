"""What a contestant's tuning trains: one joint space, one optimiser, and as many trainings for everyone.

A point of the space is a value for each of the task's tunables and each inner parameter that the contestant's losses
leave open. The first point is the default of all; a Sobol' sequence and then the expected improvement of a Gaussian
process give the others. Of the trainings a quarter is kept for the best points' second seed, so that luck chooses less.

Source: Jones, Schonlau and Welch, J. Global Optim. 1998. Scores enter by their ranks' normal scores (Salinas et al.,
ICML 2020), so that a training that failed is only the worst. Chosen by docs/benchmarks/tuning.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, ...]
"""A value for each axis."""

ROUND = 3
"""Points that are chosen at a time: a fixed number, so that what is tried does not depend on the workers."""

FEWEST_TO_REPEAT = 8
"""With fewer trainings than this none is kept for a second seed."""

_CANDIDATES, _NEAR = 512, 128
_LENGTHS, _NOISES = (0.15, 0.3, 0.6, 1.2, 2.4), (0.01, 0.1, 0.5)


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

    def share(self, value: float) -> float:
        """The inverse of `value`."""
        if self.low == self.high:
            return 0.0
        if self.log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)


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
    tried = _tried(axes, trainings, worths)
    waiting = [one for one in tried if one not in worths]
    if not waiting and len(tried) > 1 and repeats(trainings):
        best = sorted(tried, key=lambda one: -worths[one])[: repeats(trainings)]
        waiting = [again for one in best if (again := one._replace(seed=1)) not in worths]
    return waiting


def best(axes: Sequence[Axis], trainings: int, worths: Mapping[Trial, float]) -> tuple[Point, float]:
    """The point with the best mean worth over two seeds, or over one where none has two; and that mean.

    Where nothing is known yet it is the default, of worth NaN.
    """
    known = [one for one in _tried(axes, trainings, worths) if one in worths]
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


@lru_cache(maxsize=1024)
def propose(
    axes: tuple[Axis, ...], tried: tuple[Point, ...], worths: tuple[float, ...], count: int
) -> list[Point]:
    """Points not yet tried, fewer only where the space has no more: those of the greatest expected improvement.

    Args:
        axes: of the space.
        tried: so far, the default first.
        worths: of these, higher is better.
        count: how many points are wanted; each counts as tried, with the worth that is expected, for the next.
    """
    from scipy.stats import norm, rankdata

    known = np.array([_shares(axes, point) for point in tried])
    scores = norm.ppf((rankdata(worths) - 0.5) / len(tried))
    found: list[Point] = []
    for _ in range(count):
        near = _near(known[np.argmax(scores)], len(known))
        fresh = _fresh(axes, np.concatenate([_sobol(len(axes)), near]), {*tried, *found})
        if not fresh:
            break
        shares = np.array([_shares(axes, point) for point in fresh])
        mean, deviation = _fitted(known, scores).predict(shares, return_std=True)
        gain = mean - scores.max()
        improvement = gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)
        chosen = int(np.argmax(improvement))
        found.append(fresh[chosen])
        known, scores = np.vstack([known, shares[chosen]]), np.append(scores, mean[chosen])
    return found


def _tried(axes: Sequence[Axis], trainings: int, worths: Mapping[Trial, float]) -> list[Trial]:
    """The points of the first seed in their order, as far as known worths lead."""
    most = trainings - repeats(trainings) if axes else min(trainings, 1)
    first = max(1, -(-most // 2))
    points = [default(axes), *_fresh(axes, _sobol(len(axes)), {default(axes)})][:first]
    while len(points) < most and all(Trial(point, 0) in worths for point in points):
        known = tuple(worths[Trial(point, 0)] for point in points)
        more = propose(tuple(axes), tuple(points), known, min(ROUND, most - len(points)))
        if not more:
            break
        points += more
    return [Trial(point, 0) for point in points]


def _shares(axes: Sequence[Axis], point: Point) -> list[float]:
    return [axis.share(value) for axis, value in zip(axes, point, strict=True)]


def _fresh(axes: Sequence[Axis], shares: NDArray[np.float64], taken: set[Point]) -> list[Point]:
    """The points at such shares, each once, that are not taken."""
    points = (tuple(axis.value(s) for axis, s in zip(axes, row, strict=True)) for row in shares)
    return [point for point in dict.fromkeys(points) if point not in taken]


@lru_cache(maxsize=64)
def _sobol(axes: int) -> NDArray[np.float64]:
    from scipy.stats import qmc

    return qmc.Sobol(axes, rng=0).random_base2(int(np.log2(_CANDIDATES))) if axes else np.empty((0, 0))


def _near(centre: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Shares about a point, the nearer the more."""
    random = np.random.default_rng(number)
    steps = random.normal(size=(_NEAR, len(centre))) * random.choice([0.05, 0.2], size=(_NEAR, 1))
    return np.clip(centre + steps, 0.0, 1.0)


def _fitted(shares: NDArray[np.float64], scores: NDArray[np.float64]):  # type: ignore[no-untyped-def]
    """The likeliest Gaussian process of a few: no search that could end elsewhere on another machine."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    fits = [
        GaussianProcessRegressor(Matern(length, nu=2.5) + WhiteKernel(noise), optimizer=None).fit(
            shares, scores
        )
        for length, noise in product(_LENGTHS, _NOISES)
    ]
    return max(fits, key=lambda fit: fit.log_marginal_likelihood_value_)
