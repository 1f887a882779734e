"""What the simulation's small models see and should predict, and how well they do.

They are the one-stage proxy in miniature: class logits, the distances to the four sides of a box and the box's
expected IoU at each cell of one feature map of a handful of images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

STRIDE = 8
"""Pixels between cells."""
_CENTRE = 1.5
"""A cell is positive within this many strides of a box's centre."""
_LANES = 32


@dataclass(frozen=True)
class SimulationData:
    """One image of each category, with the boxes on it.

    Attributes:
        images: (N, channels, H, W), uint8 or floating; cropped to multiples of 8 pixels.
        boxes: (N, K, 4) xyxy pixels; rows of absent objects are ignored.
        labels: (N, K) int64 class index, negative where there is no object.
        num_classes: C; 0 means the largest label plus 1.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    num_classes: int = 0


@dataclass(frozen=True)
class Targets:
    """What M = N·L cells should predict; P of them are positive.

    Attributes:
        images: (N, channels, H, W) normalised float32.
        points: (L, 2) xy centres of the cells.
        labels: (M,) int64, C for background.
        positive: (P,) int64 indices of the positive cells.
        boxes: (P, 4) their boxes.
        num_classes: C.
    """

    images: Tensor
    points: Tensor
    labels: Tensor
    positive: Tensor
    boxes: Tensor
    num_classes: int


def make_targets(data: SimulationData) -> Targets:
    """Normalise the images and give each cell its object: the smallest one that it lies in, near the
    centre of."""
    height, width = (side // STRIDE for side in data.images.shape[-2:])
    images = data.images[..., : height * STRIDE, : width * STRIDE].float()
    spread = images.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6)
    images = (images - images.mean(dim=(0, 2, 3), keepdim=True)) / spread
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = (torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5) * STRIDE

    classes = data.num_classes or int(data.labels.max()) + 1
    boxes = data.boxes.float()
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    at = points[None, :, None]
    inside = ((at > low) & (at < high)).all(-1) & (data.labels >= 0)[:, None]
    near = (at - (low + high) / 2).abs().amax(-1) <= _CENTRE * STRIDE
    area = (high - low).prod(-1).expand(inside.shape).masked_fill(~(inside & near), torch.inf)
    smallest, owner = area.min(-1)
    positive = smallest.flatten() < torch.inf
    label = torch.where(positive, data.labels.gather(1, owner).flatten(), classes)
    own_box = boxes.gather(1, owner[..., None].expand(-1, -1, 4)).flatten(0, 1)
    index = positive.nonzero().squeeze(1)
    return Targets(images, points, label, index, own_box[index], classes)


@dataclass(frozen=True)
class Cells:
    """The S cells that the small models learn from: the positive ones, and some of the background.

    S and P are multiples of 32, two vectors of AVX-512: vectorised and left-over lanes may round differently,
    and a candidate alone must get the digits that it gets in a crowd. Cells that only fill up repeat others,
    and weigh 0.

    Attributes:
        features: (S, F) float32, frozen.
        points: (S, 2) xy centres.
        labels: (S,) int64, C for background; the first P are the positive ones.
        weight: (S,) how many cells of the images each stands for.
        boxes: (P, 4) of the positive cells.
        num_classes: C.
        positives: sum of the positive cells' weights.
    """

    features: Tensor
    points: Tensor
    labels: Tensor
    weight: Tensor
    boxes: Tensor
    num_classes: int
    positives: int

    def to(self, device: torch.device) -> Cells:
        """The same on a device."""
        names = ("features", "points", "labels", "weight", "boxes")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def choose_cells(targets: Targets, features: Tensor, background: int, seed: int) -> Cells:
    """Take the positive cells and a random `background` of the others, which are weighted up to stand for all.

    Args:
        targets: of the images.
        features: (M, F) of all cells.
        background: cells to keep.
        seed: of the choice.
    """
    empty = (targets.labels == targets.num_classes).nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(seed)
    kept = empty[torch.randperm(len(empty), generator=generator)[:background]]
    count = len(targets.positive)
    own = _filled(count)
    filler = _filled(len(kept)) if len(kept) else torch.zeros(0, dtype=torch.int64)
    index = torch.cat((targets.positive[own], kept[filler]))
    weight = torch.zeros(len(index))
    weight[:count] = 1
    weight[len(own) : len(own) + len(kept)] = len(empty) / max(len(kept), 1)
    points = targets.points.repeat(len(targets.labels) // len(targets.points), 1)
    return Cells(
        features[index],
        points[index],
        targets.labels[index],
        weight,
        targets.boxes[own],
        targets.num_classes,
        count,
    )


def _filled(count: int) -> Tensor:
    """0, 1, … count − 1, and again from 0 until the length is a multiple of 32."""
    return torch.arange(-(-count // _LANES) * _LANES) % count


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (…, 4) taken in pairs, (…)."""
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    shared = overlap.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return shared / (union + 1e-7)


def detection_score(scores: Tensor, gain: Tensor, cells: Cells) -> Tensor:
    """Average precision over cells, in [0, 1]: each (cell, class) pair is a detection, as right as its box.

    All S·C pairs are ranked by score; a pair of a positive cell and its class gains what its box is worth, any
    other 0. The result is Σ gain_k · precision_k / P over the right ones, precision_k being the gain of the
    first k divided by the number of cells that they stand for.

    Args:
        scores: (B, S, C) anything that ranks.
        gain: (B, P) of the positive cells' boxes; ones give the average precision of the classes alone.
        cells: what is right.

    Returns:
        (B,).
    """
    classes, count = scores.shape[-1], len(cells.boxes)
    right = torch.arange(count, device=scores.device) * classes + cells.labels[:count]
    order = scores.flatten(1).argsort(dim=1, descending=True, stable=True)
    gains = torch.zeros_like(order, dtype=torch.float64)
    gains[:, right] = gain.double() * cells.weight[:count]
    ranked = gains.gather(1, order)
    taken = cells.weight.double().repeat_interleave(classes)[order].cumsum(1)
    return (ranked * ranked.cumsum(1) / taken.clamp(min=1e-9)).sum(1) / max(cells.positives, 1)
