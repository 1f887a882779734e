"""The average precision as a space of losses: AP with its steps replaced by curves that a few numbers decide.

Source: "Searching Parameterized AP Loss for Object Detection", Tao et al., NeurIPS 2021,
https://arxiv.org/abs/2112.05138. What differs from it is named in docs/reinforce.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cse_autoloss.errors import ConfigError
from cse_autoloss.spaces.heads import CLS_BINARY
from cse_autoloss.spaces.numbers import scale_of
from cse_autoloss.spaces.ranking import Answer, Ranking, RankingLoss
from cse_autoloss.spaces.step_sums import Curve, StepSums, gathered

_WIDEST = 2.0
"""ln of how much wider or narrower a step may become."""


class ApSpace:
    """L_i = g_i·φ(T_i / R_i) for each positive i of a batch, summed over them by whoever reduces it.

        T_i = 1 + Σ_{p≠i} g_p·h⁺(x_p − x_i)                          what is rightly above it, itself included
        R_i = 1 + Σ_{p≠i} h⁺(x_p − x_i) + Σ_n h⁻(x_n − x_i)            all that is above it: its rank
        φ(a) = (1 − a^λ)/λ                                                −log a for λ = 0, 1 − a for λ = 1

    x are logits, p the other positives, n all other logits, of whatever sample and class. With h⁺, h⁻ the unit
    step, λ = 1 and g = 1, the mean over the positives is 1 − AP. h⁺ and h⁻ rise from 0 to 1 over [−δ, δ], δ of
    their own, in M linear pieces; g = γ(w) rises to 1 over IoUs w in [0, 1] in M pieces and starts above 0. So a
    positive whose box fits badly counts less, and is in part a mistake where it stands above a better one.

    θ = [rises of h⁻ (M), rises of h⁺ (M), start and rises of γ (M + 1), ln(δ⁻/δ), ln(δ⁺/δ), λ]; rises are shares of
    the whole by a softmax, so that any θ is sound. No gradient flows into w.

    λ = 1 alone has hardly a gradient in an untrained model: there a positive stands below half of some 10⁶ logits,
    and (1 − AP)' falls as 1/rank². For λ = 0 it falls as 1/rank, of which as many pairs make up.
    """

    name = "ap"
    signature = CLS_BINARY

    def __init__(self, pieces: int = 4, width: float = 0.5) -> None:
        """
        Args:
            pieces: M ≥ 1.
            width: δ > 0 of the start, in logits.
        """
        if isinstance(pieces, bool) or not isinstance(pieces, int) or not 1 <= pieces <= 100:
            raise ConfigError(f"pieces: expected a whole number from 1 to 100, got {pieces!r}")
        self.pieces, self.width = pieces, scale_of("width", width)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the 3M + 4 parameters."""
        groups = (("negative", self.pieces), ("positive", self.pieces), ("quality", self.pieces + 1))
        rises = tuple(f"{group}[{i}]" for group, count in groups for i in range(count))
        return (*rises, "negative_width", "positive_width", "power")

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """A rise may be e³ times as large as another's by the start's, a step e² times as wide, λ from 0 to 1."""
        return ((-3.0, 3.0),) * (3 * self.pieces + 1) + ((-_WIDEST, _WIDEST),) * 2 + ((0.0, 1.0),)

    @property
    def start(self) -> tuple[float, ...]:
        """Straight lines, and λ = 0."""
        return (0.0,) * (3 * self.pieces + 4)

    def settle(self, theta: Tensor) -> Tensor:
        """θ (..., 3M + 4) within its bounds."""
        low, high = torch.tensor(self.bounds, dtype=theta.dtype, device=theta.device).T
        return torch.minimum(torch.maximum(theta, low), high)

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor, iou: Tensor | None = None) -> Tensor:
        """L_i at the samples with an object, 0 at the others.

        Args:
            logits: (N, C) of a sigmoid head.
            target: (N,) int64; C means background.
            theta: (3M + 4,).
            iou: (N,) w, read at positives; None for 1.

        Returns:
            (N,). Never falls with a logit that is no positive's own.
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        values: Tensor = RankingLoss.apply(logits, target, iou, ApRule(*self.curves(theta)))
        return values

    def curves(self, theta: Tensor) -> tuple[Curve, Curve, Curve, float]:
        """h⁻, h⁺, γ and λ, on the CPU or wherever θ is."""
        if theta.shape != (3 * self.pieces + 4,):
            raise ConfigError(f"theta: expected {3 * self.pieces + 4} values, got {tuple(theta.shape)}")
        settled = self.settle(theta.detach().double())
        negative, positive, quality, rest = settled.split((self.pieces, self.pieces, self.pieces + 1, 3))
        ends = (self.width * rest[:2].exp()).tolist()
        steps = [
            Curve(self._knots(-end, end, theta), _risen(rises.softmax(0)))
            for end, rises in zip(ends, (negative, positive), strict=True)
        ]
        return (
            steps[0],
            steps[1],
            Curve(self._knots(0.0, 1.0, theta), quality.softmax(0).cumsum(0)),
            float(rest[2]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": self.name, "pieces": self.pieces, "width": self.width}

    def _knots(self, low: float, high: float, like: Tensor) -> Tensor:
        return torch.linspace(low, high, self.pieces + 1, dtype=torch.float64, device=like.device)


def _risen(shares: Tensor) -> Tensor:
    return torch.cat((shares.new_zeros(1), shares.cumsum(0)))


class ApRule(NamedTuple):
    """The loss and its gradient, in closed form.

    With α_i = g_i·(T_i/R_i)^{λ−1}/R_i = −∂L_i/∂T_i and β_i = α_i·T_i/R_i = ∂L_i/∂R_i:

        ∂L/∂x_n = Σ_i β_i·h⁻'(x_n − x_i)
        ∂L/∂x_p = Σ_i (β_i − α_i·g_p)·h⁺'(x_p − x_i) − [β_p·(Σ_n h⁻' + Σ_j h⁺') − α_p·Σ_j g_j·h⁺'](· − x_p)

    A positive's pair with itself drops out of both.
    """

    negative: Curve
    positive: Curve
    quality: Curve
    power: float

    def __call__(self, ranking: Ranking) -> Answer:
        good = self.quality(ranking.quality)
        below, negatives = ranking.above(self.negative)
        beside = StepSums(ranking.own, self.positive)
        all_, right = beside.tally(ranking.own), beside.tally(ranking.own, good)
        self_pair = float(self.positive(ranking.own.new_zeros(1)))
        true = 1 + beside.values(right) - good * self_pair
        rank = 1 + beside.values(all_) - self_pair + below.values(negatives)
        logs = true.log() - rank.log()
        values = good * (-logs if self.power == 0 else -torch.expm1(self.power * logs) / self.power)
        alpha = good * torch.exp((self.power - 1) * logs) / rank
        beta = alpha * true / rank

        def back(weights: Tensor) -> tuple[Tensor, Tensor]:
            a, b = weights * alpha, weights * beta
            grad = gathered(below.pulls(b), negatives, ranking.logits)
            place = torch.cat(all_.places).long()
            as_other = beside.pulls(b)[place] - good * beside.pulls(a)[place]
            as_centre = b * (below.slopes(negatives) + beside.slopes(all_)) - a * beside.slopes(right)
            return grad, as_other - as_centre

        return values, back
