"""The Gaussian policy g(θ; μ, σ) = N(μ, σ²I) and its score-function gradient; pure functions on float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cse_autoloss.errors import RunError


class DivergedError(RunError):
    """No model of an epoch has a finite reward."""


def normalise(rewards: Sequence[float], baseline: float | None = None) -> Tensor:
    """Rewards brought to mean 0 and variance 1 (divided by n), (B,) float64.

    A reward that is not finite is that of a failed model: it counts as the lowest of the others. Where all
    are equal there is nothing to learn, and all become 0.

    Args:
        rewards: (B,).
        baseline: taken off them in place of their own mean; the deviation is their own in any case.

    Raises:
        DivergedError: no reward is finite.
    """
    values = sound(rewards)
    centred = values - values.mean()
    deviation = float(centred.square().mean().sqrt())
    if deviation <= 1e-12 * max(1.0, float(values.abs().max())):
        return torch.zeros_like(values)
    return (centred if baseline is None else values - baseline) / deviation


def sound(rewards: Sequence[float]) -> Tensor:
    """Rewards with the lowest of the finite ones in place of those that are not, (B,) float64.

    Raises:
        DivergedError: no reward is finite.
    """
    values = torch.tensor(list(rewards), dtype=torch.float64)
    finite = values.isfinite()
    if not bool(finite.any()):
        raise DivergedError(f"all {len(values)} models diverged; a lower learning rate of the model may help")
    return torch.where(finite, values, values[finite].min())


def ranked(rewards: Sequence[float]) -> list[float]:
    """Ranks from 0 of finite rewards, the mean rank of equal ones; the others stay as they are."""
    sound = [reward for reward in rewards if math.isfinite(reward)]

    def rank(reward: float) -> float:
        return sum((one < reward) + 0.5 * (one == reward) for one in sound) - 0.5

    return [rank(reward) if math.isfinite(reward) else math.nan for reward in rewards]


def log_probability(drawn: Tensor, mu: Tensor, sigma: float) -> Tensor:
    """log g of samples as they were drawn (B, K), before any rule of the space is applied to them: (B,)."""
    distance = ((drawn - mu) / sigma).square().sum(-1)
    return -0.5 * distance - drawn.shape[-1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def score_gradient(drawn: Tensor, rewards: Tensor, mu: Tensor, sigma: float) -> Tensor:
    """(1/B)·Σ R_i·∇_μ log g(θ_i) = (1/B)·Σ R_i·(θ_i − μ)/σ², (K,): unbiased for ∇_μ E[R(θ)].

    Args:
        drawn: (B, K) as drawn.
        rewards: (B,), normalised or not.
        mu: (K,).
        sigma: σ > 0.
    """
    return (rewards.unsqueeze(-1) * (drawn - mu)).mean(0) / sigma**2
