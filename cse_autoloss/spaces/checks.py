"""What enters a loss, checked before it can do harm: shapes and types always, values where a look is cheap.

Values are looked at on the CPU alone: elsewhere the look would wait for the device, and under torch.compile
or torch.export it would break the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.errors import DataError

IOU_SLACK = 1e-4
"""How far an IoU may lie outside [0, 1]: rounding in its computation must not stop a training."""


def check_classification(
    logits: Tensor, target: Tensor, iou: Tensor | None, *, highest: int, meaning: str
) -> None:
    """Raise DataError unless logits are (N, C) floats, target (N,) int64 in range, iou None or (N,) floats.

    Args:
        logits: what the model gave.
        target: class indices.
        iou: quality of the positives.
        highest: the largest class index that is taken.
        meaning: what that index stands for, for the message.
    """
    if logits.dim() != 2 or logits.shape[1] == 0 or not logits.is_floating_point():
        raise DataError(f"logits must be (N, C) floating point with C ≥ 1, got {_describe(logits)}")
    if target.shape != logits.shape[:1]:
        raise DataError(
            f"target must be ({logits.shape[0]},), one class index a row of logits, got {_describe(target)}"
        )
    if target.dtype != torch.int64:
        raise DataError(
            f"target must be int64 class indices, got {target.dtype}; convert it with target.long()"
        )
    if iou is not None and (iou.shape != target.shape or not iou.is_floating_point()):
        raise DataError(f"iou must be ({logits.shape[0]},) floating point, got {_describe(iou)}")
    if not _may_look(target) or target.numel() == 0:
        return
    low, high = (int(bound) for bound in target.aminmax())
    if low < 0 or high > highest:
        wrong = low if low < 0 else high
        raise DataError(f"target holds {wrong}; class indices run from 0 to {highest} ({meaning})")
    if iou is not None and _may_look(iou):
        quality = iou[target < highest]
        if quality.numel() and not bool(((quality >= -IOU_SLACK) & (quality <= 1 + IOU_SLACK)).all()):
            worst = quality[(quality < -IOU_SLACK) | (quality > 1 + IOU_SLACK) | quality.isnan()][0]
            raise DataError(f"iou of positives must lie in [0, 1], got {worst.item():.4g}")


def check_boxes(pred_boxes: Tensor, target_boxes: Tensor) -> None:
    """Raise DataError unless both are (P, 4) floating point of the same length."""
    for name, boxes in (("pred_boxes", pred_boxes), ("target_boxes", target_boxes)):
        if boxes.dim() != 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
            raise DataError(f"{name} must be (P, 4) xyxy floating point, got {_describe(boxes)}")
    if pred_boxes.shape != target_boxes.shape:
        raise DataError(
            f"each predicted box needs its target, got {_describe(pred_boxes)} and {_describe(target_boxes)}"
        )


def _may_look(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
