"""How a loss of one value for each element becomes what the training step asks for."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn

from cse_autoloss.errors import ConfigError, UnknownNameError, shorten
from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of

REDUCTIONS = ("mean", "sum", "none")
"""mean over all elements, sum over all elements, or the elements themselves; as in torch."""


def check_reduction(reduction: str) -> str:
    """`reduction` itself; UnknownNameError offers the nearest valid one."""
    if reduction not in REDUCTIONS:
        raise UnknownNameError.of("reduction", str(reduction), REDUCTIONS)
    return reduction


def check_alpha(alpha: float | None, signature: Signature) -> float | None:
    """`alpha` itself where losses of the signature can be weighted by it, else ConfigError."""
    if alpha is None:
        return None
    if not form_of(signature).weighted:
        raise ConfigError(
            f"alpha weights the classes of sigmoid heads' losses; a {signature.name} loss has none"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must be a number in [0, 1] or None, got {shorten(repr(alpha))}")
    return float(alpha)


def reduce(values: Tensor, reduction: str) -> Tensor:
    """Mean, sum or the values; sum and mean of nothing are 0, with a gradient: a batch without boxes is no fault."""
    if reduction == "mean" and values.numel():
        return values.mean()
    return values if reduction == "none" else values.sum()


def reduce_positives(values: Tensor, positive: Tensor, reduction: str) -> Tensor:
    """`reduce` of values (N,) that background has none of: their mean is over the positives (N,), 0 without any."""
    if reduction == "mean":
        return values.sum() / positive.sum().clamp(min=1)
    return reduce(values, reduction)


def share(values: Tensor, weight: Tensor | None, kept: Tensor | None, reduction: str) -> Tensor:
    """`reduce` of the elements that are kept, each times its weight.

    Args:
        values: (M,) one a sample, or (M, C) one a logit.
        weight: (M,) of samples or (C,) of logits; None for 1. As in torch, a mean divides by the sum of the samples'
            weights, and by the number of the logits whatever their weights.
        kept: (M,) or in the values' shape; the others give 0 and no gradient. None for all.
        reduction: "mean", "sum" or "none"; the mean of nothing is 0, with a gradient of 0.
    """
    shares = torch.ones_like(values)
    if weight is not None:
        values = values * weight
        shares = weight if values.dim() == 1 else shares
    if kept is not None:
        kept = kept if kept.dim() == values.dim() else kept.unsqueeze(-1)
        values, shares = (torch.where(kept, each, torch.zeros_like(each)) for each in (values, shares))
    if reduction != "mean":
        return reduce(values, reduction)
    total = shares.sum()
    return values.sum() / torch.where(total > 0, total, torch.ones_like(total))


class ReducedLoss(nn.Module):
    """A loss module with `reduction`.

    Attributes:
        signature: it decides how the module is called.
        reduction: "mean", "sum" or "none".
        whole: whether a batch is one whole, so that a sample's value depends on the others.
    """

    signature: Signature
    whole = False

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"

    def _repr_html_(self) -> str:
        """What a notebook shows: formula, curves, graph. Pages know losses, so they are looked up by name."""
        shown: str = import_module("cse_autoloss.explain.parts").notebook(self)
        return shown
