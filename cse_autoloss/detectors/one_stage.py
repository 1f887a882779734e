"""The one-stage proxy: a small, anchor-free detector in the manner of FCOS (Tian et al., ICCV 2019).

Each cell of one feature map predicts C class logits, the distances to the four sides of its object's box, and
the IoU that this box will have (in place of centre-ness, as CSE-Autoloss trains it). The two losses under
search come in as callables that return a sum; everything here divides by the number of positives, as FCOS
does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment, grid_points
from cse_autoloss.detectors.boxes import paired_iou
from cse_autoloss.detectors.nms import batched_nms

ClassificationLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (M, C), target (M,) int64 with C = background, iou (M,) detached) -> scalar sum."""
RegressionLoss = Callable[[Tensor, Tensor], Tensor]
"""(predicted boxes (P, 4), target boxes (P, 4)) -> scalar sum."""

MAX_LOG_SIDE = 5.0
"""exp(5) strides is wider than any image this net is for; without a limit one bad step overflows."""


@dataclass(frozen=True)
class OneStageSettings:
    """Shape of the network. The defaults are the cheapest that learns the embedded scenes well in six epochs.

    Attributes:
        patch: pixels per side that the stem folds into channels; features start at this stride.
        width: channels of the three blocks at stride `patch`.
        deep_width: channels of the block at twice that stride.
        class_width, box_width: channels of the two towers.
        prior: foreground probability that the classification bias starts from. The customary 0.01 leaves losses
            that weigh easy examples down (focal) hardly a gradient, and some seeds late; 0.1 slows cross-entropy.
        output_std: deviation of the output layers' first weights.
    """

    patch: int = 4
    width: int = 32
    deep_width: int = 48
    class_width: int = 64
    box_width: int = 32
    prior: float = 0.05
    output_std: float = 0.05


class Prediction(NamedTuple):
    """Dense output for B images and L cells."""

    logits: Tensor
    """(B, L, C) class logits."""
    boxes: Tensor
    """(B, L, 4) xyxy pixels."""
    quality: Tensor
    """(B, L) logit of the IoU that the box is expected to have."""


class Detections(NamedTuple):
    """The best boxes of B images, sorted by falling score; rows past an image's last one have label -1."""

    boxes: Tensor
    """(B, K, 4) xyxy pixels, clipped to the image."""
    log_scores: Tensor
    """(B, K) log(class probability · quality); logs, so that a loss that saturates makes no ties."""
    labels: Tensor
    """(B, K) int64 class index, -1 where there is none."""


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True))


class OneStageDetector(nn.Module):
    """The network. Input (B, channels, H, W) normalised, H and W multiples of `stride`; output `Prediction`.

    BatchNorm, not GroupNorm: on mostly empty canvases the statistics of one image say little (AP 0.49 against
    0.31 after six epochs).
    """

    def __init__(
        self, channels: int, num_classes: int, settings: OneStageSettings = OneStageSettings()
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.patch = settings.patch
        self.stride = settings.patch * 2
        self.backbone = nn.Sequential(
            _block(channels * settings.patch**2, settings.width),
            _block(settings.width, settings.width),
            _block(settings.width, settings.width),
            _block(settings.width, settings.deep_width, stride=2),
        )
        self.class_tower = _block(settings.deep_width, settings.class_width)
        self.box_tower = _block(settings.deep_width, settings.box_width)
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
        features = self.backbone(F.pixel_unshuffle(images, self.patch))
        logits = self.to_class(self.class_tower(features))
        raw = self.to_box(self.box_tower(features))
        height, width = raw.shape[-2:]
        points = grid_points(height, width, self.stride).to(raw)
        raw = raw.flatten(2).transpose(1, 2)
        sides = self.stride * raw[..., :4].clamp(max=MAX_LOG_SIDE).exp()
        boxes = torch.cat((points - sides[..., :2], points + sides[..., 2:]), dim=-1)
        return Prediction(logits.flatten(2).transpose(1, 2), boxes, raw[..., 4])

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
        positive = (label < self.num_classes).nonzero().squeeze(1)
        count = max(positive.numel(), 1)
        pred_boxes = prediction.boxes.reshape(-1, 4)[positive]
        target_boxes = assigned.box.reshape(-1, 4)[positive]
        positive_iou = paired_iou(pred_boxes.detach(), target_boxes)
        iou = torch.zeros(label.shape, dtype=positive_iou.dtype, device=label.device)
        iou[positive] = positive_iou

        cls_sum = cls_loss(prediction.logits.reshape(-1, self.num_classes), label, iou)
        reg_sum = reg_loss(pred_boxes, target_boxes)
        quality = F.binary_cross_entropy_with_logits(
            prediction.quality.reshape(-1)[positive], positive_iou, reduction="sum"
        )
        return (cls_sum + box_weight * reg_sum + quality) / count


def decode(
    prediction: Prediction,
    image_size: tuple[int, int],
    *,
    candidates: int = 64,
    limit: int = 24,
    nms_threshold: float = 0.5,
    quality_power: float = 1.0,
) -> Detections:
    """The best boxes of each image after class-aware non-maximum suppression.

    The score of a (cell, class) pair is p · q^quality_power (FCOS multiplies so with its centre-ness). No
    score threshold is used: AP depends on the order alone, and a threshold would punish losses that are
    merely scaled.

    Args:
        prediction: dense output for B images.
        image_size: (height, width) in pixels, to clip boxes to.
        candidates: (cell, class) pairs per image that enter the suppression.
        limit: K, boxes per image that leave it.
        nms_threshold: IoU above which the lower-scoring box of a class is dropped.
    """
    classes = prediction.logits.shape[-1]
    # float64: next to log q, the log p of a confident float32 logit would round to 0, and ranks to ties
    quality = F.logsigmoid(prediction.quality.double())[..., None]
    log_score = F.logsigmoid(prediction.logits.double()) + quality_power * quality
    flat = log_score.flatten(1)
    top, index = flat.topk(min(candidates, flat.shape[1]), dim=1)
    labels = index % classes
    boxes = prediction.boxes.gather(1, (index // classes)[..., None].expand(-1, -1, 4))
    height, width = image_size
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))

    keep = batched_nms(boxes, labels, nms_threshold)
    kept_score = torch.where(keep, top, -torch.inf)
    scores, order = kept_score.topk(min(limit, kept_score.shape[1]), dim=1)
    return Detections(
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        scores,
        torch.where(scores > -torch.inf, labels.gather(1, order), -1),
    )
