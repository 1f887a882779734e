"""The two-stage proxies: small Faster R-CNNs (Ren et al., NeurIPS 2015) with anchor-free proposals.

The trunks are the one-stage proxies'. A class-agnostic head proposes boxes; RoIAlign cuts their features out
of the finest of the trunk's maps; a softmax head with background as its last column names each box and
corrects it. The losses under search act on this second stage: the multi-class branch on its logits, the box
branch on its boxes.

Both sums are divided by the number of positive regions, where Faster R-CNN divides by all sampled regions. So
the scale of the two, and `box_weight`, mean what they mean in the one-stage proxy, a box loss found there can
be tried here as it is, and a batch with few objects does not learn its few boxes more slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.boxes import paired_iou
from cse_autoloss.detectors.one_stage import (
    ClassificationLoss,
    Prediction,
    RegressionLoss,
    assign_cells,
    decode,
)
from cse_autoloss.detectors.proposals import ProposalHead, proposal_loss, sample_regions
from cse_autoloss.detectors.roi_align import roi_align
from cse_autoloss.detectors.selection import Detections, best_boxes
from cse_autoloss.detectors.trunks import PlainSettings, PyramidSettings

CENTRE_SCALE, SIZE_SCALE = 0.1, 0.2
"""What a unit of the box head means: a share of the region's size, and of its logarithm (Fast R-CNN)."""
MAX_LOG_GROWTH = math.log(8.0)
"""A region's sides are stretched to eight times their length at most: one bad step must not overflow."""


@dataclass(frozen=True)
class TwoStageSettings:
    """Shape of the network.

    Attributes:
        trunk: what both stages stand on.
        prior: foreground probability that the proposals' bias starts from.
        proposal_width: channels of the proposal head's tower.
        proposals: least and most boxes an image that the first stage hands on; in between, a quarter of the
            cells.
        learnt: most boxes an image that the second stage learns from, objects' own included; not more than
            there are proposals.
        proposal_nms: IoU above which the lower-scoring proposal is dropped; four times as many boxes as are
            handed on enter that suppression.
        positive_iou: IoU with an object from which a region holds it.
        positive_share: largest part of the regions that hold an object, while there are others to take.
        pool: bins a side that RoIAlign cuts a region into.
        hidden: width of the second stage's hidden layer.
        by_object: whether the proposals' boxes are learnt object by object, not cell by cell: where few objects are
            small, cells of large ones would drown theirs, and no small one is ever proposed.
    """

    trunk: PlainSettings | PyramidSettings = field(default_factory=PlainSettings)
    prior: float = 0.05
    proposal_width: int = 48
    proposals: tuple[int, int] = (16, 100)
    learnt: int = 100
    proposal_nms: float = 0.7
    positive_iou: float = 0.5
    positive_share: float = 0.75
    pool: int = 4
    hidden: int = 128
    by_object: bool = False


class TwoStagePrediction(NamedTuple):
    """What one pass over B images gives; `loss` and `decode` choose regions and run the second stage."""

    features: Tensor
    """(B, fine_width, H / fine_stride, W / fine_stride), what regions are cut out of."""
    dense: Prediction
    """The proposal head's output for L cells, one class."""


class TwoStageDetector(nn.Module):
    """The network. Input (B, channels, H, W) normalised, H and W multiples of `stride`."""

    signature: ClassVar[str] = "cls-multiclass"

    def __init__(
        self, channels: int, num_classes: int, settings: TwoStageSettings = TwoStageSettings()
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self.trunk = settings.trunk.build(channels)
        self.stride = self.trunk.strides[-1]
        bias = math.log(settings.prior / (1 - settings.prior))
        self.proposer = ProposalHead(self.trunk.width, settings.proposal_width, self.trunk.strides, bias)
        self.region_head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.trunk.fine_width * settings.pool**2, settings.hidden, bias=False),
            nn.BatchNorm1d(settings.hidden),
            nn.SiLU(),
        )
        nn.init.kaiming_normal_(cast(Tensor, self.region_head[1].weight))
        self.to_class = nn.Linear(settings.hidden, num_classes + 1)
        self.to_box = nn.Linear(settings.hidden, 4)
        for layer, std in ((self.to_class, 0.01), (self.to_box, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> TwoStagePrediction:
        """Features and proposals for images (B, channels, H, W)."""
        features = self.trunk(images)
        return TwoStagePrediction(features.fine, self.proposer(features.maps))

    def targets(self, boxes: Tensor, labels: Tensor, image_size: tuple[int, int]) -> Assignment:
        """What `loss` compares with, for N images: L rows for the cells, then K rows, the objects themselves.

        Args:
            boxes: (N, K, 4) xyxy pixels.
            labels: (N, K) int64 class index, -1 where there is no object, `IGNORED` for a crowd.
            image_size: (height, width) in pixels.

        Returns:
            Label (N, L + max(K, 1)) and box (N, L + max(K, 1), 4); the label is C where there is no object,
            and `IGNORED` where nothing is learned.
        """
        if boxes.shape[1] == 0:
            boxes, labels = boxes.new_zeros(len(boxes), 1, 4), labels.new_full((len(labels), 1), -1)
        cells = assign_cells(boxes, labels, image_size, self.trunk.strides, self.num_classes)
        objects = torch.where(labels == -1, self.num_classes, labels)
        return Assignment(torch.cat((cells.label, objects), dim=1), torch.cat((cells.box, boxes), dim=1))

    def loss(
        self,
        prediction: TwoStagePrediction,
        targets: Assignment,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        box_weight: float = 1.0,
    ) -> Tensor:
        """proposal loss + (cls + box_weight · reg) / P, a scalar; P is the number of positive regions.

        Args:
            prediction: of B images.
            targets: their rows of `targets`.
            cls_loss: (logits (M, C + 1), target (M,) with C for background, iou (M,)) -> scalar sum. The IoU
                is that of the corrected box with its object, detached; 0 at background.
            reg_loss: (corrected boxes (P, 4), objects' boxes (P, 4)) -> scalar sum; with `score` (P,) where it reads it.
            box_weight: of the box loss.
        """
        cells = prediction.dense.logits.shape[1]
        on_grid = Assignment(targets.label[:, :cells], targets.box[:, :cells])
        objects = Assignment(targets.label[:, cells:], targets.box[:, cells:])
        height, width = (side * self.trunk.fine_stride for side in prediction.features.shape[-2:])
        count = min(self._count(prediction.dense), self.settings.learnt)
        proposals = self._propose(prediction.dense, (height, width), count)
        regions = sample_regions(
            proposals.boxes,
            proposals.labels >= 0,
            objects,
            num_classes=self.num_classes,
            count=count,
            positive_iou=self.settings.positive_iou,
            positive_share=self.settings.positive_share,
        )
        logits, boxes = self._second_stage(prediction.features, regions.boxes)

        label = regions.label.flatten()
        positive = ((label >= 0) & (label < self.num_classes)).nonzero().squeeze(1)
        pred_boxes, target_boxes = boxes.flatten(0, 1)[positive], regions.target.flatten(0, 1)[positive]
        iou = torch.zeros(label.shape, dtype=pred_boxes.dtype, device=label.device)
        # A box that is not finite makes the loss so, and training ends there; its IoU must not be an error
        # before.
        iou[positive] = paired_iou(pred_boxes.detach(), target_boxes).nan_to_num(0.0)
        used = (label >= 0).nonzero().squeeze(1)
        cls_sum = cls_loss(logits.flatten(0, 1)[used], label[used], iou[used])
        beside = {}
        if getattr(reg_loss, "reads_score", False):
            chances = logits.detach().flatten(0, 1)[positive].float().softmax(-1)
            beside["score"] = chances.gather(-1, label[positive, None]).squeeze(-1)
        reg_sum = reg_loss(pred_boxes, target_boxes, **beside)
        second = (cls_sum + box_weight * reg_sum) / max(positive.numel(), 1)
        first = proposal_loss(
            prediction.dense, on_grid, self.num_classes, by_object=self.settings.by_object
        )
        return first + second

    @torch.no_grad()
    def decode(
        self,
        prediction: TwoStagePrediction,
        image_size: tuple[int, int],
        *,
        limit: int | None = None,
        nms_threshold: float = 0.5,
    ) -> Detections:
        """The best boxes of each image after class-aware non-maximum suppression.

        The score is the softmax probability alone, as in Faster R-CNN: the proposal's own score does not
        enter, so that the order is the classification loss's work. No score threshold, for the reason that
        the one-stage proxy has none.

        Args:
            prediction: of B images.
            image_size: (height, width) in pixels, to clip boxes to.
            limit: K, boxes an image that leave the suppression; None is as many as there are proposals, at
                least 24.
            nms_threshold: IoU above which the lower-scoring box of a class is dropped.
        """
        count = self._count(prediction.dense)
        proposals = self._propose(prediction.dense, image_size, count)
        logits, boxes = self._second_stage(prediction.features, proposals.boxes)
        # float64: a confident float32 log p rounds to 0, and ranks become ties.
        log_score = logits.double().log_softmax(dim=-1)[..., :-1]
        log_score = torch.where(proposals.labels[..., None] >= 0, log_score, -torch.inf)
        return best_boxes(
            log_score,
            boxes,
            image_size,
            candidates=4 * count,
            limit=max(24, count) if limit is None else limit,
            nms_threshold=nms_threshold,
        )

    def _count(self, dense: Prediction) -> int:
        """Proposals an image."""
        least, most = self.settings.proposals
        return min(max(dense.logits.shape[1] // 4, least), most)

    @torch.no_grad()
    def _propose(self, dense: Prediction, image_size: tuple[int, int], count: int) -> Detections:
        return decode(
            dense,
            image_size,
            candidates=4 * count,
            limit=count,
            nms_threshold=self.settings.proposal_nms,
        )

    def _second_stage(self, features: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, R, C + 1) and corrected boxes (B, R, 4) of regions (B, R, 4) xyxy pixels."""
        pooled = roi_align(features, regions, self.settings.pool, spatial_scale=1 / self.trunk.fine_stride)
        hidden = self.region_head(pooled.flatten(0, 1)).unflatten(0, regions.shape[:2])
        return self.to_class(hidden), correct(regions, self.to_box(hidden))


PYRAMID = TwoStageSettings(
    trunk=PyramidSettings(fine=True),
    proposal_width=64,
    learnt=64,
    positive_share=0.5,
    hidden=192,
    by_object=True,
)
"""Shape of the two-stage proxy for photographs."""


class TwoStagePyramid(TwoStageDetector):
    """The two-stage proxy for photographs: wider, proposals on maps of strides 8, 16 and 32, regions from 4."""

    def __init__(self, channels: int, num_classes: int, settings: TwoStageSettings = PYRAMID) -> None:
        super().__init__(channels, num_classes, settings)


def correct(regions: Tensor, change: Tensor) -> Tensor:
    """Boxes moved and stretched: centre + 0.1 · size · (dx, dy), size · exp(0.2 · (dw, dh)).

    Args:
        regions: (..., 4) xyxy pixels.
        change: (..., 4) dx, dy, dw, dh; exp(0.2 · d) is limited to 8.

    Returns:
        (..., 4) xyxy pixels.
    """
    size = regions[..., 2:] - regions[..., :2]
    centre = (regions[..., :2] + regions[..., 2:]) / 2 + CENTRE_SCALE * size * change[..., :2]
    half = size * (SIZE_SCALE * change[..., 2:]).clamp(max=MAX_LOG_GROWTH).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1)
