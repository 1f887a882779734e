"""For every IoU w of a positive: whether the loss falls, or has one minimum, which rises with w."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.certify.bisect import Budget
from cse_autoloss.certify.classes import OF_COLUMN
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import TOLERANCE, Scene
from cse_autoloss.spaces.standing import PROGRESS

Array = NDArray[np.float64]

LEAST_W = 0.02
"""Below, a positive counts next to nothing."""
_SLABS = 24
_ROUNDS = 12
_DEEPEST = 7
_PARTS = 16
"""Of a training, for losses that change with its progress."""
_FEW = 8
"""Of a class's frequency."""
_AT_LEAST = 6_000
"""Boxes, for the first cuts to be halved at all."""


def aims(name: str, scene: Scene, budget: Budget) -> Finding:
    """Whether along x, at every w, the loss falls, and never again once it has risen, and where it turns rises with w.

    Slabs of w are looked at whole. In a slab, each box of x must show that the loss never rises there, or never falls,
    or that its slope rises with x and falls with w: a turn, which moves to the right as w grows.
    """
    standing = (PROGRESS.symbol, *OF_COLUMN.values())
    place = next((n for n, axis in enumerate(scene.axes) if axis.name in standing and axis.split), None)
    if place is not None:
        return _throughout(name, scene, place, budget)
    allowed = TOLERANCE * scene.scale
    witness = _witness(scene, allowed)
    if witness is not None:
        detail, told = witness
        return Finding(name, "refuted", scene.domain, detail, told)
    edges = np.linspace(LEAST_W, 1.0, _SLABS + 1)
    slabs = np.column_stack([edges[:-1], edges[1:]])
    spent = 0
    for _ in range(_DEEPEST):
        fine, looked = _settled(scene, slabs, allowed, replace(budget, boxes=budget.boxes - spent))
        spent += looked
        slabs = slabs[~fine]
        if not len(slabs) or spent > budget.boxes or time.thread_time() > budget.deadline:
            break
        middle = slabs.mean(1)
        slabs = np.concatenate(
            [np.column_stack([slabs[:, 0], middle]), np.column_stack([middle, slabs[:, 1]])]
        )
    if not len(slabs):
        return Finding(name, "proved", scene.domain)
    low, high = float(slabs[:, 0].min()), float(slabs[:, 1].max())
    share = float((slabs[:, 1] - slabs[:, 0]).sum()) / (1 - LEAST_W)
    detail = f"not decided for {share:.0%} of the w between {low:.3g} and {high:.3g}"
    return Finding(name, "open", scene.domain, detail, remaining=({"w": (low, high)},))


def _throughout(name: str, scene: Scene, place: int, budget: Budget) -> Finding:
    """The same of a loss that reads what stands still, as the training's progress t: in each of some parts of it."""
    axis = scene.axes[place]
    parts_of = _PARTS if axis.name == PROGRESS.symbol else _FEW
    edges = (np.geomspace if axis.geometric else np.linspace)(axis.low, axis.high, parts_of + 1)
    share = replace(budget, boxes=budget.boxes // parts_of)
    parts = []
    for low, high in pairwise(edges):
        part = replace(axis, low=float(low), high=float(high), split=False)
        axes = (*scene.axes[:place], part, *scene.axes[place + 1 :])
        parts.append(aims(name, replace(scene, axes=axes), share))
    worst = next((one for kind in ("refuted", "open") for one in parts if one.outcome == kind), parts[0])
    return replace(worst, domain=scene.domain)


def _settled(scene: Scene, slabs: Array, allowed: float, budget: Budget) -> tuple[NDArray[np.bool_], int]:
    """Which slabs (K, 2) of w are decided, and how many boxes that took."""
    tape, slope = scene.tape, scene.slope
    steps = [slope, *(tape.slope(slope, {name: tape.number(1)}) for name in ("x", "w"))]
    axis = scene.axes[0]
    cuts = np.array(sorted({axis.low, *axis.cuts, axis.high}))
    slab = np.repeat(np.arange(len(slabs)), len(cuts) - 1)
    low, high = np.tile(cuts[:-1], len(slabs)), np.tile(cuts[1:], len(slabs))
    kept: list[tuple[Any, ...]] = []
    looked = 0
    for number in range(_ROUNDS):
        last = number == _ROUNDS - 1 or looked + 4 * len(low) > max(budget.boxes, _AT_LEAST)
        last |= time.thread_time() > budget.deadline
        boxes = {"x": (low, high), "w": (slabs[slab, 0], slabs[slab, 1])}
        boxes |= {
            one.name: (np.full(len(low), one.low), np.full(len(low), one.high))
            for one in scene.axes
            if one.name not in boxes
        }
        (a, b), (by_x, _), (_, by_w) = scene.all_ranges(steps, boxes)
        turn = (by_x >= 0) & (by_w <= 0)
        looked += len(low)
        rises, falls = ~(b <= allowed), ~(a >= -allowed)
        clear = ~rises | ~falls | turn | last
        pulls = b < -allowed
        kept.append(tuple(one[clear] for one in (slab, low, rises, falls, turn, pulls)))
        slab, low, high = slab[~clear], low[~clear], high[~clear]
        if not len(low):
            break
        middle = 0.5 * (low + high)
        slab, low, high = np.tile(slab, 2), np.concatenate([low, middle]), np.concatenate([middle, high])
    slab, low, rises, falls, turn, pulls = (np.concatenate(one) for one in zip(*kept, strict=True))
    order = np.lexsort((low, slab))
    groups = np.searchsorted(slab[order], np.arange(len(slabs) + 1))
    fine = [
        _in_order(*(one[order[start:end]] for one in (rises, falls, turn, pulls)))
        for start, end in pairwise(groups)
    ]
    return np.array(fine, dtype=bool), looked


def _in_order(rises: Any, falls: Any, turn: Any, pulls: Any) -> bool:
    """Whether boxes from left to right fall somewhere, and after one that may rise none may fall, but for one turn."""
    if not pulls.any():
        return False
    if not rises.any():
        return True
    first = int(rises.argmax())
    end = first
    # Neighbouring boxes in which the slope rises with x are one turn.
    while end < len(turn) and turn[end] and rises[end] and falls[end]:
        end += 1
    return not falls[end:].any()


def _witness(scene: Scene, allowed: float) -> tuple[str, dict[str, Any]] | None:
    """A w at which the loss falls after it has risen, or never falls; or two between which the minimum moves back."""
    ws = np.concatenate([[LEAST_W, 0.03, 0.05], np.linspace(0.1, 1.0, 37)])
    xs = np.concatenate(
        [np.linspace(-100, -12.5, 20), np.linspace(-12, 12, 241) + 0.0137, np.linspace(12.5, 100, 20)]
    )
    grid_w, grid_x = (one.ravel() for one in np.meshgrid(ws, xs, indexing="ij"))
    boxes = {"x": (grid_x, grid_x), "w": (grid_w, grid_w)}
    boxes |= {one.name: (np.full(len(grid_x), one.high),) * 2 for one in scene.axes if one.name not in boxes}
    low, high = (end.reshape(len(ws), len(xs)) for end in scene.ranges(scene.slope, boxes))
    up, down = low > allowed, high < -allowed

    def at(row: int, column: int) -> tuple[float, dict[str, Any]]:
        slope, inputs = scene.evaluate(
            {**{n: float(v[0][0]) for n, v in boxes.items()}, "x": float(xs[column]), "w": float(ws[row])}
        )
        return scene.sign * slope, inputs

    later = down & (np.cumsum(up, 1) > 0)
    for row in np.flatnonzero(later.any(1)):
        rise = int(
            np.where(
                up[row] & (np.arange(len(xs)) < later[row].nonzero()[0].max()), low[row], -np.inf
            ).argmax()
        )
        fall = int(np.where(later[row] & (np.arange(len(xs)) > rise), -high[row], -np.inf).argmax())
        (s1, told), (s2, _) = at(int(row), rise), at(int(row), fall)
        if s1 > allowed and s2 < -allowed:
            return "falls again after it has risen", {
                **told,
                "slope": s1,
                "falls again at logit": float(xs[fall]),
                "slope there": s2,
            }
    for row in np.flatnonzero(up.any(1) & (low >= -allowed).all(1)):
        column = int(low[row].argmax())
        slope, told = at(int(row), column)
        if slope > allowed and _never_falls(scene, float(ws[row]), allowed):
            return "pushes the logit of a positive down at every logit", {**told, "slope": slope}
    ends = [
        (int(d.nonzero()[0].max()), int(u.argmax()), row)
        for row, (d, u) in enumerate(zip(down, up))
        if d.any() and u.any()
    ]
    for (last_fall, _, one), (_, first_rise, other) in pairwise(ends):
        if first_rise <= last_fall:
            (s1, told), (s2, _) = at(other, first_rise), at(one, last_fall)
            if s1 > allowed and s2 < -allowed:
                detail = "the minimum moves back as w grows"
                return detail, {
                    **told,
                    "slope": s1,
                    "falls at w": float(ws[one]),
                    "logit there": float(xs[last_fall]),
                    "slope there": s2,
                }
    return None


def _never_falls(scene: Scene, w: float, allowed: float) -> bool:
    """Whether at this w the loss surely falls nowhere."""
    cuts = np.linspace(scene.axes[0].low, scene.axes[0].high, 2001)
    boxes = {"x": (cuts[:-1], cuts[1:]), "w": (np.full(2000, w), np.full(2000, w))}
    boxes |= {
        one.name: (np.full(2000, one.low), np.full(2000, one.high))
        for one in scene.axes
        if one.name not in boxes
    }
    return bool((scene.ranges(scene.slope, boxes)[0] >= -allowed).all())
