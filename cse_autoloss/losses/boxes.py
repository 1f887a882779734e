"""Box losses that need coordinates, not only areas, so that no expression in areas can state them.

All are called `loss(pred_boxes, target_boxes)` with (P, 4) xyxy in pixels and give one value for each pair.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, smooth_l1_loss

from cse_autoloss.errors import ConfigError
from cse_autoloss.losses.reduction import ReducedLoss, reduce
from cse_autoloss.spaces.boxes import BOX_EPSILON, REG, box_inputs
from cse_autoloss.spaces.checks import check_boxes
from cse_autoloss.spaces.form import widened
from cse_autoloss.spaces.once import OnceOnly


class BoxLoss(ReducedLoss):
    """A loss on box coordinates; subclasses state `elements`."""

    signature = REG

    def forward(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """The loss; DataError where the boxes are not (P, 4) floats."""
        return reduce(self.elements(pred_boxes, target_boxes), self.reduction)

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """One value for each pair of boxes, (P,), in at least float32; DataError as of `forward`."""
        check_boxes(pred_boxes, target_boxes)
        values = self.pairs(widened(pred_boxes), widened(target_boxes))
        if self.held and values.requires_grad:
            values = OnceOnly.apply(values, pred_boxes, f"{self.held} is held constant in the gradient")
        return values

    held: ClassVar[str] = ""
    """What the gradient takes for a constant though it is none, so that a second derivative would be wrong."""

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """The same of boxes that are checked."""
        raise NotImplementedError


class L1Loss(BoxLoss):
    """Σ |b − b*| over the four coordinates, in pixels."""

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return l1_loss(pred_boxes, target_boxes, reduction="none").sum(-1)


class SmoothL1Loss(BoxLoss):
    """Σ over the four coordinates of d²/(2β) where d = |b − b*| < β, else d − β/2 (Fast R-CNN, 2015)."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        """`beta` in pixels, at least 0; 0 is L1."""
        super().__init__(reduction)
        if not beta >= 0:
            raise ConfigError(f"beta must be at least 0, got {beta!r}")
        self.beta = beta

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return smooth_l1_loss(pred_boxes, target_boxes, reduction="none", beta=self.beta).sum(-1)


class DIoULoss(BoxLoss):
    """1 − IoU + ρ²/c²: ρ between the centres, c the enclosing box's diagonal (Zheng et al., AAAI 2020)."""

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return 1 - _iou(pred_boxes, target_boxes) + _centre_term(pred_boxes, target_boxes)


class CIoULoss(BoxLoss):
    """DIoU + αv (Zheng et al., AAAI 2020).

    v = 4/π²·(atan(w*/h*) − atan(w/h))², and α = v/(1 − IoU + v) is held constant in the gradient.
    """

    held = "α"

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        iou = _iou(pred_boxes, target_boxes)
        shape = (4 / math.pi**2) * (_aspect(target_boxes) - _aspect(pred_boxes)) ** 2
        with torch.no_grad():
            alpha = shape / (1 - iou + shape + BOX_EPSILON)
        return 1 - iou + _centre_term(pred_boxes, target_boxes) + alpha * shape


class EIoULoss(BoxLoss):
    """DIoU + (w − w*)²/c_w² + (h − h*)²/c_h²: c_w and c_h the enclosing box's sides (Zhang et al., 2022)."""

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        sides = (
            (_sides(pred_boxes) - _sides(target_boxes)) ** 2 / _squared(_enclosing(pred_boxes, target_boxes))
        ).sum(-1)
        return 1 - _iou(pred_boxes, target_boxes) + _centre_term(pred_boxes, target_boxes) + sides


class SIoULoss(BoxLoss):
    """1 − IoU + (Δ + Ω)/2 (Gevorgyan, 2022).

    Distance Δ = Σ 1 − exp(−(2 − Λ)·ρ²) over both axes, ρ the centres' distance along an axis over the enclosing box's
    side; angle Λ = sin 2φ, φ between the line of the centres and an axis; shape Ω = Σ (1 − exp(−|w − w*|/max(w, w*)))^θ
    over width and height.
    """

    def __init__(self, reduction: str = "mean", theta: float = 4.0) -> None:
        super().__init__(reduction)
        self.theta = theta

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        apart = _centres(pred_boxes) - _centres(target_boxes)
        # sin 2φ = 2·sin φ·cos φ, which needs no arcsine.
        angle = 2 * apart.prod(-1).abs() / ((apart**2).sum(-1) + BOX_EPSILON)
        near = apart**2 / _squared(_enclosing(pred_boxes, target_boxes))
        distance = (1 - torch.exp((angle - 2).unsqueeze(-1) * near)).sum(-1)
        sides = _sides(pred_boxes), _sides(target_boxes)
        unlike = (sides[0] - sides[1]).abs() / (torch.maximum(*sides) + BOX_EPSILON)
        shape = ((1 - torch.exp(-unlike)) ** self.theta).sum(-1)
        return 1 - _iou(pred_boxes, target_boxes) + (distance + shape) / 2


class WIoULoss(BoxLoss):
    """exp(ρ²/c²)·(1 − IoU) with c² held constant in the gradient (Wise-IoU v1, Tong et al., 2023)."""

    held = "c²"

    def pairs(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        apart = ((_centres(pred_boxes) - _centres(target_boxes)) ** 2).sum(-1)
        diagonal = (_enclosing(pred_boxes, target_boxes) ** 2).sum(-1) + BOX_EPSILON
        return torch.exp(apart / diagonal.detach()) * (1 - _iou(pred_boxes, target_boxes))


def _iou(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    areas = box_inputs(pred_boxes, target_boxes)
    return areas["I"] / areas["U"]


def _centre_term(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    diagonal = (_enclosing(pred_boxes, target_boxes) ** 2).sum(-1) + BOX_EPSILON
    apart = (pred_boxes[:, :2] + pred_boxes[:, 2:] - target_boxes[:, :2] - target_boxes[:, 2:]) / 2
    return (apart**2).sum(-1) / diagonal


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)


def _enclosing(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Sides of the smallest box around both."""
    high = torch.maximum(pred_boxes[:, 2:], target_boxes[:, 2:])
    return high - torch.minimum(pred_boxes[:, :2], target_boxes[:, :2])


def _squared(sides: Tensor) -> Tensor:
    return sides**2 + BOX_EPSILON


def _aspect(boxes: Tensor) -> Tensor:
    size = _sides(boxes)
    return torch.atan(size[:, 0] / (size[:, 1] + BOX_EPSILON))
