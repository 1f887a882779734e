"""Box losses that need coordinates, not only areas, so that no expression in areas can state them.

All are called `loss(pred_boxes, target_boxes)` with (P, 4) xyxy in pixels and give one value for each pair.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, smooth_l1_loss

from cse_autoloss.errors import ConfigError
from cse_autoloss.losses.reduction import ReducedLoss, reduce
from cse_autoloss.spaces.boxes import BOX_EPSILON, REG, box_inputs
from cse_autoloss.spaces.checks import check_boxes


class BoxLoss(ReducedLoss):
    """A loss on box coordinates; subclasses state `elements`."""

    signature = REG

    def forward(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """The loss; DataError where the boxes are not (P, 4) floats."""
        check_boxes(pred_boxes, target_boxes)
        return reduce(self.elements(pred_boxes, target_boxes), self.reduction)

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """One value for each pair of boxes, (P,)."""
        raise NotImplementedError


class L1Loss(BoxLoss):
    """Σ |b − b*| over the four coordinates, in pixels."""

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return l1_loss(pred_boxes, target_boxes, reduction="none").sum(-1)


class SmoothL1Loss(BoxLoss):
    """Σ over the four coordinates of d²/(2β) where d = |b − b*| < β, else d − β/2 (Fast R-CNN, 2015)."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        """`beta` in pixels, at least 0; 0 is L1."""
        super().__init__(reduction)
        if not beta >= 0:
            raise ConfigError(f"beta must be at least 0, got {beta!r}")
        self.beta = beta

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return smooth_l1_loss(pred_boxes, target_boxes, reduction="none", beta=self.beta).sum(-1)


class DIoULoss(BoxLoss):
    """1 − IoU + ρ²/c²: ρ between the centres, c the enclosing box's diagonal (Zheng et al., AAAI 2020)."""

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return 1 - _iou(pred_boxes, target_boxes) + _centre_term(pred_boxes, target_boxes)


class CIoULoss(BoxLoss):
    """DIoU + αv (Zheng et al., AAAI 2020).

    v = 4/π²·(atan(w*/h*) − atan(w/h))², and α = v/(1 − IoU + v) is held constant in the gradient.
    """

    def elements(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        iou = _iou(pred_boxes, target_boxes)
        shape = (4 / math.pi**2) * (_aspect(target_boxes) - _aspect(pred_boxes)) ** 2
        with torch.no_grad():
            alpha = shape / (1 - iou + shape + BOX_EPSILON)
        return 1 - iou + _centre_term(pred_boxes, target_boxes) + alpha * shape


def _iou(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    areas = box_inputs(pred_boxes, target_boxes)
    return areas["I"] / areas["U"]


def _centre_term(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    low = torch.minimum(pred_boxes[:, :2], target_boxes[:, :2])
    high = torch.maximum(pred_boxes[:, 2:], target_boxes[:, 2:])
    diagonal = ((high - low) ** 2).sum(-1) + BOX_EPSILON
    apart = (pred_boxes[:, :2] + pred_boxes[:, 2:] - target_boxes[:, :2] - target_boxes[:, 2:]) / 2
    return (apart**2).sum(-1) / diagonal


def _aspect(boxes: Tensor) -> Tensor:
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return torch.atan(size[:, 0] / (size[:, 1] + BOX_EPSILON))
