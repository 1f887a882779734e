"""Which grid point learns which object: the assignment of FCOS (Tian et al., ICCV 2019), vectorised.

A point of the feature map is positive for an object when it lies inside the object's box and near its centre
(centre sampling); where objects compete for a point, the smaller one wins. The assignment depends on the
boxes alone, never on the network, so it is computed once for a whole data set and indexed by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

IGNORED = -2
"""Label of a region that is neither an object nor background, as a crowd; in targets, of what is not learned from."""
SIDES = 2.5
"""A map of a pyramid learns boxes from so many of its strides on, to twice as many."""
PART = 1_000_000
"""Pairs of points and objects that are looked at together: some 100 MB."""


class Assignment(NamedTuple):
    """What each of L grid points should predict, for B images.

    Attributes:
        label: (B, L) int64, class index, `num_classes` for background, or `IGNORED`.
        box: (B, L, 4) xyxy pixels, the assigned object's box; zeros at background points.
    """

    label: Tensor
    box: Tensor


def grid_points(height: int, width: int, stride: int) -> Tensor:
    """Centres (L, 2) in xy pixels of the cells of a feature map of `height` x `width` cells, row by row."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5) * stride


class Grid(NamedTuple):
    """The L cells of one map or of several, map after map."""

    points: Tensor
    """(L, 2) xy pixels, the cells' centres."""
    strides: Tensor
    """(L,) pixels between the points of the cell's map."""


def grid_of(image_size: tuple[int, int], strides: Sequence[int], like: Tensor) -> Grid:
    """The cells of maps at `strides` over an image of (height, width) pixels; on the device of `like`."""
    height, width = image_size
    maps = [grid_points(height // stride, width // stride, stride) for stride in strides]
    own = [torch.full((len(points),), float(stride)) for points, stride in zip(maps, strides, strict=True)]
    return Grid(torch.cat(maps).to(like), torch.cat(own).to(like))


def assign(
    points: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    stride: float | Tensor,
    radius: float = 1.5,
) -> Assignment:
    """Give each point an object or the background.

    A point p is positive for box b with centre c when p lies strictly inside b and |p - c| <= radius · stride
    in both axes. An object so small that no point lies inside gets none: it can not be told by distances to
    its four sides.

    Args:
        points: (L, 2) xy pixels.
        boxes: (B, K, 4) xyxy pixels, padded with anything where `labels` is negative.
        labels: (B, K) int64 class index; -1 where there is no object, `IGNORED` for a region whose points are no
            background: they get that label, where no object takes them.
        num_classes: C, also the index that means background.
        stride: pixels between points; (L,) where the points are those of several maps, which then share the
            objects out by `of_its_map`.
        radius: half the side of the sampled square, in strides.
    """
    # Images are done in parts: one crowd among them must not take memory for all, nor pad all.
    parts: list[Assignment] = []
    start = 0
    count = (labels != -1).int() * torch.arange(1, labels.shape[1] + 1, device=labels.device)
    needed = count.amax(dim=1).tolist() if count.numel() else [0] * max(len(labels), 1)
    while start < len(labels) or not parts:
        end, most = start + 1, needed[start]
        while end < len(labels) and (end + 1 - start) * max(most, needed[end]) * len(points) <= PART:
            most = max(most, needed[end])
            end += 1
        rows = slice(start, end)
        parts.append(_assign(points, boxes[rows, :most], labels[rows, :most], num_classes, stride, radius))
        start = end
    return Assignment(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _assign(
    points: Tensor, boxes: Tensor, labels: Tensor, num_classes: int, stride: float | Tensor, radius: float
) -> Assignment:
    if boxes.shape[1] == 0:
        shape = (boxes.shape[0], points.shape[0])
        return Assignment(torch.full(shape, num_classes, device=boxes.device), boxes.new_zeros(*shape, 4))
    sides = torch.cat(
        (points[:, None] - boxes[:, None, :, :2], boxes[:, None, :, 2:] - points[:, None]), dim=-1
    )
    within = sides.amin(dim=-1) > 0
    inside = within & (labels >= 0)[:, None]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (points[:, None] - centre[:, None]).abs().amax(dim=-1)
    reach = radius * (stride[:, None] if isinstance(stride, Tensor) else stride)
    near = inside & (distance <= reach)
    if isinstance(stride, Tensor):
        near &= of_its_map(boxes, stride)

    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)
    cost = torch.where(near, size[:, None].expand_as(distance), torch.inf)
    smallest, owner = cost.min(dim=-1)
    positive = smallest < torch.inf
    label = torch.where(positive, labels.gather(1, owner), num_classes)
    if (labels == IGNORED).any():
        covered = (within & (labels == IGNORED)[:, None]).any(dim=-1)
        label = torch.where(covered & ~positive, IGNORED, label)
    box = boxes.gather(1, owner[..., None].expand(-1, -1, 4)) * positive[..., None]
    return Assignment(label, box)


def of_its_map(boxes: Tensor, strides: Tensor) -> Tensor:
    """Whether a point's map is the one that learns a box: (B, K, 4) and (L,) to (B, L, K).

    With r = min(√area, 2.5 · shorter side), the map of stride s learns boxes with 2.5 s < r <= 5 s; the
    finest also smaller ones, the coarsest larger ones. So a box of map s > finest has sides of more than s,
    and some point of the map lies inside.
    """
    width_height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    size = torch.minimum(width_height.prod(dim=-1).sqrt(), SIDES * width_height.amin(dim=-1))[:, None]
    low = torch.where(strides > strides.min(), SIDES * strides, -1.0)[:, None]
    high = torch.where(strides < strides.max(), 2 * SIDES * strides, torch.inf)[:, None]
    return (size > low) & (size <= high)
