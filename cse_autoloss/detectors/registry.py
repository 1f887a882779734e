"""Detectors by name: see `cse_autoloss.plugins` for where they come from."""

from __future__ import annotations

from typing import Any

from cse_autoloss.detectors.protocol import DetectorBuilder
from cse_autoloss.plugins import Registry

DETECTOR_BRANCHES = ("cls-binary", "cls-multiclass")
"""Signatures of the classification loss that a detector may declare."""


def _fault(found: Any) -> str | None:
    branch = getattr(found, "branch", None)
    if callable(found) and branch in DETECTOR_BRANCHES:
        return None
    expected = " or ".join(repr(option) for option in DETECTOR_BRANCHES)
    return (
        f"expected a class or function with branch = {expected}, "
        f"got {type(found).__name__} with branch = {branch!r}"
    )


DETECTORS: Registry[DetectorBuilder] = Registry(
    "detector",
    "cse_autoloss.detectors",
    {
        "one-stage": "cse_autoloss.detectors.one_stage:OneStageDetector",
        "two-stage": "cse_autoloss.detectors.two_stage:TwoStageDetector",
        "one-stage-pyramid": "cse_autoloss.detectors.one_stage:OneStagePyramid",
        "two-stage-pyramid": "cse_autoloss.detectors.two_stage:TwoStagePyramid",
    },
    _fault,
)
"""Called `(channels, num_classes)`, with an attribute `branch`."""


def detector_builder(name: str) -> DetectorBuilder:
    """What makes the detector of that name; see `Registry.get`."""
    return DETECTORS.get(name)
