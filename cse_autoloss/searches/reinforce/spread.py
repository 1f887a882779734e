"""σ learnt as μ is: the score-function gradient of log σ."""

from __future__ import annotations

from torch import Tensor

LIMITS = (0.05, 5.0)
"""Of the factor that is learnt on σ: the loss that is drawn must stay one that trains, and the gradient finite."""


def spread_gradient(drawn: Tensor, rewards: Tensor, mu: Tensor, sigma: float) -> Tensor:
    """(1/B)·Σ R_i·∂ log g(θ_i; μ, σ)/∂ log σ = (1/B)·Σ R_i·(|θ_i − μ|²/σ² − K), a scalar.

    Unbiased for ∂E[R(θ)]/∂ log σ.

    Args:
        drawn: (B, K) as drawn.
        rewards: (B,), normalised or not.
        mu: (K,).
        sigma: σ > 0.
    """
    return (rewards * (((drawn - mu) / sigma).square().sum(-1) - drawn.shape[-1])).mean()
