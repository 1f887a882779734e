"""The logits of a batch as one ranking: each positive's own logit against all others, of all samples and classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cse_autoloss.spaces.once import differentiable_once
from cse_autoloss.spaces.step_sums import Curve, StepSums, Tally


class Ranking(NamedTuple):
    """P positives among the N·C logits of a batch.

    Attributes:
        logits: (N, C).
        place: (P,) of the positives' own logits in the flat logits.
        rows: (P,) their samples.
        own: (P,) float64, their logits.
        quality: (P,) float64, their IoU.
    """

    logits: Tensor
    place: Tensor
    rows: Tensor
    own: Tensor
    quality: Tensor

    @classmethod
    def of(cls, logits: Tensor, target: Tensor, iou: Tensor | None) -> Ranking:
        """From logits (N, C), target (N,) with C for background and iou (N,), None for 1."""
        logits = logits.detach().contiguous()
        rows = (target < logits.shape[1]).nonzero().squeeze(1)
        place = rows * logits.shape[1] + target[rows]
        own = logits.view(-1)[place].double()
        quality = torch.ones_like(own) if iou is None else iou.detach()[rows].double().clamp(0, 1)
        return cls(logits, place, rows, own, quality)

    @property
    def negatives(self) -> int:
        """How many logits are no positive's own."""
        return self.logits.numel() - len(self.own)

    def above(self, curve: Curve) -> tuple[StepSums, Tally]:
        """The curve around each positive, and the negatives between its edges.

        Places are those of all logits; the positives' own are taken off the counts.
        """
        steps = StepSums(self.own, curve)
        everything = steps.tally(self.logits.view(-1))
        own = steps.tally(self.logits.view(-1)[self.place], torch.full_like(self.own, -1.0))
        return steps, everything.joined(own)


Answer = tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]
"""What a loss says of a ranking: values (P,), and a function from the weight of each value, (P,), to the gradient by
all logits, (N, C), right where no positive has its own, and by the positives' own, (P,)."""

Rule = Callable[[Ranking], Answer]


class RankingLoss(torch.autograd.Function):
    """Values of a rule, one a sample, 0 where the sample is background; its gradient is what the rule says it is.

    The gradient of an error-driven rule is not that of its values, as its papers have it.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, iou: Tensor | None, rule: Rule) -> Tensor:
        """Values (N,) in the logits' type; NaN throughout where a logit is not finite."""
        ctx.shape, ctx.back = logits.shape, None
        values = logits.new_zeros(len(logits))
        if not bool(logits.sum().isfinite()):
            return values.fill_(torch.nan)
        ranking = Ranking.of(logits, target, iou)
        if len(ranking.rows):
            found, ctx.back = rule(ranking)
            values[ranking.rows] = found.to(values.dtype)
            ctx.save_for_backward(logits, ranking.rows, ranking.place)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """By the logits alone."""
        if ctx.back is None:
            return grads[0].new_zeros(ctx.shape), None, None, None
        logits, rows, place = ctx.saved_tensors
        with torch.no_grad():
            grad, own = ctx.back(grads[0][rows].double())
            grad.view(-1)[place] = own.to(grad.dtype)
        why = "a ranking's gradient is differentiated once"
        return differentiable_once(grad, logits, why), None, None, None
