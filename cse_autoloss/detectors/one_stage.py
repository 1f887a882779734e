"""The one-stage proxies: small, anchor-free detectors in the manner of FCOS (Tian et al., ICCV 2019).

Each cell of one feature map, or of a pyramid's, predicts C class logits, the distances to the four sides of
its object's box, and the IoU that this box will have (in place of centre-ness, as CSE-Autoloss trains it).
The two losses under search come in as callables that return a sum; everything here divides by the number of
positives, as FCOS does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment, Grid, assign, grid_of
from cse_autoloss.detectors.boxes import paired_iou
from cse_autoloss.detectors.layers import Tower, rows
from cse_autoloss.detectors.selection import Detections, best_boxes
from cse_autoloss.detectors.trunks import PlainSettings, PyramidSettings

ClassificationLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (M, C), target (M,) int64 with C = background, iou (M,) detached) -> scalar sum."""
RegressionLoss = Callable[..., Tensor]
"""(predicted boxes (P, 4), target boxes (P, 4)) -> scalar sum; where its `reads_score` is true also called with `score`,
the chance (P,) that the detector gives each box's own class, detached."""

MAX_LOG_SIDE = 5.0
"""exp(5) strides is wider than any image these nets are for; without a limit one bad step overflows."""


@dataclass(frozen=True)
class OneStageSettings:
    """Shape of the network. The defaults are the cheapest that learns the embedded scenes well in six epochs.

    Attributes:
        trunk: what the head stands on.
        class_width, box_width: channels of the two towers.
        prior: foreground probability that the classification bias starts from. The customary 0.01 leaves losses
            that weigh easy examples down (focal) hardly a gradient, and some seeds late; 0.1 slows cross-entropy.
        output_std: deviation of the output layers' first weights.
        detections: least and most boxes an image that are given; in between, a quarter of the cells. COCO
            scores 100.
    """

    trunk: PlainSettings | PyramidSettings = field(default_factory=PlainSettings)
    class_width: int = 64
    box_width: int = 32
    prior: float = 0.05
    output_std: float = 0.05
    detections: tuple[int, int] = (24, 100)


class Prediction(NamedTuple):
    """Dense output for B images and L cells."""

    logits: Tensor
    """(B, L, C) class logits."""
    boxes: Tensor
    """(B, L, 4) xyxy pixels."""
    quality: Tensor
    """(B, L) logit of the IoU that the box is expected to have."""


class OneStageDetector(nn.Module):
    """The network. Input (B, channels, H, W) normalised, H and W multiples of `stride`; output `Prediction`."""

    signature: ClassVar[str] = "cls-binary"
    stacks: ClassVar[bool] = True

    def __init__(
        self, channels: int, num_classes: int, settings: OneStageSettings = OneStageSettings()
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_classes = num_classes
        self.trunk = settings.trunk.build(channels)
        self.stride = self.trunk.strides[-1]
        self.class_tower = Tower(self.trunk.width, settings.class_width)
        self.box_tower = Tower(self.trunk.width, settings.box_width)
        self.to_class = nn.Conv2d(settings.class_width, num_classes, 1)
        self.to_box = nn.Conv2d(settings.box_width, 5, 1)
        for layer, bias in (
            (self.to_class, math.log(settings.prior / (1 - settings.prior))),
            (self.to_box, 0.0),
        ):
            nn.init.normal_(layer.weight, std=settings.output_std)
            nn.init.constant_(cast(Tensor, layer.bias), bias)

    def forward(self, images: Tensor) -> Prediction:
        """Predict for images (B, channels, H, W)."""
        maps = self.trunk(images).maps
        logits = self.to_class(self.class_tower(maps))
        raw = rows(self.to_box(self.box_tower(maps)))
        height, width = images.shape[-2:]
        boxes = boxes_around(grid_of((height, width), self.trunk.strides, raw), raw[..., :4])
        return Prediction(rows(logits), boxes, raw[..., 4])

    def targets(self, boxes: Tensor, labels: Tensor, image_size: tuple[int, int]) -> Assignment:
        """A row for each cell; see `Detector.targets`."""
        return assign_cells(boxes, labels, image_size, self.trunk.strides, self.num_classes)

    def loss(
        self,
        prediction: Prediction,
        assigned: Assignment,
        cls_loss: ClassificationLoss,
        reg_loss: RegressionLoss,
        box_weight: float = 1.0,
    ) -> Tensor:
        """(cls + box_weight · reg + BCE(quality, IoU)) / P, a scalar; P is the number of positive cells.

        The IoU of predicted and assigned box is detached: it is a target for the quality branch and a
        variable of the classification loss, no way for a gradient into the boxes.
        """
        label = assigned.label.flatten()
        positive = ((label >= 0) & (label < self.num_classes)).nonzero().squeeze(1)
        count, own_label = max(positive.numel(), 1), label[positive]
        pred_boxes = prediction.boxes.reshape(-1, 4)[positive]
        target_boxes = assigned.box.reshape(-1, 4)[positive]
        positive_iou = paired_iou(pred_boxes.detach(), target_boxes)
        iou = torch.zeros(label.shape, dtype=positive_iou.dtype, device=label.device)
        iou[positive] = positive_iou

        logits = prediction.logits.reshape(-1, self.num_classes)
        if (label < 0).any():  # in crowds
            used = (label >= 0).nonzero().squeeze(1)
            logits, label, iou = logits[used], label[used], iou[used]
        cls_sum = cls_loss(logits, label, iou)
        beside = {}
        if getattr(reg_loss, "reads_score", False):
            own = prediction.logits.detach().reshape(-1, self.num_classes)[positive, own_label]
            beside["score"] = own.float().sigmoid()
        reg_sum = reg_loss(pred_boxes, target_boxes, **beside)
        quality = F.binary_cross_entropy_with_logits(
            prediction.quality.reshape(-1)[positive], positive_iou, reduction="sum"
        )
        return (cls_sum + box_weight * reg_sum + quality) / count

    def decode(
        self, prediction: Prediction, image_size: tuple[int, int], *, limit: int | None = None
    ) -> Detections:
        """See `Detector.decode`; `limit` is the boxes an image, by default the settings'."""
        if limit is None:
            least, most = self.settings.detections
            limit = min(max(prediction.quality.shape[1] // 4, least), most)
        return decode(prediction, image_size, candidates=limit * 8 // 3, limit=limit)


PYRAMID = OneStageSettings(trunk=PyramidSettings(), class_width=64, box_width=64)
"""Shape of the one-stage proxy for photographs."""


class OneStagePyramid(OneStageDetector):
    """The one-stage proxy for photographs: wider, on maps of strides 8, 16 and 32."""

    def __init__(self, channels: int, num_classes: int, settings: OneStageSettings = PYRAMID) -> None:
        super().__init__(channels, num_classes, settings)


def boxes_around(grid: Grid, raw: Tensor) -> Tensor:
    """Boxes (B, L, 4) xyxy pixels; exp(raw) (B, L, 4) are a point's distances to the sides, in its strides."""
    sides = grid.strides[:, None] * raw.clamp(max=MAX_LOG_SIDE).exp()
    return torch.cat((grid.points - sides[..., :2], grid.points + sides[..., 2:]), dim=-1)


def assign_cells(
    boxes: Tensor, labels: Tensor, image_size: tuple[int, int], strides: tuple[int, ...], num_classes: int
) -> Assignment:
    """`assign` for the cells of one map, or of a pyramid's."""
    grid = grid_of(image_size, strides, boxes)
    stride = grid.strides if len(strides) > 1 else strides[0]
    return assign(grid.points, boxes, labels, num_classes=num_classes, stride=stride)


def decode(
    prediction: Prediction,
    image_size: tuple[int, int],
    *,
    candidates: int = 64,
    limit: int = 24,
    nms_threshold: float = 0.5,
    quality_power: float = 1.0,
) -> Detections:
    """The best boxes of each image after class-aware non-maximum suppression; see `best_boxes`.

    The score of a (cell, class) pair is p · q^quality_power (FCOS multiplies so with its centre-ness).

    Args:
        prediction: dense output for B images.
        image_size: (height, width) in pixels, to clip boxes to.
        candidates: (cell, class) pairs per image that enter the suppression.
        limit: K, boxes per image that leave it.
        nms_threshold: IoU above which the lower-scoring box of a class is dropped.
        quality_power: 0 leaves the quality out.
    """
    # float64: next to log q, the log p of a confident float32 logit would round to 0, and ranks to ties
    quality = F.logsigmoid(prediction.quality.double())[..., None]
    log_score = F.logsigmoid(prediction.logits.double()) + quality_power * quality
    return best_boxes(
        log_score,
        prediction.boxes,
        image_size,
        candidates=candidates,
        limit=limit,
        nms_threshold=nms_threshold,
    )
