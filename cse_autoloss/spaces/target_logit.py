"""Softmax in which only the target's logit has been transformed, at about the cost of a plain one.

Source: AM-LFS (Li et al., ICCV 2019) and Search-Softmax (Wang et al., ICML 2020) both change the target's
column alone. Writing that column into a copy of the logits costs two more passes over (N, C) than needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cse_autoloss.spaces.once import differentiable_once

_FAR = 80.0
"""Powers of e up to which float32 is used as it is; beyond, a probability is 0 or 1 in any case."""


def log_softmax_of_target(logits: Tensor, target: Tensor, own: Tensor, slope: Tensor) -> Tensor:
    """log(e^{z_y} / (e^{z_y} + Σ_{j≠y} e^{x_j})): the target's logit x_y is replaced by z_y.

    Exact also where the plain target probability rounds to 1, because the other classes are summed by
    themselves. Works under `torch.func.vmap` and `grad`; can be differentiated once.

    Args:
        logits: (N, C) x, floating point.
        target: (N,) int64 in [0, C).
        own: (N,) z_y. A gradient flows into it, and so into the parameters that it was made with: compute it
            from detached logits, or the logits' own gradient counts twice.
        slope: (N,) dz_y/dx_y, by which the gradient reaches the logits. No gradient flows into it.

    Returns:
        (N,) log-probabilities, at most 0.
    """
    logs: Tensor = _TargetLogSoftmax.apply(logits, target, own, slope)[0]
    return logs


def target_logits(logits: Tensor, target: Tensor) -> Tensor:
    """The target's logits (N,), detached: what a space transforms."""
    return logits.detach().gather(-1, target.unsqueeze(-1)).squeeze(-1)


class _TargetLogSoftmax(torch.autograd.Function):
    """With p the plain softmax, others = Σ_{j≠y} p_j and Z'/Z = others + e^{z_y}/Z, the gradient of log
    p'_y is −p_j·Z/Z' at j ≠ y and slope·others·Z/Z' at y: one matrix, kept in place of p, times one factor
    a row."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, own: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        column = target.unsqueeze(-1)
        shares = torch.softmax(logits, -1)
        # The largest share is at least 1/C, so this is log Z without a second pass of exponentials.
        log_total = logits.amax(-1) - shares.amax(-1).log()
        others = shares.scatter_(-1, column, 0.0).sum(-1)
        log_own = own - log_total
        change = torch.logaddexp(others.log(), log_own)
        shares.scatter_(-1, column, (-others * slope).unsqueeze(-1))
        return log_own - change, shares, torch.exp(-change.clamp(-_FAR, _FAR))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        logs, shares, factor = output
        ctx.mark_non_differentiable(shares, factor)
        ctx.save_for_backward(logs, shares, factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        logs, shares, factor = ctx.saved_tensors
        grad = differentiable_once(grads[0], logs, "a parametric loss is differentiated once")
        return shares * (-grad * factor).unsqueeze(-1), None, -grad * torch.expm1(logs), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, tuple[int, int, int]]:
        """Samples of all models become rows of one matrix: no operator needs a batching rule of its own."""
        batch = info.batch_size
        whole = [
            tensor.unsqueeze(0).expand(batch, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(inputs, in_dims, strict=True)
        ]
        rows = whole[1].shape
        logits, target, own, slope = (t.reshape(-1, *t.shape[len(rows) :]) for t in whole)
        outputs = _TargetLogSoftmax.apply(logits, target, own, slope)
        return tuple(t.reshape(*rows, *t.shape[1:]) for t in outputs), (0, 0, 0)
