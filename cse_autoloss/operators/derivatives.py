"""How slopes pass through an operator, from what it declares: the one place that verification, simulation and the
fused losses take derivatives from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cse_autoloss.operators.operator import Operator, Value
from cse_autoloss.operators.table import ALL_OPERATORS, class_sum
from cse_autoloss.operators.terms import build


def partials(operator: Operator, value: Tensor, args: Sequence[Value]) -> tuple[Value, ...]:
    """∂f/∂(each argument), numbers where they are constant; of shape "sum", of what is summed.

    Args:
        operator: not of shape "softmax".
        value: f(args).
        args: tensors that broadcast against each other; numbers where the operator takes them.
    """
    rule = operator.derivative
    if rule is None:
        return _by_autograd(operator, [torch.as_tensor(a) for a in args], torch.ones_like(value))
    if callable(rule):
        return rule(value, *args)
    letters: dict[str, Value] = {"v": value, "a": args[0], "b": args[-1]}
    return tuple(build(each, letters, _run, float) for each in operator.terms)


def pull(operator: Operator, value: Tensor, args: Sequence[Tensor], own: Tensor) -> tuple[Tensor, ...]:
    """The gradients that an operator hands to its arguments, from its own; the class axis is the last."""
    if operator.shape == "softmax":
        if operator.pull is None:
            return _by_autograd(operator, args, own)
        return operator.pull(value, args, own)
    if operator.shape == "sum":
        own = own.sum(-1, keepdim=True)
        if not isinstance(operator.derivative, tuple):
            value = operator.torch(*args)
    return tuple(_times(own, partial) for partial in partials(operator, value, args))


def dual(
    operator: Operator, args: Sequence[Value], slopes: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """Value and slope from the arguments' (None: stands still); the class axis is the second, (m, C, …)."""
    if operator.dual is not None:
        return operator.dual(args, slopes)
    if operator.shape == "softmax":
        return _softmax_like(operator, torch.as_tensor(args[0]), slopes[0])
    value = operator.torch(*args)
    slope: Tensor | None = None
    if any(moved is not None for moved in slopes):
        for partial, moved in zip(partials(operator, value, args), slopes, strict=True):
            if moved is None:
                continue
            term = _times(moved, partial)
            if operator.shape == "sum":
                term = class_sum(term.broadcast_to(value.shape))
            slope = term if slope is None else slope + term
    return class_sum(value) if operator.shape == "sum" else value, slope


def _times(slope: Tensor, partial: Value) -> Tensor:
    """Their product, without a pass over the tensor where the partial is ±1."""
    if isinstance(partial, float) and abs(partial) == 1:
        return slope if partial == 1 else -slope
    return slope * partial


def _run(name: str, *args: Value) -> Value:
    return ALL_OPERATORS[name].torch(*args)


def _by_autograd(operator: Operator, args: Sequence[Tensor], own: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        free = [a.detach().clone().requires_grad_() for a in torch.broadcast_tensors(*args)]
        value = operator.torch(*free)
        return torch.autograd.grad(value, free, own.expand_as(value), materialize_grads=True)


def _softmax_like(operator: Operator, a: Tensor, slope: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """An operator that declares no `dual`, by torch's forward mode with the class axis last."""
    moved = a.movedim(1, -1).contiguous()
    if slope is None:
        return operator.torch(moved).movedim(-1, 1), None
    value, tangent = torch.func.jvp(operator.torch, (moved,), (slope.movedim(1, -1).contiguous(),))
    return value.movedim(-1, 1), tangent.movedim(-1, 1)
