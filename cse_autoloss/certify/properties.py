"""Properties of a scene: the sign of a slope, bounds, and what happens far out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cse_autoloss.certify.bisect import Budget, Ranges, decide
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import TOLERANCE, Scene


def never_rises(name: str, scene: Scene, budget: Budget) -> Finding:
    """Whether the loss nowhere goes the wrong way along the motion, by more than `TOLERANCE` of its scale."""
    allowed = TOLERANCE * scene.scale

    def status(boxes: Ranges) -> tuple[Any, Any, Any]:
        low, high = scene.ranges(scene.slope, boxes)
        return high <= allowed, low > allowed, low

    decision = decide(scene.axes, status, budget)
    if decision.violation is not None:
        return refuted(name, scene, decision.violation, lambda slope: slope > allowed)
    if decision.remaining:
        detail = f"not decided on {_share(decision.open_volume)} of the domain"
        return Finding(name, "open", scene.domain, detail, remaining=decision.remaining)
    return Finding(name, "proved", scene.domain)


def refuted(name: str, scene: Scene, point: dict[str, float], violates: Any) -> Finding:
    """The finding at a point where an interval is surely wrong, once the loss itself has been looked at there."""
    slope, inputs = scene.evaluate(point)
    if math.isfinite(slope) and violates(scene.sign * slope):
        return Finding(name, "refuted", scene.domain, scene.place, {**inputs, "slope": slope})
    detail = f"intervals refute it at {_listed(point)}, but the loss evaluated there does not"
    return Finding(name, "open", scene.domain, detail, remaining=({k: (v, v) for k, v in point.items()},))


def _share(volume: float) -> str:
    return f"{volume:.2g}" if volume < 0.01 else f"{volume:.0%}"


def _listed(point: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in point.items())


def _finite(values: Any) -> Any:
    return np.isfinite(values)
