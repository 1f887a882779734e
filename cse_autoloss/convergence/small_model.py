"""The small model of the simulation: a tiny anchor-free detector on a handful of images, and how well it
does.

It is the one-stage proxy in miniature: class logits and the distances to the four sides of a box at each cell
of one feature map, losses summed and divided by the number of positive cells, SGD with momentum, a one-cycle
schedule and a clipped gradient, so that a loss of the wrong scale shows its fault here as it does there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 8
"""Pixels between cells."""
_PATCH = 4
_CENTRE = 1.5
"""A cell is positive within this many strides of a box's centre."""


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


class SmallModel(nn.Module):
    """Two convolutions on patches of 4x4 pixels, and linear heads.

    Input (N, channels, H, W); output the logits (M, columns) and boxes (M, 4) xyxy of all cells.
    """

    def __init__(self, channels: int, columns: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels * _PATCH**2, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(4, width)
        self.deep = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.deep_norm = nn.GroupNorm(4, 2 * width)
        self.head = nn.Linear(2 * width, columns + 4)
        self.columns = columns
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes of all cells."""
        features = F.relu(self.norm(self.stem(F.pixel_unshuffle(images, _PATCH))))
        features = F.relu(self.deep_norm(self.deep(features)))
        out = self.head(features.flatten(2).transpose(1, 2))
        sides = STRIDE * out[..., self.columns :].clamp(max=5.0).exp()
        boxes = torch.cat((points - sides[..., :2], points + sides[..., 2:]), dim=-1)
        return out[..., : self.columns].flatten(0, 1), boxes.flatten(0, 1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (P, 4) taken in pairs, (P,)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    return overlap / (union + 1e-7)


def detection_score(scores: Tensor, iou: Tensor, targets: Targets) -> float:
    """Average precision over cells, in [0, 1]: each (cell, class) pair is a detection, as right as its box.

    All M·C pairs are ranked by score; a pair of a positive cell and its class gains its IoU, any other 0. The
    result is Σ gain_k · precision_k / P over the right ones, precision_k being the mean gain of the first k.

    Args:
        scores: (M, C) anything that ranks.
        iou: (P,) of the positive cells' predicted boxes; ones give the average precision of the classes
            alone.
        targets: of the images.
    """
    gain = torch.zeros_like(scores)
    gain[targets.positive, targets.labels[targets.positive]] = iou
    order = scores.flatten().argsort(descending=True, stable=True)
    ranked = gain.flatten()[order]
    precision = ranked.cumsum(0) / torch.arange(1, ranked.numel() + 1)
    return float((ranked * precision).sum() / max(targets.positive.numel(), 1))
