"""A box loss on coordinates as a file that imports torch alone: the loss's own source, and its numbers."""

from __future__ import annotations

import inspect
import textwrap

from cse_autoloss.export.own_source import body_of, helpers_of, numbers_of
from cse_autoloss.losses.boxes import BoxLoss
from cse_autoloss.spaces import once
from cse_autoloss.spaces.boxes import BOX_EPSILON

_FILE = '''"""{title}, on boxes. Written by cse-autoloss.

This file needs torch and nothing else.

{formula}
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
{imports}
BOX_EPSILON = {epsilon!r}


class DiscoveredLoss(nn.Module):
    """`loss(pred_boxes, target_boxes, weight=None)`: boxes (N, 4) x1, y1, x2, y2 in pixels, half precision is
    computed in float32; weight (N,) is the factor of each box. Reduction "mean", 0 where there are no boxes, "sum" or
    "none", (N,)."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {{reduction!r}}")
        self.reduction = reduction
{numbers}
    def forward(self, pred_boxes: Tensor, target_boxes: Tensor, weight: Tensor | None = None) -> Tensor:
        for name, boxes in {{"pred_boxes": pred_boxes, "target_boxes": target_boxes}}.items():
            if boxes.dim() != 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
                raise ValueError(f"{{name}} must be float (N, 4), got {{tuple(boxes.shape)}} {{boxes.dtype}}")
        if pred_boxes.shape != target_boxes.shape:
            got = f"{{tuple(pred_boxes.shape)}} and {{tuple(target_boxes.shape)}}"
            raise ValueError(f"each predicted box needs its target, got {{got}}")
        if weight is not None and weight.shape != pred_boxes.shape[:1]:
            raise ValueError(f"weight must be (N,), one a box, got {{tuple(weight.shape)}}")
        loss = self.pairs(_at_least_float32(pred_boxes), _at_least_float32(target_boxes))
{once}        if weight is not None:
            loss = loss * weight
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.sum() / max(len(loss), 1)

{method}


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


{helpers}
'''

_ONCE = """        if loss.requires_grad:
            loss = OnceOnly.apply(loss, pred_boxes, "{held} is held constant in the gradient")
"""


def box_source(loss: BoxLoss) -> str:
    """Python source of a standalone module `DiscoveredLoss` that equals the loss."""
    kind = type(loss)
    numbers = "".join(f"        self.{name} = {value!r}\n" for name, value in numbers_of(loss).items())
    method = inspect.getsource(kind.pairs).rstrip()
    known = [name for name in ("l1_loss", "smooth_l1_loss") if f" {name}(" in method]
    parts = [inspect.getsource(one).rstrip() for one in helpers_of(kind.pairs)]
    if loss.held:
        parts.append(body_of(once).replace("DataError", "ValueError"))
    return (
        _FILE.format(
            title=kind.__name__,
            formula="\n".join(textwrap.wrap(inspect.getdoc(kind) or "", 118, replace_whitespace=False)),
            epsilon=BOX_EPSILON,
            numbers=numbers,
            once=_ONCE.format(held=loss.held) if loss.held else "",
            method=method,
            imports=f"from torch.nn.functional import {', '.join(known)}\n" if known else "",
            helpers="\n\n\n".join(parts),
        ).rstrip()
        + "\n"
    )
