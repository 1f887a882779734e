"""Detectors by name: see `cse_autoloss.plugins` for where they come from."""

from __future__ import annotations

from typing import Any

from cse_autoloss.detectors.protocol import DetectorBuilder
from cse_autoloss.plugins import Registry

DETECTOR_SIGNATURES = ("cls-binary", "cls-multiclass")
"""Signatures of the classification loss that a detector may declare."""


def _stated(found: Any) -> Any:
    """The signature that a builder states; `branch` is what it was called once."""
    return getattr(found, "signature", getattr(found, "branch", None))


def _fault(found: Any) -> str | None:
    stated = _stated(found)
    if callable(found) and stated in DETECTOR_SIGNATURES:
        return None
    expected = " or ".join(repr(option) for option in DETECTOR_SIGNATURES)
    return (
        f"expected a class or function with signature = {expected}, "
        f"got {type(found).__name__} with signature = {stated!r}"
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
"""Called `(channels, num_classes)`, with an attribute `signature`."""


def detector_builder(name: str) -> DetectorBuilder:
    """What makes the detector of that name; see `Registry.get`."""
    found = DETECTORS.get(name)
    if not hasattr(found, "signature"):
        found.signature = _stated(found)
    return found
