"""Rules of interval arithmetic: from the range of each argument, a range that holds every real value.

Ends are float64, numbers or arrays of them, so that many boxes are looked at by one call. They are moved outward by a
few of their last digits, so that rounding hides nothing; an end of exactly 0 stays, unless a product underflowed to it.
Where a function has no real value, its rule says nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Interval = tuple[Any, Any]
"""(low, high), low ≤ high; float64 numbers or arrays that broadcast; the ends may be infinite."""

UNBOUNDED: Interval = (-math.inf, math.inf)
_DIGITS = 2e-15
_TINY = 5e-324
_PHASE_LIMIT = 1e6
"""Beyond it, sine and cosine of float64 numbers are told apart too badly to say where in a period they are."""


def outward(low: Any, high: Any, slack: float = 0.0) -> Interval:
    """The interval, wider by float64's rounding; an end that is not a number becomes infinite.

    `slack`: how wrong an end may be besides, absolutely.
    """
    with np.errstate(all="ignore"):
        return _wider(low, high, slack)


def _wider(low: Any, high: Any, slack: float = 0.0) -> Interval:
    return _down(low, slack), -_down(-high, slack)


def _down(low: Any, slack: float) -> Any:
    # Near 0 a relative margin would underflow itself.
    moved = low - (_DIGITS * np.abs(low) + _TINY * np.not_equal(low, 0) + slack)
    if math.isfinite(moved.sum()):
        return moved
    moved = np.where(np.isinf(low), low, moved)
    return np.where(np.isnan(moved), -math.inf, moved)


def rising(
    function: Callable[[Tensor], Tensor],
    least: float = -math.inf,
    most: float = math.inf,
    slack: float = 0.0,
) -> Callable[[Interval], Interval]:
    """The rule of a function that never falls, with values between `least` and `most`; `slack`: see `outward`."""

    def rule(a: Interval) -> Interval:
        ends = [function(torch.as_tensor(np.asarray(end, dtype=np.float64))).numpy() for end in a]
        low, high = outward(ends[0], ends[1], slack)
        return np.maximum(low, least), np.minimum(high, most)

    return rule


def falling(
    function: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf
) -> Callable[[Interval], Interval]:
    """The rule of a function that never rises."""
    mirrored = rising(lambda a: function(-a), least, most)
    return lambda a: mirrored(negative(a))


def within(low: float, high: float) -> Callable[..., Interval]:
    """The rule of a function that is known by its bounds alone."""
    return lambda *_: (low, high)


def add(a: Interval, b: Interval) -> Interval:
    """a + b."""
    with np.errstate(all="ignore"):
        return _wider(a[0] + b[0], a[1] + b[1])


def negative(a: Interval) -> Interval:
    """−a."""
    return np.negative(a[1]), np.negative(a[0])


def multiply(a: Interval, b: Interval) -> Interval:
    """a·b."""
    with np.errstate(all="ignore"):
        products = [x * y for x in a for y in b]
        low = np.minimum(np.minimum(products[0], products[1]), np.minimum(products[2], products[3]))
        high = np.maximum(np.maximum(products[0], products[1]), np.maximum(products[2], products[3]))
        # An end of 0 may be a product that underflowed, and 0·∞ is no number: these are looked at one by one.
        if (low * high).all() and not math.isnan(low.sum()):
            return _wider(low, high)
        low, high = np.full_like(low, math.inf), np.full_like(high, -math.inf)
        for x in a:
            for y in b:
                product = x * y
                # 0·∞ is 0 here: an infinite end is never reached. Other zeros are numbers too small for float64.
                none = (x == 0) | (y == 0)
                lost = (product == 0) & ~none
                product = np.where(none, 0.0, product)
                low = np.minimum(low, np.where(lost, -_TINY * (np.sign(x) * np.sign(y) < 0), product))
                high = np.maximum(high, np.where(lost, _TINY * (np.sign(x) * np.sign(y) > 0), product))
    return outward(low, high)


def square(a: Interval) -> Interval:
    """a²."""
    low, high = absolute(a)
    return multiply((low, low), (low, low))[0], multiply((high, high), (high, high))[1]


def divide(a: Interval, b: Interval) -> Interval:
    """a/b; everything where b may be 0."""
    with np.errstate(all="ignore"):
        pole = (np.less_equal(b[0], 0)) & (np.greater_equal(b[1], 0))
        low, high = multiply(a, outward(np.divide(1.0, b[1]), np.divide(1.0, b[0])))
        return np.where(pole, -math.inf, low), np.where(pole, math.inf, high)


def ratio(a: Interval, epsilon: float = 1e-20) -> Interval:
    """a/(a + ε): rises where a is not negative."""
    low, high = (divide((end, end), (end + epsilon,) * 2) for end in a)
    known = np.greater_equal(a[0], 0)
    high_end = np.where(np.isinf(a[1]), 1.0, np.minimum(high[1], 1.0))
    return np.where(known, np.maximum(low[0], 0.0), -math.inf), np.where(known, high_end, math.inf)


def absolute(a: Interval) -> Interval:
    """|a|."""
    return np.maximum(np.maximum(a[0], np.negative(a[1])), 0.0), np.maximum(np.negative(a[0]), a[1])


def step(a: Interval) -> Interval:
    """1 where a > 0, 0 where a < 0, anything between at 0: the slope of max(0, a)."""
    return np.where(np.greater(a[0], 0), 1.0, 0.0), np.where(np.less(a[1], 0), 0.0, 1.0)


def cosine(a: Interval) -> Interval:
    """cos a: ±1 where a peak may lie inside, else between its ends."""
    low, high = np.asarray(a[0], dtype=np.float64), np.asarray(a[1], dtype=np.float64)
    with np.errstate(all="ignore"):
        reach = np.maximum(np.abs(low), np.abs(high))
        slack = 1e-15 * (1 + reach)
        ends = np.cos(low), np.cos(high)
        least = np.where(_holds(low - math.pi, high - math.pi), -1.0, np.minimum(*ends) - slack)
        most = np.where(_holds(low, high), 1.0, np.maximum(*ends) + slack)
        unknown = ~(reach <= _PHASE_LIMIT)
        return (
            np.where(unknown, -1.0, np.maximum(least, -1.0)),
            np.where(unknown, 1.0, np.minimum(most, 1.0)),
        )


def _holds(low: Any, high: Any) -> Any:
    """Whether a multiple of 2π lies between, or so near that rounding might have put it outside."""
    turn = 2 * math.pi
    return np.ceil(low / turn - 1e-9) <= np.floor(high / turn + 1e-9)


def sine(a: Interval) -> Interval:
    """sin a."""
    return cosine((a[0] - math.pi / 2, a[1] - math.pi / 2))
