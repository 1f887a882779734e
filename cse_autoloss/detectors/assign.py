"""Which grid point learns which object: the assignment of FCOS (Tian et al., ICCV 2019), vectorised.

A point of the feature map is positive for an object when it lies inside the object's box and near its centre
(centre sampling); where objects compete for a point, the smaller one wins. The assignment depends on the
boxes alone, never on the network, so it is computed once for a whole data set and indexed by batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Assignment(NamedTuple):
    """What each of L grid points should predict, for B images.

    Attributes:
        label: (B, L) int64, class index, or `num_classes` for background.
        box: (B, L, 4) xyxy pixels, the assigned object's box; zeros at background points.
    """

    label: Tensor
    box: Tensor


def grid_points(height: int, width: int, stride: int) -> Tensor:
    """Centres (L, 2) in xy pixels of the cells of a feature map of `height` x `width` cells, row by row."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5) * stride


def assign(
    points: Tensor, boxes: Tensor, labels: Tensor, *, num_classes: int, stride: int, radius: float = 1.5
) -> Assignment:
    """Give each point an object or the background.

    A point p is positive for box b with centre c when p lies strictly inside b and |p - c| <= radius · stride
    in both axes. An object so small that no point lies inside gets none: it can not be told by distances to
    its four sides.

    Args:
        points: (L, 2) xy pixels.
        boxes: (B, K, 4) xyxy pixels, padded with anything where `labels` is negative.
        labels: (B, K) int64 class index; negative where there is no object.
        num_classes: C, also the index that means background.
        stride: pixels between points.
        radius: half the side of the sampled square, in strides.
    """
    if boxes.shape[1] == 0:
        shape = (boxes.shape[0], points.shape[0])
        return Assignment(torch.full(shape, num_classes, device=boxes.device), boxes.new_zeros(*shape, 4))
    sides = torch.cat(
        (points[:, None] - boxes[:, None, :, :2], boxes[:, None, :, 2:] - points[:, None]), dim=-1
    )
    inside = (sides.amin(dim=-1) > 0) & (labels >= 0)[:, None]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (points[:, None] - centre[:, None]).abs().amax(dim=-1)
    near = inside & (distance <= radius * stride)

    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
    cost = torch.where(near, size[:, None].expand_as(distance), torch.inf)
    smallest, owner = cost.min(dim=-1)
    positive = smallest < torch.inf
    label = torch.where(positive, labels.gather(1, owner), num_classes)
    box = boxes.gather(1, owner[..., None].expand(-1, -1, 4)) * positive[..., None]
    return Assignment(label, box)
