"""Intervals over seeds: what may be said of a mean or a difference from a handful of trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_TO_RESAMPLE = 5
"""Means of resamples reach from the least of n values to the greatest; that holds the median in 1 − 2¹⁻ⁿ of cases."""


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Bootstrap interval of a mean, for few values.

    The plain percentile interval is too narrow at n = 5: it lacks the factor √(n/(n−1)) and the t quantile. The
    quantiles are therefore moved out to Φ(−√(n/(n−1))·t(1−α/2; n−1)), the "expanded percentile" of Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015).

    Args:
        values: independent figures, for example one AP difference a seed.
        confidence: share of such intervals that shall hold the truth.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Mean and interval; a single value has an interval without bounds, because nothing is known of its spread.
        Of two to four values Student's t interval is given: resampling so few can't reach 95 %.
    """
    from scipy.stats import norm, t  # scikit-learn brings it; importing it takes a while

    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Interval(math.nan, -math.inf, math.inf)
    mean = float(data.mean())
    if data.size == 1:
        return Interval(mean, -math.inf, math.inf)
    n = data.size
    if n < FEWEST_TO_RESAMPLE:
        reach = float(t.ppf(0.5 + confidence / 2, n - 1) * data.std(ddof=1) / math.sqrt(n))
        return Interval(mean, mean - reach, mean + reach)
    tail = float(norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.5 + confidence / 2, n - 1)))
    draws = np.random.default_rng(seed).integers(0, n, size=(resamples, n))
    means = data[draws].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def paired_difference(one: Sequence[float], other: Sequence[float], **options: float | int) -> Interval:
    """Interval of mean(one − other), seed by seed; both must be in the same order of seeds."""
    if len(one) != len(other):
        raise ValueError(f"paired values must be equally many, got {len(one)} and {len(other)}")
    return bootstrap_interval([a - b for a, b in zip(one, other, strict=True)], **options)  # type: ignore[arg-type]
