"""From scored boxes to detections: the last step of every detector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cse_autoloss.detectors.nms import batched_nms


class Detections(NamedTuple):
    """The best boxes of B images, sorted by falling score; rows past an image's last one have label -1."""

    boxes: Tensor
    """(B, K, 4) xyxy pixels, clipped to the image."""
    log_scores: Tensor
    """(B, K) log of the score; logs, so that a loss that saturates makes no ties."""
    labels: Tensor
    """(B, K) int64 class index, -1 where there is none."""


def best_boxes(
    log_scores: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    *,
    candidates: int = 64,
    limit: int = 24,
    nms_threshold: float = 0.5,
) -> Detections:
    """The best boxes of each image after class-aware non-maximum suppression.

    No score threshold: AP depends on the order alone, and a threshold would punish losses that are merely
    scaled.

    Args:
        log_scores: (B, N, C) log of the score of each box for each class, -inf for a pair that must not be
            given. Take logs in float64: those of confident float32 scores round to 0, and ranks become ties.
        boxes: (B, N, 4) xyxy pixels, one a row of scores, shared by its classes.
        image_size: (height, width) in pixels, to clip boxes to.
        candidates: (box, class) pairs an image that enter the suppression.
        limit: K, boxes an image that leave it; fewer when there are fewer pairs. COCO scores 100.
        nms_threshold: IoU above which the lower-scoring box of a class is dropped.
    """
    classes = log_scores.shape[-1]
    flat = log_scores.flatten(1)
    top, index = flat.topk(min(candidates, flat.shape[1]), dim=1)
    labels = torch.where(top > -torch.inf, index % classes, -1)
    boxes = boxes.gather(1, (index // classes)[..., None].expand(-1, -1, 4))
    height, width = image_size
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))

    keep = batched_nms(boxes, labels, nms_threshold)
    scores, order = torch.where(keep, top, -torch.inf).topk(min(limit, top.shape[1]), dim=1)
    return Detections(
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        scores,
        torch.where(scores > -torch.inf, labels.gather(1, order), -1),
    )
