"""Bisection: boxes that an interval does not decide are halved, all at once, until none is left or work is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.operators.intervals import Interval

Array = NDArray[np.float64]
Ranges = Mapping[str, Interval]
"""The range of each variable: numbers or (N,)."""


@dataclass(frozen=True)
class Axis:
    """One variable of a domain.

    Attributes:
        name: of the tape's variable.
        low, high: its range.
        split: whether it is halved; else it is taken whole.
        geometric: halved at the geometric mean, as a length; low must be above 0.
        cuts: where it is cut to begin with.
    """

    name: str
    low: float
    high: float
    split: bool = True
    geometric: bool = False
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Budget:
    """What a certificate may cost.

    Attributes:
        boxes: of a property, which decide the same on every machine.
        deadline: of the thread's time, when all must be done.
        signs: only the properties that a right loss can't be without: the signs of its slopes.
    """

    boxes: int = 400_000
    deadline: float = float("inf")
    signs: bool = False


@dataclass(frozen=True)
class Decision:
    """What bisection came to.

    Attributes:
        remaining: boxes that are not decided, each a range by variable; none where all are good.
        violation: a point that is surely bad, by variable; None where none was found.
        looked_at: boxes.
    """

    remaining: tuple[dict[str, tuple[float, float]], ...]
    violation: dict[str, float] | None
    looked_at: int = 0
    open_volume: float = 0.0


Status = Callable[[Ranges], tuple[NDArray[np.bool_], NDArray[np.bool_], Array]]
"""From boxes: which surely are good, which surely are bad everywhere, and by how much the bad ones are."""

Sharpen = Callable[[Ranges], tuple[NDArray[np.bool_], Array]]
"""From boxes that a `Status` leaves open: which surely are good, and how far each axis moves what is asked, (N, D)."""

CHUNK = 16_384
LISTED = 12
"""Undecided boxes that are told; more are put together into one that holds them."""


def decide(
    axes: Sequence[Axis],
    status: Status,
    budget: Budget,
    near: Mapping[str, tuple[float, float]] | None = None,
    sharpen: Sharpen | None = None,
) -> Decision:
    """Whether all of a domain is good.

    Points are looked at first, then midpoints of undecided boxes: the worst that is surely bad is the violation.
    `near`: where most points are taken. `sharpen`: a dearer look at what `status` leaves open, which also says across
    which axis it is halved.
    """
    found = _worse(None, axes, status, scattered(axes, near or {}))
    if found is not None:
        return Decision((), found[1])
    low, high = start(axes)
    looked = 0
    while len(low):
        worst: tuple[float, dict[str, float]] | None = None
        kept_low, kept_high, reaches = [], [], []
        for at in range(0, len(low), CHUNK):
            a, b = low[at : at + CHUNK], high[at : at + CHUNK]
            good, _, _ = status(_ranges(axes, a, b))
            a, b = a[~good], b[~good]
            if len(a) and sharpen is not None:
                sharp, reach = sharpen(_ranges(axes, a, b))
                a, b = a[~sharp], b[~sharp]
                reaches.append(reach[~sharp])
            if len(a):
                kept_low.append(a)
                kept_high.append(b)
                worst = _worse(worst, axes, status, middle(axes, a, b))
            looked += 2 * len(good)
        if worst is not None:
            return Decision((), worst[1], looked)
        if not kept_low:
            return Decision((), None, looked)
        low, high = np.concatenate(kept_low), np.concatenate(kept_high)
        if looked + 4 * len(low) > budget.boxes or time.thread_time() > budget.deadline:
            return Decision(_listed(axes, low, high), None, looked, _share(axes, low, high))
        low, high = halve(axes, low, high, np.concatenate(reaches) if reaches else None)
        if not len(low):
            break
    return Decision((), None, looked)


def least(axes: Sequence[Axis], values: Callable[[Ranges], Interval], budget: Budget) -> tuple[float, float]:
    """A lower and an upper bound of a function's least value over a domain, by branch and bound."""
    low, high = start(axes)
    reached, closed, looked = float("inf"), float("inf"), 0
    for _ in range(_ROUNDS):
        bottom = values(_ranges(axes, low, high))[0]
        bottom = np.where(np.isnan(bottom), -np.inf, bottom)
        points = middle(axes, low, high)
        top = values(_ranges(axes, points, points))[1]
        reached = min(reached, float(np.nanmin(np.where(np.isnan(top), np.inf, top))))
        looked += 2 * len(low)
        # What lies within a thousandth of the least that was reached needs no further look.
        done = bottom >= reached - 1e-3 * abs(reached) - 1e-9
        closed = min(closed, float(bottom[done].min())) if done.any() else closed
        low, high, bottom = low[~done], high[~done], bottom[~done]
        if looked + 4 * len(low) > budget.boxes or time.thread_time() > budget.deadline:
            break
        if not len(low):
            return closed, reached
        low, high = halve(axes, low, high)
    return min(closed, float(bottom.min())) if len(bottom) else closed, reached


_ROUNDS = 40
"""Halvings of one box in a row."""


def scattered(axes: Sequence[Axis], near: Mapping[str, tuple[float, float]]) -> Array:
    """(2049, D) points: an additive recurrence over the domain, three in four of them near."""
    count = 2049
    points = np.zeros((count, len(axes)))
    close = np.arange(count) % 4 > 0
    for place, axis in enumerate(axes):
        share = (0.5 + np.arange(count) * _STEPS[place % len(_STEPS)]) % 1.0
        low, high = near.get(axis.name, (axis.low, axis.high))
        low, high = max(low, axis.low), min(high, axis.high)
        inside = close & (low <= high)
        a, b = np.where(inside, low, axis.low), np.where(inside, high, axis.high)
        points[:, place] = a * (b / a) ** share if axis.geometric else a + share * (b - a)
    return points


_STEPS = tuple(math.sqrt(prime) % 1 for prime in (2, 3, 5, 7, 11, 13))
"""Irrational steps: their multiples fill [0, 1) evenly and have no period that a loss could share."""


def start(axes: Sequence[Axis]) -> tuple[Array, Array]:
    """The first boxes, (N, D) each end."""
    low, high = np.zeros((1, 0)), np.zeros((1, 0))
    for axis in axes:
        cuts = np.array([axis.low, *(c for c in axis.cuts if axis.low < c < axis.high), axis.high])
        n = len(cuts) - 1
        low = np.column_stack([low.repeat(n, 0), np.tile(cuts[:-1], len(low))])
        high = np.column_stack([high.repeat(n, 0), np.tile(cuts[1:], len(high))])
    return low, high


def middle(axes: Sequence[Axis], low: Array, high: Array) -> Array:
    """(N, D) a point within each box; of an endless range one near its end."""
    with np.errstate(all="ignore"):
        inner = 0.5 * low + 0.5 * high
        inner = np.where(
            np.isinf(high), 2 * np.abs(low) + 1, np.where(np.isinf(low), -2 * np.abs(high) - 1, inner)
        )
        for place, axis in enumerate(axes):
            if axis.geometric:
                inner[:, place] = np.sqrt(low[:, place] * high[:, place])
    return np.clip(inner, low, high)


def halve(axes: Sequence[Axis], low: Array, high: Array, reach: Array | None = None) -> tuple[Array, Array]:
    """Each box in two, across its longest side, by the domain's measure; where all is known of `reach`, (N, D), across
    the axis of the greatest."""
    lengths = np.full(low.shape, -1.0)
    for place, axis in enumerate(axes):
        if axis.split and axis.low < axis.high:
            a, b = low[:, place], high[:, place]
            lengths[:, place] = np.log(b / a) / 4 if axis.geometric else (b - a) * axis_weight(axis)
    across = lengths.argmax(1)
    if reach is not None:
        known = np.isfinite(reach).all(1) & (reach.max(1) > 0)
        across = np.where(known, reach.argmax(1), across)
    rows = np.arange(len(low))
    cut = middle(axes, low, high)[rows, across]
    upper, lower = high.copy(), low.copy()
    upper[rows, across] = cut
    lower[rows, across] = cut
    return np.concatenate([low, lower]), np.concatenate([upper, high])


def axis_weight(axis: Axis) -> float:
    """What a unit of an axis counts: a logit of 1 as much as 1/4 of a share."""
    return 4.0 if axis.high - axis.low <= 1.0 else 1.0


def _worse(
    worst: tuple[float, dict[str, float]] | None, axes: Sequence[Axis], status: Status, points: Array
) -> tuple[float, dict[str, float]] | None:
    _, bad, amount = status(_ranges(axes, points, points))
    if not bad.any():
        return worst
    at = int(np.where(bad, amount, -np.inf).argmax())
    if worst is not None and worst[0] >= amount[at]:
        return worst
    return float(amount[at]), {axis.name: float(v) for axis, v in zip(axes, points[at], strict=True)}


def _ranges(axes: Sequence[Axis], low: Array, high: Array) -> dict[str, Interval]:
    return {axis.name: (low[:, place], high[:, place]) for place, axis in enumerate(axes)}


def _share(axes: Sequence[Axis], low: Array, high: Array) -> float:
    """What share of the domain the boxes are, an estimate by their sides."""
    share = np.ones(len(low))
    for place, axis in enumerate(axes):
        if axis.split and axis.low < axis.high and np.isfinite(axis.high - axis.low):
            share *= (high[:, place] - low[:, place]) / (axis.high - axis.low)
    return float(share.sum())


def _listed(axes: Sequence[Axis], low: Array, high: Array) -> tuple[dict[str, tuple[float, float]], ...]:
    if len(low) > LISTED:
        low, high = low.min(0, keepdims=True), high.max(0, keepdims=True)
    return tuple(
        {axis.name: (float(a), float(b)) for axis, a, b in zip(axes, lows, highs, strict=True)}
        for lows, highs in zip(low, high, strict=True)
    )
