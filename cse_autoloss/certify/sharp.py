"""A sharper upper bound of a step over boxes, by its slopes, where plain intervals forget that their variables are one.

Two rules (Moore, 1966). Where the step surely rises or falls along an axis, it is largest at that end of the axis. And by
the mean value theorem it is, anywhere in a box, at most its value in the middle plus the sum of |slope|·(half a side). The
second also tells which axis moves it most: across it a box is halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cse_autoloss.certify.bisect import Array, Ranges
from cse_autoloss.certify.scene import Scene

_SLACK = 1 + 1e-12


def upper_bound(scene: Scene, step: int) -> Callable[[Ranges], tuple[Array, Array]]:
    """A function from boxes to what the step there is at most, (N,), and how far each axis moves it, (N, D).

    The bound is infinite where the step may have no value, the distance where nothing is known of the slope. Axes that
    are not halved keep their whole range.
    """
    one = scene.tape.number(1)
    slopes = {axis.name: scene.tape.slope(step, {axis.name: one}) for axis in scene.axes if axis.split}

    def bound(boxes: Ranges) -> tuple[Array, Array]:
        plain, *found = scene.all_ranges([step, *slopes.values()], boxes)
        ends = {name: (np.array(low), np.array(high)) for name, (low, high) in boxes.items()}
        for name, (least, most) in zip(slopes, found, strict=True):
            low, high = boxes[name]
            ends[name] = np.where(least >= 0, high, low), np.where(most <= 0, low, high)
        _, at_ends = scene.ranges(step, ends)
        middle = dict(ends)
        reach = np.zeros((len(plain[1]), len(scene.axes)))
        with np.errstate(all="ignore"):
            for place, axis in enumerate(scene.axes):
                if axis.name in slopes:
                    low, high = ends[axis.name]
                    centre = np.clip(0.5 * low + 0.5 * high, low, high)
                    middle[axis.name] = centre, centre
                    steepest = np.maximum(*map(np.abs, found[list(slopes).index(axis.name)]))
                    side = np.maximum(high - centre, centre - low)
                    reach[:, place] = np.where(side == 0, 0.0, steepest * side * _SLACK)
            reach = np.where(np.isnan(reach), math.inf, reach)
            _, centred = scene.ranges(step, middle)
            top = np.fmin(np.fmin(plain[1], at_ends), centred + reach.sum(1) * _SLACK)
        return np.where(np.isnan(plain[0]) | np.isnan(top), math.inf, top), reach

    return bound
