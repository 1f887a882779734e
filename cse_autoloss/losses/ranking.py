"""Ranking losses of the catalogue: AP loss, aLRP and Rank & Sort, on all logits of a batch as one ranking.

Their steps are H(x) = x/(2δ) + 1/2 within [0, 1], and their gradients are error-driven: not the derivative of the
value, but the error of each positive, which it is pulled up by, and which the logits above it are pushed down by, each
by its share in it (Chen et al., 2019, after Rosenblatt's perceptron). Positives are i, k; negatives n; with
R_i = 1 + Σ_{k≠i} H(x_k − x_i) + F_i the rank of i, F_i = Σ_n H(x_n − x_i) the negatives above it, and w its IoU:

    AP loss       value F_i/R_i, error the same
    aLRP          value F_i/R_i, error (F_i + Σ_{k≠i} (1 − w_k)·H(x_k − x_i))/R_i
    Rank & Sort   value and error F_i/R_i, and beside it the error of sorting S_i − S*_i, which goes to the positives
                  above i with a lower w: S_i is the mean of 1 − w over those above i, itself included and each
                  weighted by H, S*_i that over those among them whose w is at least w_i. Here R_i counts i itself
                  as H(0) = 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cse_autoloss.losses.reduction import ReducedLoss, reduce_positives
from cse_autoloss.losses.taking import Taking
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.spaces.checks import check_classification, columns_of
from cse_autoloss.spaces.ranking import Answer, Ranking, RankingLoss
from cse_autoloss.spaces.step_sums import Curve, StepSums

Kind = Literal["ap-loss", "alrp", "rank-sort"]

PAIRS = 1 << 22
"""Pairs of positives that are looked at together: some 100 MB."""


def ranked(
    loss: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    taking: Taking,
    reduction: str,
    logits: Tensor,
    target: Tensor,
    iou: Tensor | None,
) -> Tensor:
    """A `loss` of a batch as one whole, reduced over positives; samples that are ignored stand in no ranking."""
    kept = torch.ones_like(target, dtype=torch.bool)
    if not taking.counts_all(target):
        kept = target.ne(taking.ignore_index or 0)
        logits, iou = logits[kept], None if iou is None else iou[kept]
    found = loss(logits, target[kept], iou)
    values = found.new_zeros(target.shape).masked_scatter(kept, found)
    return reduce_positives(values, kept & (target < logits.shape[1]), reduction)


class ErrorDriven(ReducedLoss):
    """`loss(logits, target, iou=None)` as of cls-binary; the mean is over the samples with an object.

    Before the reduction it is (N,), 0 at background. No gradient flows into the IoU: aLRP's and Rank & Sort's losses of
    boxes are left to the slot of boxes.
    """

    signature = CLS_BINARY
    whole = True

    def __init__(self, kind: Kind, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.kind: Kind = kind
        self.taking = Taking()
        self.delta = 0.5 if kind == "rank-sort" else 1.0

    def forward(self, logits: Tensor, target: Tensor, iou: Tensor | None = None) -> Tensor:
        """The loss; DataError where shapes, types or class indices don't fit."""
        columns = columns_of(logits)
        meaning, ignored = f"{columns} is the background", self.taking.ignore_index
        check_classification(logits, target, iou, highest=columns, meaning=meaning, ignore_index=ignored)
        return ranked(self._values, self.taking, self.reduction, logits, target, iou)

    def _values(self, logits: Tensor, target: Tensor, iou: Tensor | None) -> Tensor:
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        values: Tensor = RankingLoss.apply(logits, target, iou, _Rule(self.kind, self.delta))
        return values

    def extra_repr(self) -> str:
        return f"{self.kind!r}, delta={self.delta}, {super().extra_repr()}"


@dataclass(frozen=True)
class _Rule:
    kind: Kind
    delta: float

    def __call__(self, ranking: Ranking) -> Answer:
        own = ranking.own
        step = Curve(own.new_tensor([-self.delta, self.delta]), own.new_tensor([0.0, 1.0]))
        below, tally = ranking.above(step)
        false = below.values(tally).clamp(min=0)
        beside = StepSums(own, step)
        rank = beside.values(beside.tally(own)) + false + (0.0 if self.kind == "rank-sort" else 0.5)
        value = error = false / rank
        if self.kind == "alrp":
            lost = 1 - ranking.quality
            error = (false + beside.values(beside.tally(own, lost)) - lost / 2) / rank
        error = torch.where(false > 0, error, 0.0)
        sort = _Sorting(ranking, self.delta) if self.kind == "rank-sort" else None

        def back(weights: Tensor) -> tuple[Tensor, Tensor]:
            grad = below.spread(weights * error / false.clamp(min=1e-300), tally, ranking.logits)
            own = -weights * error
            return grad, own if sort is None else own + sort.gradient(weights)

        return value if sort is None else value + sort.values, back


class _Sorting:
    """The error of sorting of each positive, and what it does to their logits."""

    def __init__(self, ranking: Ranking, delta: float) -> None:
        self._own, self._quality, self._delta = ranking.own, ranking.quality, delta
        self.values = torch.cat([self._errors(*pairs)[0] for _, *pairs in self._blocks()])

    def gradient(self, weights: Tensor) -> Tensor:
        """(P,): i is pulled up by its error, and the positives above it of lower w share it."""
        grad = torch.zeros_like(self._own)
        for rows, above, better in self._blocks():
            error, wrong = self._errors(above, better)
            shared = wrong.sum(1)
            pull = torch.where(shared > 1e-10, weights[rows] * error, 0.0)
            grad[rows] -= pull
            grad += (pull / shared.clamp(min=1e-10)) @ wrong
        return grad

    def _errors(self, above: Tensor, better: Tensor) -> tuple[Tensor, Tensor]:
        """S_i − S*_i, (b,), and what of `above` is of a lower w, (b, P)."""
        lost, right = 1 - self._quality, above * better
        return above @ lost / above.sum(1) - right @ lost / right.sum(1), above - right

    def _blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some positives i at a time: which, H(x_k − x_i) and whether w_k ≥ w_i, (b, P)."""
        count = len(self._own)
        size = max(1, PAIRS // count)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            above = ((self._own - self._own[rows, None]) / (2 * self._delta) + 0.5).clamp_(0, 1)
            yield rows, above, self._quality >= self._quality[rows, None]
