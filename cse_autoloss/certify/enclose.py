"""Intervals through a tape: for many boxes of its variables at once, a range that holds all real values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from cse_autoloss.certify.holes import has_holes
from cse_autoloss.certify.tape import UNKNOWN, Tape
from cse_autoloss.operators import ALL_OPERATORS
from cse_autoloss.operators.intervals import UNBOUNDED, Interval, ratio, square, step


def pulse(a: Interval) -> Interval:
    """The slope of Step: 0, but for what holds the jump."""
    holds = np.less_equal(a[0], 0) & np.greater_equal(a[1], 0)
    return np.where(holds, 0.0, 0.0), np.where(holds, math.inf, 0.0)


_OWN: Mapping[str, Callable[..., Interval]] = {"Step": step, "Pulse": pulse}


def enclose(tape: Tape, wanted: Sequence[int], boxes: Mapping[str, Interval]) -> list[Interval]:
    """The ranges of some steps.

    Args:
        tape: the steps.
        wanted: which of them.
        boxes: the range of each variable, numbers or (N,).

    Returns:
        For each, (low, high), each () or (N,). Not a number where an operator on the way may have no real value.
    """
    needed = set(wanted)
    for index in range(max(wanted), -1, -1):
        if index in needed:
            needed.update(tape.steps[index][1])
    known: dict[int, Interval] = {}
    for index in sorted(needed):
        symbol, args = tape.steps[index]
        if isinstance(symbol, float):
            known[index] = (np.float64(symbol), np.float64(symbol))
        elif not args:
            known[index] = UNBOUNDED if symbol == UNKNOWN else boxes[symbol]
        elif symbol == "Mul" and args[0] == args[1]:
            known[index] = _told(square(known[args[0]]), [known[args[0]]])
        elif symbol == "Div" and args[0] == args[1]:
            known[index] = _told(ratio(known[args[0]]), [known[args[0]]])
        else:
            given = [known[arg] for arg in args]
            rule = _OWN.get(symbol) or ALL_OPERATORS[symbol].interval
            known[index] = _told(rule(*given), given)
            if has_holes(symbol):
                known[index] = _holes(symbol, known[index], given)
    return [known[index] for index in wanted]


def _told(found: Interval, given: Sequence[Interval]) -> Interval:
    """The range, unless nothing is known of an argument."""
    if not any(np.isnan(low).any() for low, _ in given):
        return found
    lost = np.logical_or.reduce(np.broadcast_arrays(*[np.isnan(low) for low, _ in given]))
    return np.where(lost, math.nan, found[0]), np.where(lost, math.nan, found[1])


def _holes(symbol: str, found: Interval, given: Sequence[Interval]) -> Interval:
    function = ALL_OPERATORS[symbol].torch
    lost = np.isnan(found[0])
    for end in (0, 1):
        ends = [torch.as_tensor(np.asarray(one[end], dtype=np.float64)) for one in given]
        lost = lost | np.isnan(function(*ends).numpy())
    return np.where(lost, math.nan, found[0]), np.where(lost, math.nan, found[1])
