"""Rules of interval arithmetic: from the range of each argument, a range that holds every real value.

Ends are computed in float64 and moved outward by a few of its last digits, so that rounding hides nothing; an end of
exactly 0 stays. Where a function has no real value, its rule says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Interval = tuple[float, float]
"""(low, high), low ≤ high; the ends may be infinite."""

UNBOUNDED: Interval = (-math.inf, math.inf)
_DIGITS = 2e-15
_PHASE_LIMIT = 1e6
"""Beyond it, sine and cosine of float64 numbers are told apart too badly to say where in a period they are."""


def outward(low: float, high: float) -> Interval:
    """The interval, wider by float64's rounding; an end that is not a number becomes infinite."""
    low, high = -math.inf if math.isnan(low) else low, math.inf if math.isnan(high) else high
    return (
        low - _DIGITS * abs(low) if math.isfinite(low) else low,
        high + _DIGITS * abs(high) if math.isfinite(high) else high,
    )


def rising(
    function: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf
) -> Callable[[Interval], Interval]:
    """The rule of a function that never falls, with values between `least` and `most`."""

    def rule(a: Interval) -> Interval:
        low, high = outward(*function(torch.tensor(a, dtype=torch.float64)).tolist())
        return max(low, least), min(high, most)

    return rule


def falling(
    function: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf
) -> Callable[[Interval], Interval]:
    """The rule of a function that never rises."""
    mirrored = rising(lambda a: function(-a), least, most)
    return lambda a: mirrored((-a[1], -a[0]))


def within(low: float, high: float) -> Callable[..., Interval]:
    """The rule of a function that is known by its bounds alone."""
    return lambda *_: (low, high)


def add(a: Interval, b: Interval) -> Interval:
    """a + b."""
    return outward(a[0] + b[0], a[1] + b[1])


def negative(a: Interval) -> Interval:
    """−a."""
    return -a[1], -a[0]


def multiply(a: Interval, b: Interval) -> Interval:
    """a·b."""
    # 0·∞ is 0 here: an infinite end is never reached.
    products = [0.0 if x == 0 or y == 0 else x * y for x in a for y in b]
    return outward(min(products), max(products))


def divide(a: Interval, b: Interval) -> Interval:
    """a/b; everything where b may be 0."""
    if b[0] <= 0 <= b[1]:
        return UNBOUNDED
    return multiply(a, (1 / b[1], 1 / b[0]))


def absolute(a: Interval) -> Interval:
    """|a|."""
    return max(a[0], -a[1], 0.0), max(-a[0], a[1])


def cosine(a: Interval) -> Interval:
    """cos a: ±1 where a peak may lie inside, else between its ends."""
    low, high = a
    if high - low >= math.pi or max(abs(low), abs(high)) > _PHASE_LIMIT:
        return -1.0, 1.0
    ends = math.cos(low), math.cos(high)
    # Multiples of π within the interval, or so near to it that rounding might have put them outside.
    peaks = range(math.ceil(low / math.pi - 1e-9), math.floor(high / math.pi + 1e-9) + 1)
    values = (*ends, *(-1.0 if k % 2 else 1.0 for k in peaks))
    low, high = outward(min(values), max(values))
    return max(low - 1e-9, -1.0), min(high + 1e-9, 1.0)


def sine(a: Interval) -> Interval:
    """sin a."""
    return cosine((a[0] - math.pi / 2, a[1] - math.pi / 2))
