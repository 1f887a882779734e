"""The unit of a box loss's weight: what makes it slope about as steeply as GIoU.

A weight is tuned over a small grid around 2. IoU losses slope about alike, so that grid suits them all; a loss on
coordinates in pixels slopes twenty times more steeply, and a grid around 2 would only show that its weight is wrong.
"""

from __future__ import annotations

import math

import torch

from cse_autoloss.losses import load_loss
from cse_autoloss.spaces.wide import BY_WIDE

ALIKE = 4.0
"""Losses whose slopes differ by no more than this factor share a unit: the grid covers that much."""

_TARGET = (20.0, 16.0, 44.0, 36.0)
_OFFSETS = ((2, 1, 3, -1), (-3, 2, -2, 2), (4, -3, 2, -4), (-1, -2, 4, 3), (5, 4, 6, 3), (1, 0, -1, 1))


def weight_unit(reg: str) -> float:
    """A power of two: slope of GIoU over that of the loss, or 1 where they are about alike.

    The slope is the mean gradient norm over six overlapping boxes of 24x20 pixels, 1 to 6 pixels off.

    Args:
        reg: catalogue name or formula of a box loss.
    """
    slope = _slope(reg)
    if not math.isfinite(slope) or slope <= 0:
        return 1.0
    ratio = _slope("giou") / slope
    return 1.0 if 1 / ALIKE <= ratio <= ALIKE else 2.0 ** round(math.log2(ratio))


def _slope(reg: str) -> float:
    target = torch.tensor(_TARGET, dtype=torch.float64).expand(len(_OFFSETS), 4)
    predicted = (target + torch.tensor(_OFFSETS, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(
        load_loss(reg, signature=BY_WIDE["reg"], reduction="sum")(predicted, target), predicted
    )
    return float(gradient.norm(dim=1).mean())
