"""Muon: momentum of kernels made orthogonal before each step (Jordan et al., 2024); all else is moved by SGD.

An epoch of it learns more than one of SGD, so short trainings can be shorter. It takes most of a loss's scale away.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from cse_autoloss.training.eager import EagerSGD

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""a, b, c of the Newton–Schulz step, Jordan et al.'s."""

RATE: Final = 1 / 3
"""Of the rate of SGD that a schedule names."""

DECAY, MOMENTUM, STEPS = 1.0, 0.9, 4


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U·Vᵀ of a matrix U·Σ·Vᵀ, by Newton–Schulz steps x ← a·x + (b·x·xᵀ + c·(x·xᵀ)²)·x; singular values end
    between 0.7 and 1.2 where they are not tiny.

    Args:
        matrix: (M, N).
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(EagerSGD):
    """Moves groups with `orthogonal` by orthogonalised Nesterov momentum, the others by SGD."""

    def _step(self, closure: Any = None) -> None:
        """One step; a kernel (out, in, h, w) is a matrix (out, in·h·w)."""
        with torch.no_grad():
            for group in self.param_groups:
                for kernel in group["params"] if group.get("orthogonal") else ():
                    self._move(kernel, RATE * group["lr"])
        super().step()

    step: Any = _step

    def _move(self, kernel: Tensor, rate: float) -> None:
        """w ← (1 − rate·decay)·w − rate·√max(1, M/N)·U·Vᵀ of the momentum; its gradient is used up."""
        if kernel.grad is None:
            return
        state = self.state[kernel]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        momentum = state["momentum_buffer"].mul_(MOMENTUM).add_(kernel.grad)
        update = orthogonalised(kernel.grad.add(momentum, alpha=MOMENTUM).reshape(kernel.shape[0], -1))
        stretch = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        kernel.mul_(1 - rate * DECAY).add_(update.view(kernel.shape), alpha=-rate * stretch)
        kernel.grad = None


def kernels_of(model: nn.Module) -> list[nn.Parameter]:
    """What Muon moves: kernels of convolutions wider than a point; where a model has none, matrices but the last,
    which is its head."""
    own = list(model.parameters())
    wide = [one for one in own if one.ndim == 4 and one.shape[-1] > 1]
    return wide or [one for one in own if one.ndim == 2][:-1]
