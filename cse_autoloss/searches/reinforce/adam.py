"""Adam as a function on values: what it remembers goes in and comes out."""

from __future__ import annotations

from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def adam(
    gradient: Tensor, first: Tensor, second: Tensor, steps: int, lr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """An upward step, and both moments after it.

    Source: Kingma and Ba, ICLR 2015.

    Args:
        gradient, first, second: of one shape.
        steps: with this one, from 1.
        lr: the rate.
    """
    first = BETAS[0] * first + (1 - BETAS[0]) * gradient
    second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
    size = (second / (1 - BETAS[1] ** steps)).sqrt() + EPSILON
    return lr * (first / (1 - BETAS[0] ** steps)) / size, first, second
