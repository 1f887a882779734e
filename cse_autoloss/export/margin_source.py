"""A margin softmax loss as a file that imports torch alone: the loss's own source, and its numbers."""

from __future__ import annotations

import inspect
import textwrap

from cse_autoloss.export.own_source import numbers_of
from cse_autoloss.losses import margin
from cse_autoloss.losses.margin import MarginSoftmax

_FILE = '''"""{title}, on cosines. Written by cse-autoloss.

{formula}

L = -log(exp(s f) / (exp(s f) + sum of exp(s cos) over the other classes)), f in the place of the target's cosine.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class DiscoveredLoss(nn.Module):
    """`loss(cosine, target)`: cosine (N, C) between features and class weights, target (N,) int64 class index in
    [0, C); reduction "mean", "sum" or "none". Half precision is computed in float32."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is 'mean', 'sum' or 'none', got {{reduction!r}}")
        self.reduction = reduction
{numbers}

    def forward(self, cosine: Tensor, target: Tensor) -> Tensor:
        fits = cosine.dim() == 2 and cosine.is_floating_point() and target.shape == cosine.shape[:1]
        if not fits or target.dtype != torch.int64:
            got = f"{{tuple(cosine.shape)}} {{cosine.dtype}} and {{tuple(target.shape)}} {{target.dtype}}"
            raise ValueError(f"cosine must be float (N, C) and target (N,) int64 class indices, got {{got}}")
        cosine = cosine.float() if cosine.dtype in (torch.float16, torch.bfloat16) else cosine
        column = target.unsqueeze(-1)
        own = self.margin(cosine.gather(-1, column))
        loss = cross_entropy(self.scale * cosine.scatter(-1, column, own), target, reduction="none")
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.sum() / max(1, loss.numel())

{method}


{helpers}
'''


def margin_source(loss: MarginSoftmax) -> str:
    """Python source of a standalone module `DiscoveredLoss` that equals the loss."""
    kind = type(loss)
    helpers = (margin._angle, margin._falling_cosine, margin._monotone_multiple)
    return _FILE.format(
        title=kind.__name__,
        formula="\n".join(textwrap.wrap(inspect.getdoc(kind) or "", 118)),
        numbers="\n".join(f"        self.{name} = {value!r}" for name, value in numbers_of(loss).items()),
        method=inspect.getsource(kind.margin).rstrip(),
        helpers="\n\n\n".join(inspect.getsource(one).rstrip() for one in helpers),
    )
