"""The first stage of a two-stage detector: boxes that may hold an object, and those to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import IGNORED, Assignment, grid_of
from cse_autoloss.detectors.boxes import iou_parts, paired_iou, pairwise_iou
from cse_autoloss.detectors.layers import Tower, rows
from cse_autoloss.detectors.one_stage import Prediction, boxes_around


class ProposalHead(nn.Module):
    """Dense, class-agnostic boxes: one logit, four sides and one quality logit a cell.

    The one-stage detector's head with a single class and a single tower, so that a proposal costs little.
    """

    def __init__(self, inputs: int, width: int, strides: tuple[int, ...], bias: float) -> None:
        """
        Args:
            inputs: channels of the features.
            width: channels of the tower.
            strides: pixels a cell, of each map of features.
            bias: of the logit, at the start.
        """
        super().__init__()
        self.strides = strides
        self.tower = Tower(inputs, width)
        self.out = nn.Conv2d(width, 6, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.out.bias))
        nn.init.constant_(cast(Tensor, self.out.bias)[0], bias)

    def forward(self, maps: Sequence[Tensor]) -> Prediction:
        """For maps (B, inputs, h_i, w_i) a prediction of L = Σ h_i · w_i cells and one class."""
        raw = rows(self.out(self.tower(maps)))
        size = maps[0].shape[-2] * self.strides[0], maps[0].shape[-1] * self.strides[0]
        boxes = boxes_around(grid_of(size, self.strides, raw), raw[..., 1:5])
        return Prediction(raw[..., :1], boxes, raw[..., 5])


def proposal_loss(
    dense: Prediction, cells: Assignment, num_classes: int, *, by_object: bool = False
) -> Tensor:
    """Σ BCE(logit, object or not) / P + Σ w · (1 − GIoU + BCE(quality, IoU)), a scalar.

    The second sum is over the P positive cells; their weights w add up to 1. They are all equal, or, by object, those
    of each object add up to the same: a platelet of two cells among red cells of eight then counts as much as one
    of these. These losses are fixed: a search tries its candidates on the second stage alone.

    Args:
        dense: prediction of one class for B images and L cells.
        cells: what the cells should predict; any label from 0 and below `num_classes` is an object.
        num_classes: C, the label of the background.
        by_object: whether objects count alike, whatever number of cells they have. Two of the same box are one.
    """
    positive = (cells.label >= 0) & (cells.label < num_classes)
    pred, target = dense.boxes[positive], cells.box[positive]
    count = max(pred.shape[0], 1)
    intersection, union, enclosing = iou_parts(pred, target)
    giou = 1 - intersection / union + (enclosing - union) / enclosing
    logits, truth = dense.logits[..., 0], positive
    if (cells.label < 0).any():  # in crowds
        logits, truth = logits[cells.label >= 0], positive[cells.label >= 0]
    objectness = F.binary_cross_entropy_with_logits(logits, truth.to(logits), reduction="sum")
    quality = F.binary_cross_entropy_with_logits(
        dense.quality[positive], paired_iou(pred.detach(), target).nan_to_num(0.0), reduction="none"
    )
    if not by_object:
        return (objectness + giou.sum() + quality.sum()) / count
    return objectness / count + (_object_shares(positive, target) * (giou + quality)).sum()


def _object_shares(positive: Tensor, target: Tensor) -> Tensor:
    """(P,) weights that add up to 1, and to the same for the cells of each object.

    Args:
        positive: (B, L) bool, P of them true.
        target: (P, 4) their objects' boxes.
    """
    image = positive.nonzero()[:, :1].to(target.dtype)
    _, owner, cells = torch.cat((image, target), dim=1).unique(dim=0, return_inverse=True, return_counts=True)
    return 1.0 / (cells[owner] * max(len(cells), 1))


class Regions(NamedTuple):
    """The S boxes of each of B images that the second stage learns from."""

    boxes: Tensor
    """(B, S, 4) xyxy pixels."""
    label: Tensor
    """(B, S) int64 class index, C for background, -1 where an image has fewer than S boxes."""
    target: Tensor
    """(B, S, 4) xyxy pixels, the matched object's box; of no meaning where the label is no class."""


def sample_regions(
    proposals: Tensor,
    valid: Tensor,
    truth: Assignment,
    *,
    num_classes: int,
    count: int,
    positive_iou: float = 0.5,
    positive_share: float = 0.75,
) -> Regions:
    """Match proposals to the objects and keep a fixed number of them an image; no gradient flows.

    The objects' own boxes come first, then the proposals in their order. A box whose best IoU with an object
    is at least `positive_iou` is positive for it. Taken are the first positives, up to their share of
    `count`, then the first background boxes, then what positives are left. There are no dice: the background
    that scores best as a proposal is what detection will meet, and trainings with the same seed differ by
    their losses alone.

    Args:
        proposals: (B, N, 4) xyxy pixels, best first.
        valid: (B, N) bool, False where an image has fewer.
        truth: K >= 1 objects of each image; the label is C where there is none, `IGNORED` for a crowd: proposals that
            lie in one by half or more are not taken.
        num_classes: C.
        count: S; the answer has min(S, N + K) boxes.
        positive_iou: IoU from which a box holds the object.
        positive_share: largest part of the S boxes that is positive while there is background to take.
    """
    with torch.no_grad():
        exists = (truth.label >= 0) & (truth.label < num_classes)
        if (truth.label == IGNORED).any():
            valid = valid & ~_in_crowd(proposals, truth)
        candidates = torch.cat((truth.box, proposals), dim=1)
        usable = torch.cat((exists, valid), dim=1)
        best, owner = torch.where(exists[:, None], pairwise_iou(proposals, truth.box), 0.0).max(dim=-1)
        # An object holds its own box; to compare each with each would be dear in a crowd of thousands.
        own = torch.arange(exists.shape[1], device=owner.device).expand_as(exists)
        owner = torch.cat((own, owner), dim=1)
        positive = torch.cat((exists, (best >= positive_iou) & valid), dim=1)
        first = positive & (positive.cumsum(dim=1) <= round(count * positive_share))
        group = torch.where(first, 0, torch.where(~usable, 3, torch.where(positive, 2, 1)))

        total = candidates.shape[1]
        order = group * total + torch.arange(total, device=group.device)
        taken = order.topk(min(count, total), dim=1, largest=False).indices
        owner = owner.gather(1, taken)
        label = torch.where(positive.gather(1, taken), truth.label.gather(1, owner), num_classes)
        return Regions(
            candidates.gather(1, taken[..., None].expand(-1, -1, 4)),
            torch.where(usable.gather(1, taken), label, -1),
            truth.box.gather(1, owner[..., None].expand(-1, -1, 4)),
        )


def _in_crowd(proposals: Tensor, truth: Assignment) -> Tensor:
    """(B, N) bool: whether half a proposal's area or more lies in one crowd."""
    corners, crowds = proposals[:, :, None], truth.box[:, None]
    sides = torch.minimum(corners[..., 2:], crowds[..., 2:]) - torch.maximum(corners[..., :2], crowds[..., :2])
    shared = sides.clamp(min=0).prod(dim=-1)
    area = (proposals[..., 2:] - proposals[..., :2]).clamp(min=0).prod(dim=-1)
    return ((shared >= 0.5 * area[..., None]) & (truth.label == IGNORED)[:, None]).any(dim=-1)
