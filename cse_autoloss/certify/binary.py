"""Losses of sigmoid heads."""

from __future__ import annotations

from cse_autoloss.certify.aim import LEAST_W, aims
from cse_autoloss.certify.bisect import Budget
from cse_autoloss.certify.calibration import calibration
from cse_autoloss.certify.classes import Sample, factors_of, reads_quality, scene
from cse_autoloss.certify.properties import bounded_below, largest_slope, never_rises, vanishes
from cse_autoloss.certify.result import Finding
from cse_autoloss.certify.scene import Scene
from cse_autoloss.graph import LossGraph


def findings(graph: LossGraph, budget: Budget, alpha: float | None = None) -> list[Finding]:
    """The properties of a loss whose classes do not see each other, weighted by α."""
    weights = factors_of(alpha)

    def of(positive: bool, w: tuple[float, float] = (1.0, 1.0)) -> Scene:
        return scene(graph, Sample(positive, w=w, factors=weights))

    positive, negative = of(True), of(False)
    found = [
        never_rises("Never rises with the logit of a positive, at w = 1", positive, budget),
        never_rises("Never falls with the logit of a negative", negative, budget),
    ]
    both = [of(True, (0.0, 1.0)), negative]
    if reads_quality(graph):
        weighted = of(True, (LEAST_W, 1.0))
        found.append(aims("At every w falls, or has one minimum, which rises with w", weighted, budget))
    found += [
        vanishes("Slope vanishes towards a positive's right answer", positive, budget),
        vanishes("Slope vanishes towards a negative's right answer", negative, budget),
    ]
    if budget.signs:
        return found
    return [
        *found,
        *calibration(graph, budget, alpha),
        bounded_below("Bounded below", both, budget),
        largest_slope("Slope is bounded", both, budget),
    ]
