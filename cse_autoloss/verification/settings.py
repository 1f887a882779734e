"""Thresholds of the convergence property verification: each stated once, with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VerifySettings:
    """Thresholds; all but one are relative, so that a loss and a multiple of it get the same verdict.

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
    """

    sign_tolerance: float = 1e-4
    vanish_share: float = 0.05
    flat: float = 1e-6
    fall_share: float = 1e-5


DEFAULT = VerifySettings()
"""What `verify` uses unless told."""
