"""Non-maximum suppression of many images at once, aware of classes, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.detectors.boxes import pairwise_iou

PART = 200_000
"""Pairs of boxes that are looked at together."""


def batched_nms(boxes: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression among boxes of the same image and class.

    The greedy rule (walk from the best score down, drop a box that overlaps a kept one) is solved for all
    images together as a fixed point: keep_i = no j < i of the same class with keep_j and IoU_ij > threshold.
    Starting from "all are kept", n rounds settle the first n boxes for good, so it ends after at most N
    rounds, and in practice after three or four. The answer is that of the sequential walk.

    Args:
        boxes: (B, N, 4) xyxy pixels, each image's sorted by falling score.
        labels: (B, N) int64 class of each box; boxes with a negative label are never kept and suppress none.
        threshold: IoU above which the lower-scoring box is dropped.

    Returns:
        (B, N) bool, True where the box is kept.
    """
    # A few images at a time, whose tables of pairs stay in the processor's cache.
    size = max(1, PART // max(1, boxes.shape[1]) ** 2)
    parts = zip(boxes.split(size), labels.split(size), strict=True)
    kept = [_suppress(own, classes, threshold) for own, classes in parts]
    return torch.cat(kept) if kept else labels >= 0


def _suppress(boxes: Tensor, labels: Tensor, threshold: float) -> Tensor:
    count = boxes.shape[1]
    earlier = torch.ones(count, count, dtype=torch.bool, device=boxes.device).tril(-1)
    rivals = (pairwise_iou(boxes, boxes) > threshold) & (labels[:, :, None] == labels[:, None, :]) & earlier
    valid = labels >= 0
    keep = valid
    for _ in range(count):
        settled = valid & ~(rivals & keep[:, None, :]).any(dim=-1)
        if torch.equal(settled, keep):
            break
        keep = settled
    return keep
