"""Losses of sigmoid heads."""

from __future__ import annotations

from cse_autoloss.certify.bisect import Budget
from cse_autoloss.certify.classes import single
from cse_autoloss.certify.properties import never_rises
from cse_autoloss.certify.result import Finding
from cse_autoloss.graph import LossGraph


def findings(graph: LossGraph, budget: Budget) -> list[Finding]:
    """The properties of a loss whose classes do not see each other."""
    positive, negative = single(graph, True), single(graph, False)
    return [
        never_rises("Never rises with the logit of a positive, at w = 1", positive, budget),
        never_rises("Never falls with the logit of a negative", negative, budget),
    ]
