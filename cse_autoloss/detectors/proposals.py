"""The first stage of a two-stage detector: boxes that may hold an object, and those to learn from."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment, grid_points
from cse_autoloss.detectors.boxes import iou_parts, paired_iou, pairwise_iou
from cse_autoloss.detectors.one_stage import MAX_LOG_SIDE, Prediction, _block


class ProposalHead(nn.Module):
    """Dense, class-agnostic boxes: one logit, four sides and one quality logit a cell.

    The one-stage detector's head with a single class and a single tower, so that a proposal costs little.
    """

    def __init__(self, inputs: int, width: int, stride: int, bias: float) -> None:
        """
        Args:
            inputs: channels of the features.
            width: channels of the tower.
            stride: pixels a cell of the features.
            bias: of the logit, at the start.
        """
        super().__init__()
        self.stride = stride
        self.tower = _block(inputs, width)
        self.out = nn.Conv2d(width, 6, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.out.bias))
        nn.init.constant_(cast(Tensor, self.out.bias)[0], bias)

    def forward(self, features: Tensor) -> Prediction:
        """For features (B, inputs, h, w) a prediction of L = h · w cells and one class."""
        raw = self.out(self.tower(features))
        points = grid_points(raw.shape[-2], raw.shape[-1], self.stride).to(raw)
        raw = raw.flatten(2).transpose(1, 2)
        sides = self.stride * raw[..., 1:5].clamp(max=MAX_LOG_SIDE).exp()
        boxes = torch.cat((points - sides[..., :2], points + sides[..., 2:]), dim=-1)
        return Prediction(raw[..., :1], boxes, raw[..., 5])


def proposal_loss(dense: Prediction, cells: Assignment, num_classes: int) -> Tensor:
    """(BCE(logit, object or not) + Σ (1 − GIoU) + BCE(quality, IoU)) / P, a scalar.

    The last two are summed over the P positive cells. These losses are fixed: a search tries its candidates
    on the second stage alone.

    Args:
        dense: prediction of one class for B images and L cells.
        cells: what the cells should predict; any label below `num_classes` is an object.
        num_classes: C, the label of the background.
    """
    positive = cells.label < num_classes
    pred, target = dense.boxes[positive], cells.box[positive]
    intersection, union, enclosing = iou_parts(pred, target)
    giou = 1 - intersection / union + (enclosing - union) / enclosing
    objectness = F.binary_cross_entropy_with_logits(
        dense.logits[..., 0], positive.to(dense.logits), reduction="sum"
    )
    quality = F.binary_cross_entropy_with_logits(
        dense.quality[positive], paired_iou(pred.detach(), target).nan_to_num(0.0), reduction="sum"
    )
    return (objectness + giou.sum() + quality) / max(pred.shape[0], 1)


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
        truth: K >= 1 objects of each image; the label is C where there is none.
        num_classes: C.
        count: S; the answer has min(S, N + K) boxes.
        positive_iou: IoU from which a box holds the object.
        positive_share: largest part of the S boxes that is positive while there is background to take.
    """
    with torch.no_grad():
        exists = truth.label < num_classes
        candidates = torch.cat((truth.box, proposals), dim=1)
        usable = torch.cat((exists, valid), dim=1)
        overlap = torch.where(exists[:, None], pairwise_iou(candidates, truth.box), 0.0)
        best, owner = overlap.max(dim=-1)
        positive = (best >= positive_iou) & usable
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
