"""Geometry of boxes: areas, intersections, unions, enclosing boxes, IoU.

Boxes are xyxy in pixels: (x0, y0, x1, y1) with x0 <= x1 and y0 <= y1. They are edges, not pixel centres: a
box of one pixel is (x, y, x + 1, y + 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-7
"""Added to unions and enclosing areas (square pixels), so that a ratio of two empty boxes is 0, not NaN."""


class IouParts(NamedTuple):
    """The three areas that box losses are made of, in square pixels; each (N,)."""

    intersection: Tensor
    union: Tensor
    enclosing: Tensor


def area(boxes: Tensor) -> Tensor:
    """Area of boxes (..., 4) in square pixels, (...,); a box turned inside out has area 0."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    return size[..., 0] * size[..., 1]


def iou_parts(pred: Tensor, target: Tensor) -> IouParts:
    """Intersection, union and smallest enclosing area of boxes taken in pairs, differentiable.

    Args:
        pred: (..., 4) xyxy.
        target: (..., 4) xyxy, of a shape that broadcasts with `pred`.

    Returns:
        i, u + 1e-7 and e + 1e-7, as FACTS and the published box losses have them.
    """
    intersection = _intersection(pred, target)
    union = area(pred) + area(target) - intersection + EPSILON
    size = torch.maximum(pred[..., 2:], target[..., 2:]) - torch.minimum(pred[..., :2], target[..., :2])
    return IouParts(intersection, union, size[..., 0] * size[..., 1] + EPSILON)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes taken in pairs: (..., 4) and (..., 4) to (...,), in [0, 1]."""
    intersection = _intersection(a, b)
    return intersection / (area(a) + area(b) - intersection + EPSILON)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box with each: (..., N, 4) and (..., M, 4) to (..., N, M), in [0, 1]."""
    return paired_iou(a[..., :, None, :], b[..., None, :, :])
