"""Further steps on draws that are there already: importance weights, clipped.

Source: Schulman et al., Proximal Policy Optimization Algorithms, 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.searches.reinforce.policy import log_probability

CLIP = 0.2
"""ε: a draw whose probability has changed by more counts no further in that direction."""


def clipped_weights(
    drawn: Tensor, advantages: Tensor, old: tuple[Tensor, float], new: tuple[Tensor, float]
) -> Tensor:
    """What each draw counts in a gradient at `new`, (B,): w = g_new/g_old, or 0 where the clip holds.

    Σ w_i·A_i·∇ log g_new(θ_i) is then the gradient of Σ min(w_i·A_i, clip(w_i, 1 − ε, 1 + ε)·A_i).

    Args:
        drawn: (B, K) from N(μ_old, σ_old²I).
        advantages: A, (B,).
        old, new: μ (K,) and σ.
    """
    weights = (log_probability(drawn, *new) - log_probability(drawn, *old)).exp()
    held = torch.where(advantages > 0, weights > 1 + CLIP, weights < 1 - CLIP)
    return torch.where(held, torch.zeros_like(weights), weights)
