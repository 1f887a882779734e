"""A share and its interval, from a sample in which not everybody stands for equally many.

With equal weights the interval is Clopper and Pearson's (Biometrika 26, 1934), which holds the truth in at least so
many cases as it says, also where no hit was seen. With unequal weights it is Korn and Graubard's (Survey Methodology
24, 1998): Clopper and Pearson's with the effective number of draws (Σw)²/Σw² and the weighted share of hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Draw:
    """One drawn candidate: how many of the rejected it stands for, and whether it is a hit."""

    weight: float
    hit: bool


@dataclass(frozen=True)
class Rate:
    """An estimated share.

    Attributes:
        draws: in the sample.
        hits: among them.
        effective: number of equally weighted draws that would tell as much.
        share: the estimate, in [0, 1].
        low, high: two-sided interval.
        bound: the share is below it with the same confidence, one-sided. Without a hit that is about 3/n at 95 %.
    """

    draws: int
    hits: int
    effective: float
    share: float
    low: float
    high: float
    bound: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def rate(draws: Sequence[Draw], confidence: float = 0.95) -> Rate:
    """The share of hits among all that the draws stand for, with its interval."""
    hits = sum(draw.hit for draw in draws)
    total = sum(draw.weight for draw in draws)
    if total <= 0:
        return Rate(len(draws), hits, 0.0, 0.0, 0.0, 1.0, 1.0)
    share = sum(draw.weight for draw in draws if draw.hit) / total
    effective = total**2 / sum(draw.weight**2 for draw in draws)
    tail = (1 - confidence) / 2
    found = share * effective
    return Rate(
        len(draws), hits, effective, share,
        _beta(tail, found, effective - found + 1) if hits else 0.0,
        _above(1 - tail, found, effective),
        _above(confidence, found, effective),
    )  # fmt: skip


def _above(quantile: float, found: float, effective: float) -> float:
    return _beta(quantile, found + 1, effective - found) if found < effective else 1.0


def _beta(quantile: float, a: float, b: float) -> float:
    from scipy.stats import beta  # scikit-learn brings it; importing it takes a while

    return float(beta.ppf(quantile, a, b))
