"""A classification loss discovered by cse-autoloss.

This file needs torch and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DiscoveredLoss(nn.Module):
    r"""Classification loss on the logits of a softmax head.

    .. math::

        L = \langle y,\, 1 - \operatorname{softmax}(x \cdot 3) - \log(\operatorname{softmax}(x))
        \rangle

    with :math:`x` logits, :math:`y` one-hot target.

    Formula (cls-multiclass):

        Dot(Y,Add(Neg(Log(Softmax(X))),Sub(1,Softmax(Mul(X,3)))))

    Args:
        reduction: "mean", "sum" or "none".
        ignore_index: target of samples that count neither in the sum nor in the mean.
    """

    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction
        self.ignore_index = ignore_index

    def forward(
        self, logits: Tensor, target: Tensor, iou: Tensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (N, C + 1), background last; half precision is computed in float32.
            target: (N,) class index; C means background.
            iou: (N,) IoU of each positive's box with its object, without gradient; None means 1. Not read.
            weight: (N,) factor of each sample.

        Returns:
            (N,) for reduction "none", else a scalar; the mean is over samples.
        """
        logits = _at_least_float32(logits)
        kept = target != self.ignore_index
        label = torch.where(kept, target, 0).unsqueeze(-1)

        log_prob = torch.log_softmax(logits, -1).gather(1, label)
        loss = 1 - torch.softmax(logits * 3, -1).gather(1, label) - log_prob
        loss = loss.squeeze(-1)

        if self.reduction == "none":
            loss = torch.where(kept, loss, 0.0)
            return loss if weight is None else loss * weight
        loss = torch.where(kept, loss, 0.0)
        total = loss.sum() if weight is None else (loss * weight).sum()
        if self.reduction == "sum":
            return total
        return total / (kept.sum().clamp(min=1))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
