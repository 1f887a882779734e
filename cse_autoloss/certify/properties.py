"""Properties of a scene: the sign of its slope, bounds of values and slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from cse_autoloss.certify.bisect import Axis, Budget, Decision, Ranges, Sharpen, decide, least
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import TOLERANCE, Scene
from cse_autoloss.certify.sharp import upper_bound

VANISHED = 0.05
"""Share of its scale that a slope may still have where the answer has long been right."""
LONG_RIGHT = 12.0
ALL_LOGITS = "all logits"
"""The domain of a bound that holds wherever the logits go."""
_LOGITS = ("x", "y", "z", "v")


def never_rises(name: str, scene: Scene, budget: Budget, *, sharp: bool = False) -> Finding:
    """Whether the loss nowhere goes the wrong way along the motion, by more than `TOLERANCE` of its scale.

    `sharp`: look at the slope's own slopes, too, which pays in several dimensions.
    """
    allowed = TOLERANCE * scene.scale

    def status(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, high = scene.ranges(scene.slope, boxes)
        return high <= allowed, low > allowed, low

    bound = upper_bound(scene, scene.slope) if sharp else None

    def sharpen(boxes: Ranges) -> tuple[Any, Any]:
        assert bound is not None
        high, reach = bound(boxes)
        return high <= allowed, reach

    def violates(slope: float) -> bool:
        return scene.sign * slope > allowed

    return finding(name, scene, status, budget, violates, sharpen=sharpen if sharp else None)


def vanishes(name: str, scene: Scene, budget: Budget) -> Finding:
    """Whether the slope is all but gone where the moving logit is far on the right side; the others are not."""
    allowed = VANISHED * scene.scale
    ends = (LONG_RIGHT, scene.axes[0].high) if scene.sign > 0 else (scene.axes[0].low, -LONG_RIGHT)
    axes = {one.name: one for one in scene.axes}
    axes["x"] = replace(axes["x"], low=ends[0], high=ends[1])
    # Of other classes' logits, where they are not told by their distance: a target's is right if it leads.
    others = {"y", "z"} & set(axes)
    axes |= {name: replace(axes[name], high=0.0) for name in others}
    there = replace(scene, axes=tuple(axes.values()))

    def status(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, high = there.ranges(scene.slope, boxes)
        return (
            (high <= allowed) & (low >= -allowed),
            (low > allowed) | (high < -allowed),
            np.maximum(low, -high),
        )

    found = finding(name, there, status, budget, lambda slope: abs(slope) > allowed)
    return replace(
        found,
        domain=f"{scene.place} beyond {LONG_RIGHT:g} on the right side{', the others below 0' if others else ''}; "
        f"at most {VANISHED:.0%} of its scale",
    )


def finding(
    name: str,
    scene: Scene,
    status: Any,
    budget: Budget,
    violates: Callable[[float], bool],
    required: bool = True,
    called: str = "slope",
    sharpen: Sharpen | None = None,
) -> Finding:
    """What bisection decides; a violation counts once the loss itself, evaluated there, violates too.

    `called`: what the scene evaluates to, as the witness tells it. `sharpen`: as of `decide`.
    """
    decision = decide(scene.axes, status, budget, scene.near, sharpen)
    if decision.violation is not None:
        slope, inputs = scene.evaluate(decision.violation)
        if math.isfinite(slope) and violates(slope):
            witness = {**inputs, called: slope}
            return Finding(name, "refuted", scene.domain, scene.place, witness, required=required)
        at = ", ".join(f"{name} = {value:g}" for name, value in decision.violation.items())
        detail = f"intervals refute it at {at}, but the loss evaluated there does not"
        return Finding(name, "open", scene.domain, detail, required=required)
    return replace(decided(name, scene, decision), required=required)


def decided(name: str, scene: Scene, decision: Decision) -> Finding:
    """What bisection came to where it found no violation."""
    if decision.remaining:
        share = decision.open_volume
        detail = f"not decided on {f'{share:.1g}' if share < 0.01 else f'{share:.0%}'} of the domain"
        return Finding(name, "open", scene.domain, detail, remaining=decision.remaining)
    return Finding(name, "proved", scene.domain)


def bounded_below(name: str, scenes: list[Scene], budget: Budget) -> Finding:
    """A number that the loss never falls below, wherever the logits go; else within the domain."""
    for endless in _reaches(scenes):
        found = [_bound(scene, scene.loss, budget, endless) for scene in scenes]
        low, reached = min(one[0] for one in found), min(one[1] for one in found)
        if math.isfinite(low):
            where = ALL_LOGITS if endless and scenes[0].near else scenes[0].domain
            return Finding(name, "proved", where, f"≥ {_shown(low)} (comes to {_shown(reached)})")
    return Finding(name, "open", scenes[0].domain, "no bound was found")


def largest_slope(name: str, scenes: list[Scene], budget: Budget) -> Finding:
    """A number that no slope exceeds."""
    for endless in _reaches(scenes):
        found = [_bound(scene, scene.slope, budget, endless, absolute=True) for scene in scenes]
        high, reached = max(-one[0] for one in found), max(-one[1] for one in found)
        if math.isfinite(high):
            where = ALL_LOGITS if endless and scenes[0].near else scenes[0].domain
            return Finding(
                name, "proved", where, f"≤ {_shown(high)} (comes to {_shown(reached)})", required=False
            )
    return Finding(name, "open", scenes[0].domain, "no bound was found", required=False)


def _reaches(scenes: list[Scene]) -> tuple[bool, ...]:
    """Whether to look at all logits: first so, then within the domain; where there are none there is nothing twice."""
    return (True, False) if any(axis.name in _LOGITS for one in scenes for axis in one.axes) else (False,)


def _bound(
    scene: Scene, step: int, budget: Budget, endless: bool, absolute: bool = False
) -> tuple[float, float]:
    """Lower and upper bound of a step's least value; of its largest size, negative, where `absolute`."""

    def values(boxes: Ranges) -> tuple[Any, Any]:
        low, high = scene.ranges(step, boxes)
        return (
            (-np.maximum(np.abs(low), np.abs(high)), -np.maximum(np.maximum(low, -high), 0))
            if absolute
            else (low, high)
        )

    axes = tuple(_endless(one) if endless and one.name in _LOGITS else one for one in scene.axes)
    return least(axes, values, replace(budget, boxes=min(budget.boxes, 40_000)))


def _endless(axis: Axis) -> Axis:
    return replace(axis, low=-math.inf, high=math.inf, cuts=(axis.low, *axis.cuts, axis.high))


def _shown(value: float) -> str:
    return f"{value:.4g}"


def centred(scene: Scene, step: int, boxes: Ranges, by: Mapping[str, int]) -> tuple[Any, Any]:
    """The range of a step by its middle and its slopes, within the plain one: far tighter on small boxes.

    `by`: the step of its slope by each variable; the others keep their whole range.
    """
    middle = {name: (0.5 * a + 0.5 * b,) * 2 if name in by else (a, b) for name, (a, b) in boxes.items()}
    low, high = (end.copy() for end in scene.ranges(step, middle))
    plain, *slopes = scene.all_ranges([step, *by.values()], boxes)
    with np.errstate(all="ignore"):
        for name, (a, b) in zip(by, slopes, strict=True):
            reach = np.maximum(np.abs(a), np.abs(b)) * (0.5 * (boxes[name][1] - boxes[name][0]) * (1 + 1e-12))
            low, high = low - reach, high + reach
    # Where the plain range has no value, some place in the box has none, though its middle may.
    low, high = np.where(np.isnan(plain[0]), math.nan, low), np.where(np.isnan(plain[0]), math.nan, high)
    worse = np.isnan(low) | np.isnan(high)
    return np.where(worse, plain[0], np.fmax(low, plain[0])), np.where(
        worse, plain[1], np.fmin(high, plain[1])
    )
