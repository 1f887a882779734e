"""What enters a loss, checked before it can do harm: shapes and types always, values where a look is cheap.

Values are looked at on the CPU alone: elsewhere the look would wait for the device, and under torch.compile
or torch.export it would break the graph.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import torch
from torch import Tensor

from cse_autoloss.errors import DataError

Targets = Literal["index", "mask", "soft"]
"""What a target holds: a class index a sample; or for each logit 0 or 1; or for each logit a share in [0, 1]."""

IOU_SLACK = 1e-4
"""How far an IoU may lie outside [0, 1]: rounding in its computation must not stop a training."""

SHARE_SLACK = 1e-2
"""How far the shares of a sample's classes may sum from 1: mixed labels in half precision are that coarse."""

_HOLDS = {
    "index": "one class index a row of logits",
    "mask": "0 or 1 for each logit",
    "soft": "a number in [0, 1] for each logit",
}


def check_classification(
    logits: Tensor,
    target: Tensor,
    iou: Tensor | None,
    *,
    highest: int,
    meaning: str,
    maps: bool = False,
    targets: Targets = "index",
    ignore_index: int | None = None,
) -> None:
    """Raise DataError unless logits are (N, C) floats, target (N,) int64 in range, iou None or (N,) floats.

    Args:
        logits: what the model gave.
        target: class indices; for `targets` other than "index" what `Targets` says, in the logits' shape.
        iou: quality of the positives, in the target's shape.
        highest: the largest class index that is taken.
        meaning: what that index stands for, for the message.
        maps: (N, C, d1, …) logits are taken too, their target without C.
        targets: what the target holds.
        ignore_index: value of the target that is taken beside the others.
    """
    check_tensors(target=target, iou=iou)
    if (
        logits.dim() < 2
        or (logits.dim() > 2 and not maps)
        or logits.shape[1] == 0
        or not logits.is_floating_point()
    ):
        wanted = "(N, C) or (N, C, d1, …)" if maps else "(N, C)"
        raise DataError(f"logits must be {wanted} floating point with C ≥ 1, got {_describe(logits)}")
    shape = logits.shape[:1] + logits.shape[2:] if targets == "index" else logits.shape
    if target.shape != shape:
        hint = '; is it targets="mask" or "soft"?' if maps and target.shape == logits.shape else ""
        raise DataError(f"target must be {tuple(shape)}, {_HOLDS[targets]}, got {_describe(target)}{hint}")
    if targets == "index" and target.dtype != torch.int64:
        raise DataError(
            f"target must be int64 class indices, got {target.dtype}; convert it with target.long()"
        )
    if targets == "soft" and not target.is_floating_point():
        raise DataError(f'target must be floating point for targets="soft", got {target.dtype}')
    if iou is not None and (iou.shape != target.shape or not iou.is_floating_point()):
        raise DataError(f"iou must be {tuple(target.shape)} floating point, got {_describe(iou)}")
    if not may_look(target):
        return
    if ignore_index is not None:
        kept = target != ignore_index
        target, iou = target[kept], None if iou is None else iou[kept]
    if target.numel() == 0:
        return
    if targets != "index":
        _check_values(target, targets)
        return
    low, high = (int(bound) for bound in target.aminmax())
    if low < 0 or high > highest:
        wrong = low if low < 0 else high
        raise DataError(f"target holds {wrong}; class indices run from 0 to {highest} ({meaning})")
    if iou is not None and may_look(iou):
        quality = iou[target < highest]
        if quality.numel() and not bool(((quality >= -IOU_SLACK) & (quality <= 1 + IOU_SLACK)).all()):
            worst = quality[(quality < -IOU_SLACK) | (quality > 1 + IOU_SLACK) | quality.isnan()][0]
            raise DataError(f"iou of positives must lie in [0, 1], got {worst.item():.4g}")


def _check_values(target: Tensor, targets: Targets) -> None:
    right = (target == 0) | (target == 1) if targets == "mask" else (target >= 0) & (target <= 1)
    if not bool(right.all()):
        raise DataError(f"target must hold {_HOLDS[targets]}, got {target[~right][0].item():.4g}")


def check_shares(target: Tensor) -> None:
    """Raise DataError unless each sample's shares, (N, C), sum to 1."""
    if may_look(target) and target.numel():
        sums = target.float().sum(-1)
        wrong = (sums - 1).abs() > SHARE_SLACK
        if bool(wrong.any()):
            raise DataError(f"target must sum to 1 over the classes, got {sums[wrong][0].item():.4g}")


def check_boxes(pred_boxes: Tensor, target_boxes: Tensor) -> None:
    """Raise DataError unless both are (P, 4) floating point of the same length, and targets are corners."""
    check_tensors(pred_boxes=pred_boxes, target_boxes=target_boxes)
    for name, boxes in (("pred_boxes", pred_boxes), ("target_boxes", target_boxes)):
        if boxes.dim() != 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
            raise DataError(f"{name} must be (P, 4) xyxy floating point, got {_describe(boxes)}")
    if pred_boxes.shape != target_boxes.shape:
        raise DataError(
            f"each predicted box needs its target, got {_describe(pred_boxes)} and {_describe(target_boxes)}"
        )
    if may_look(target_boxes) and type(target_boxes) is Tensor:
        _check_corners(target_boxes)


LOOKED_AT = 256
"""Boxes of a batch whose form is looked at: of many the first do, at a tenth of what all cost."""


def _check_corners(boxes: Tensor) -> None:
    """DataError where most boxes end before they begin: they are (x, y, width, height), of which any loss makes
    nonsense without a word. A few that do may be a data set's faults, and count as boxes without area."""
    boxes = boxes[:LOOKED_AT]
    turned = (boxes[:, 2:] < boxes[:, :2]).any(-1)
    with contextlib.suppress(RuntimeError):  # under vmap no value can be looked at
        count = int(turned.sum())
        if 2 * count > len(boxes):
            raise DataError(
                f"target_boxes must be corners x1, y1, x2, y2; {count} of {len(boxes)} have x2 < x1 or y2 < y1. Are "
                'they x, y, width, height? torchvision.ops.box_convert(boxes, "xywh", "xyxy") turns them'
            )


def columns_of(logits: Tensor) -> int:
    """C of (N, C) or (N, C, d1, …) logits, 0 where there is none; DataError unless it is a tensor."""
    check_tensors(logits=logits)
    return logits.shape[1] if logits.dim() > 1 else 0


def check_tensors(**given: object) -> None:
    """Raise DataError unless each is a tensor, or None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise DataError(f"{name} must be a tensor, got {type(value).__name__}")


def may_look(tensor: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device or breaking a traced graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
