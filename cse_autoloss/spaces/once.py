"""Gradients that may be taken once: where a second derivative would be wrong, it is refused in place of given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cse_autoloss.errors import DataError


def differentiable_once(gradient: Tensor, of: Tensor, why: str) -> Tensor:
    """`gradient` itself; whoever differentiates it again gets a DataError that says why.

    Args:
        gradient: in a backward.
        of: what the second derivative would go through; it requires a gradient.
        why: for people.
    """
    refused: Tensor = _Refused.apply(gradient, of, why)
    return refused


class _Refused(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, of: Tensor, why: str) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.why = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        raise DataError(f"no second derivative: {ctx.why}")


class OnceOnly(torch.autograd.Function):
    """`apply(values, anchor, why)`: the values themselves, whose gradient can't be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, anchor: Tensor, why: str) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.why = inputs[2]
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return differentiable_once(grads[0], ctx.saved_tensors[0], ctx.why), None, None
