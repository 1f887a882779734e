"""Intervals over seeds and draws of data: what may be said of a mean or a difference from a handful of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_TO_RESAMPLE = 21
"""Below, Student's t interval covers best: see docs/benchmarks/coverage.md."""


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

    def within(self, bounds: tuple[float, float]) -> Interval:
        """Cut to what is possible: no AP is below 0. Where nothing is known of the spread it stays without bounds."""
        if math.isinf(self.low):
            return self
        low, high = bounds
        return Interval(self.mean, max(self.low, min(low, self.mean)), min(self.high, max(high, self.mean)))


def mean_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of a mean: Student's t of up to twenty values, a bootstrap interval of more.

    The plain percentile interval is too narrow for few values: it lacks the factor √(n/(n−1)) and the t quantile. The
    quantiles are therefore moved out to Φ(−√(n/(n−1))·t(1−α/2; n−1)), the "expanded percentile" of Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015).

    Args:
        values: independent figures, for example one AP difference a seed.
        confidence: share of such intervals that shall hold the truth.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Mean and interval; a single value has an interval without bounds, because nothing is known of its spread.
    """
    from scipy.stats import norm, t  # scikit-learn brings it; importing it takes a while

    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(math.nan, -math.inf, math.inf)
    mean, n = float(data.mean()), data.size
    if n == 1:
        return Interval(mean, -math.inf, math.inf)
    quantile = t.ppf(0.5 + confidence / 2, n - 1)
    if n < FEWEST_TO_RESAMPLE:
        reach = float(quantile * data.std(ddof=1) / math.sqrt(n))
        return Interval(mean, mean - reach, mean + reach)
    tail = float(norm.cdf(-math.sqrt(n / (n - 1)) * quantile))
    draws = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    means = data[draws].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def gains(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """one − other, seed by seed; both must be in the same order of seeds."""
    if len(one) != len(other):
        raise ValueError(f"paired values must be equally many, got {len(one)} and {len(other)}")
    return [a - b for a, b in zip(one, other, strict=True)]


def paired_difference(one: Sequence[float], other: Sequence[float], **options: float | int) -> Interval:
    """Interval of mean(one − other), seed by seed."""
    return mean_interval(gains(one, other), **options)  # type: ignore[arg-type]


def p_value(values: Sequence[float]) -> float:
    """Two-sided p of Student's t test that the mean is 0; 1 where one value, or none that differs from 0, tells
    nothing."""
    from scipy.stats import t

    data = np.asarray(values, dtype=np.float64)
    if data.size < 2 or not data.any():
        return 1.0
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    return float(2 * t.sf(abs(float(data.mean())) / error, data.size - 1)) if error else 0.0


def holm(values: Sequence[float]) -> list[float]:
    """p values of several comparisons, corrected so that one false claim among all is as rare as each alone was.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6 (1979).
    """
    corrected, least = [1.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


def noise_floor(rows: Sequence[Sequence[float]]) -> float:
    """Standard deviation of the mean paired difference of two equally good losses.

    √(2·s²/n) with s² = Σ(x_ij − x̄_i· − x̄_·j + x̄_··)² / ((k−1)(n−1)): what is left of k losses' figures on n draws
    after the mean of each loss and of each draw. What a draw or a seed does to all losses is not in it, because pairing
    removes that.

    Args:
        rows: of each loss its figures, in one order of seeds; one value a draw, where seeds share draws.

    Returns:
        In the figures' unit; NaN of fewer than two losses or two values, which tell nothing.
    """
    data = np.asarray(rows, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 2:
        return math.nan
    left = data - data.mean(axis=1, keepdims=True) - data.mean(axis=0) + data.mean()
    losses, n = data.shape
    return math.sqrt(2 * float((left**2).sum()) / ((losses - 1) * (n - 1)) / n)


def told_apart(chances: Sequence[float], confidence: float) -> list[bool]:
    """Which of several differences are beyond chance: those whose p, by Holm's correction, is below 1 − confidence."""
    return [chance < 1 - confidence for chance in holm(chances)]


def by_draw(values: Sequence[float], draws: Sequence[int]) -> list[float]:
    """Means over the seeds that share a draw of the data: such seeds are not independent of each other."""
    groups: dict[int, list[float]] = {}
    for value, draw in zip(values, draws, strict=True):
        groups.setdefault(draw, []).append(value)
    return [sum(group) / len(group) for group in groups.values()]


def mean_by_name(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each name over the tables that tell it."""
    told: dict[str, list[float]] = {}
    for table in tables:
        for name, value in table.items():
            told.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in told.items()}
