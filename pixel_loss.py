"""A pixel loss discovered by cse-autoloss.

This file needs torch and nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DiscoveredLoss(nn.Module):
    r"""Loss of the signature pixel.

    .. math::

        L = -(y \cdot \log(\sigma(x)) + y \cdot \log(\sigma(x)) + (1 - y) \cdot \log(1 - \sigma(x)))

    with :math:`x` logit of a pixel, :math:`y` 1 on a stroke, else 0.

    Formula (pixel):

        Neg(Add(Mul(Y,Log(Sig(X))),Add(Mul(Y,Log(Sig(X))),Mul(Sub(1,Y),Log(Sub(1,Sig(X)))))))

    Args:
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def forward(self, X: Tensor, Y: Tensor) -> Tensor:
        """Loss of a batch; inputs broadcast against each other.

        Args:
            X: (…) logit of a pixel
            Y: (…) 1 on a stroke, else 0; no gradient flows into it

        Returns:
            (…) for reduction "none", else a scalar.
        """
        X = _at_least_float32(X)
        Y = Y.detach().to(X.dtype)

        log_prob = F.logsigmoid(X)
        t1 = Y * log_prob
        log_not_prob = F.logsigmoid(-X)
        loss = -(t1 + (t1 + (1 - Y) * log_not_prob))
        loss = loss.expand(torch.broadcast_shapes(X.shape, Y.shape))
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.mean()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
