"""What a sigmoid head's loss asks for on average: of a share η of positives, where the expected loss is least.

With s₁ and s₀ the slopes at a positive and at a negative, the expected loss η·L(x, 1) + (1 − η)·L(x, 0) stands still
where η = s₀/(s₀ − s₁). The loss is proper where that is σ(x): then the least expected loss is at x = logit(η).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cse_autoloss.certify.bisect import Axis, Budget, Ranges
from cse_autoloss.certify.classes import Sample, factors_of, scene
from cse_autoloss.certify.properties import centred, finding
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import Evaluated, Point, Scene
from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import LossGraph

PROPER = 1e-3
"""How far the answer's η may be from σ(x)."""
ALIKE = 1e-5
"""How far L(x, 0) + L(x, 1) may move, as a share of the largest slope."""
_REACH = 6.9
"""η from 0.001 to 0.999."""
_SHOWN = (0.1, 0.5, 0.9)


def calibration(graph: LossGraph, budget: Budget, alpha: float | None = None) -> list[Finding]:
    """Is the loss, weighted by α, proper, or where does it aim; and is L(x, 0) + L(x, 1) constant; at w = 1."""
    tape, weights = Tape(), factors_of(alpha)
    positive, negative = (scene(graph, Sample(one, factors=weights), tape) for one in (True, False))
    return told(positive, negative, budget, "L(x, 0) + L(x, 1) is constant")


def told(
    positive: Scene, negative: Scene, budget: Budget, constant: str, others: int = 1, place: str = ""
) -> list[Finding]:
    """Whether the losses of a logit's two answers are proper together, and their sum constant.

    Args:
        positive: the loss where the moving logit's class is the right one, on a tape with `negative`.
        negative: the loss where another one is.
        budget: what it may cost.
        constant: what the second finding is called.
        others: how many answers are like `negative`.
        place: the beginning of the domain in words.
    """
    tape = positive.tape
    up, down = positive.slope, tape.apply("Neg", negative.slope)
    x = tape.variable("x")
    chance, rest = tape.apply("Sig", x), tape.apply("Sig", tape.apply("Neg", x))
    away = tape.apply("Add", tape.apply("Mul", rest, down), tape.apply("Mul", chance, up))
    spread = tape.apply("Sub", down, up)
    both = tape.apply("Add", up, tape.apply("Mul", tape.number(others), down))
    x_axis = replace(positive.axes[0], low=-_REACH, high=_REACH, cuts=tuple(np.linspace(-_REACH, _REACH, 70)))
    beside = positive.axes[1:]
    moving = "".join(f", {axis.name} in [{axis.low:g}, {axis.high:g}]" for axis in beside if axis.split)

    def measured(axes: tuple[Axis, ...], domain: str, evaluate: Callable[[Point], Evaluated]) -> Scene:
        return replace(positive, axes=axes, domain=domain, place="", evaluate=evaluate)

    proper_scene = measured(
        (x_axis, *beside), f"{place}w = 1, η from 0.001 to 0.999{moving}", _distance(positive, negative)
    )
    by_away, by_both = (tape.slope(step, {"x": tape.number(1)}) for step in (away, both))

    def proper(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, high = centred(proper_scene, away, boxes, {"x": by_away})
        least = np.maximum(proper_scene.ranges(spread, boxes)[0], 0.0)
        most = proper_scene.ranges(spread, boxes)[1]
        size = np.maximum(low, -high)
        with np.errstate(invalid="ignore"):  # where both have no end
            share = size / np.maximum(most, 1e-300)
        # Where both slopes are 0, the expected loss is least everywhere, and so at no one place.
        near = (least > 0) & (high <= PROPER * least) & (low >= -PROPER * least)
        return near, size > PROPER * most, share

    whole = measured(
        positive.axes, f"{place}logits from −100 to 100, w = 1{moving}", _both(positive, negative, others)
    )
    allowed = ALIKE * max(positive.scale, negative.scale)

    def alike(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, high = centred(whole, both, boxes, {"x": by_both})
        return (
            (high <= allowed) & (low >= -allowed),
            (low > allowed) | (high < -allowed),
            np.maximum(low, -high),
        )

    few = replace(budget, boxes=min(budget.boxes, 120_000))
    first = finding(
        "Proper: the least expected loss is at the true chance",
        proper_scene,
        proper,
        few,
        lambda distance: abs(distance) > PROPER,
        required=False,
        called="η less σ of the logit",
    )
    second = finding(
        constant,
        whole,
        alike,
        few,
        lambda slope: abs(slope) > allowed,
        required=False,
        called="slope of the sum",
    )
    detail = "; ".join(filter(None, (first.detail, _answers(positive, negative))))
    return [replace(first, detail=detail), second]


def _both(positive: Scene, negative: Scene, others: int = 1) -> Callable[[Point], Evaluated]:
    """The sum of the slopes at a logit over all answers, and what each is."""

    def at(point: Point) -> Evaluated:
        (up, inputs), (down, _) = positive.evaluate(point), negative.evaluate(point)
        slopes = {"slope at a positive": up, "slope at a negative": down}
        return up + others * down, {**inputs, "logit": point["x"], **slopes}

    return at


def _distance(positive: Scene, negative: Scene) -> Callable[[Point], Evaluated]:
    """How far the η whose expected loss is least at a logit x is from σ(x); ±1 where that of no η is."""
    slopes = _both(positive, negative)

    def at(point: Point) -> Evaluated:
        _, told = slopes(point)
        up, down = told["slope at a positive"], told["slope at a negative"]
        chance, rest = 1 / (1 + math.exp(-point["x"])), 1 / (1 + math.exp(point["x"]))
        away, spread = chance * up + rest * down, down - up
        if spread > 0:
            return away / spread, told
        return (math.copysign(1.0, away) if away or spread else 0.0), told

    return at


def _answers(positive: Scene, negative: Scene) -> str:
    """σ of where the expected loss is least, for a few η; empty where it has no least place between."""
    x = np.linspace(-30, 30, 6001)
    boxes = {"x": (x, x)} | {one.name: (np.full_like(x, one.high),) * 2 for one in positive.axes[1:]}
    up, down = positive.ranges(positive.slope, boxes)[0], -negative.ranges(negative.slope, boxes)[1]
    told = []
    for share in _SHOWN:
        expected = share * up + (1 - share) * down
        turns = np.flatnonzero((expected[:-1] < 0) & (expected[1:] >= 0))
        if len(turns) == 1:
            told.append(f"{share:.0%} as {1 / (1 + math.exp(-x[turns[0]])):.0%}")
    return f"answers {', '.join(told)}" if told else ""
