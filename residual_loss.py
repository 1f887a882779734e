"""A residual loss discovered by cse-autoloss.

This file needs torch and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DiscoveredLoss(nn.Module):
    r"""Loss of the signature residual.

    .. math::

        L = \operatorname{salf}\left(r^{2}\right)

    with :math:`r` prediction - target, in deviations of the targets.

    Formula (residual):

        Salf(Mul(R,R))

    Args:
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction

    def forward(self, R: Tensor) -> Tensor:
        """Loss of a batch; inputs broadcast against each other.

        Args:
            R: (…) prediction - target, in deviations of the targets

        Returns:
            (…) for reduction "none", else a scalar.
        """
        R = _at_least_float32(R)

        t1 = R * R
        loss = 0.5 + 0.25 * t1 * torch.rsqrt(1 + 0.25 * t1 * t1)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.mean()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
