"""Settings of the two filters that a candidate must pass before it is trained."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cse_autoloss.settings.fields import (
    Count,
    NotNegative,
    Positive,
    Section,
    Seed,
    Share,
    Whole,
    check_order,
)


class VerifySettings(Section):
    """Thresholds of the convergence properties; all but one are relative, so that a loss and a multiple of it get
    the same verdict.

    Attributes:
        sign_tolerance: a slope of the wrong sign counts from this share of the curve's scale on. The
            scale is the largest slope where |logit| <= 6 (classification), or the whole motion's
            (regression). No published loss needs it: it only covers rounding, of which float32 has 1e-7 an
            operation.
        vanish_share: towards the right answer, at logits from 12 on, slopes must be below this share of
            the scale. Cross-entropies reach 1e-5 there, an algebraic S-curve (Salf) 0.005, a straight line 1.
        flat: a slope (a fall, for boxes) that is never above this is none. The absolute one, in units of
            the loss, which are of the order of 1.
        fall_share: while boxes overlap, the loss must fall at least this share of its average rate over
            the motion. Published losses reach 0.005 at the slowest of 160,000 random motions.
        seed: moves the points that are looked at; null is the run's own seed.
        pixels: least and largest side of the ground-truth boxes that are looked at.
    """

    sign_tolerance: Share = 1e-4
    vanish_share: Share = 0.05
    flat: NotNegative = 1e-6
    fall_share: Share = 1e-5
    seed: Seed | None = None
    pixels: tuple[Positive, Positive] = (0.5, 2000.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order("pixels", self.pixels)
        return self


THRESHOLDS = VerifySettings()
"""What `verify` uses unless told."""


class SimulateSettings(Section):
    """How the small models of the simulation are trained, and what one must reach.

    Attributes:
        share: a candidate must reach this share of the default losses' score; docs/benchmarks/simulate.md shows
            what each share lets through and what it loses.
        steps: of SGD, each on all cells.
        lr: peak of the one-cycle schedule, for classification losses.
        lr_box: the same for box losses, which are told apart best while the boxes are still on their way.
        clip: largest gradient norm of a step.
        width: channels of the trunk's first convolution; its features have twice as many.
        hidden: channels of the layer between the frozen features and the outputs.
        trunk_steps: of SGD that train the trunk with the default losses, once.
        box_weight: of the box loss.
        seed: of the weights.
    """

    share: NotNegative = 0.4
    steps: Count = 30
    lr: Positive = 0.04
    lr_box: Positive = 0.015
    clip: Positive = 10.0
    width: Annotated[Whole, Field(ge=4, multiple_of=4)] = 24
    hidden: Count = 32
    trunk_steps: Annotated[Whole, Field(ge=0)] = 100
    box_weight: Positive = 2.0
    seed: Seed = 0
