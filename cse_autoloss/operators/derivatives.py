"""How slopes pass through an operator, from what it declares: the one place that verification, simulation and the
fused losses take derivatives from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from cse_autoloss.operators.operator import Operator, Value
from cse_autoloss.operators.table import ALL_OPERATORS, class_sum
from cse_autoloss.operators.terms import Term


def partials(operator: Operator, value: Tensor, args: Sequence[Value]) -> tuple[Value, ...]:
    """∂f/∂(each argument), numbers where they are constant; of shape "sum", of what is summed.

    Args:
        operator: not of shape "softmax".
        value: f(args).
        args: tensors that broadcast against each other; numbers where the operator takes them.
    """
    rule = operator.derivative
    if isinstance(rule, tuple):
        a, b = args[0], args[-1]
        return tuple([partial(value, a, b) for partial in _compiled(operator.terms)])
    if rule is None:
        return _by_autograd(operator, [torch.as_tensor(a) for a in args], torch.ones_like(value))
    return rule(value, *args)


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
    if slopes[0] is not None or slopes[-1] is not None:
        for partial, moved in zip(partials(operator, value, args), slopes, strict=True):
            if moved is None:
                continue
            fresh = not (partial is value or partial is args[0] or partial is args[-1])
            term = _times(moved, partial, fresh)
            if operator.shape == "sum":
                term = class_sum(term.broadcast_to(value.shape))
            slope = term if slope is None else slope + term
    return class_sum(value) if operator.shape == "sum" else value, slope


def _times(slope: Tensor, partial: Value, fresh: bool = False) -> Tensor:
    """Their product, without a pass over the tensor where the partial is ±1; `fresh`: nobody else reads the partial."""
    if isinstance(partial, Tensor):
        same = partial.dtype == slope.dtype and partial.shape == slope.shape
        if fresh and same and not partial._is_view():
            return partial.mul_(slope)
        return slope * partial
    if partial == 1:
        return slope
    return -slope if partial == -1 else slope * partial


@lru_cache(maxsize=256)
def _compiled(terms: tuple[Term, ...]) -> tuple[Callable[[Value, Value, Value], Value], ...]:
    """Functions of (v, a, b) that compute the terms."""
    return tuple(_function(each) for each in terms)


def _function(made_of: Term) -> Callable[[Value, Value, Value], Value]:
    if isinstance(made_of, str):
        place = "vab".index(made_of)
        return lambda *letters: letters[place]
    if isinstance(made_of, float):
        return lambda v, a, b: made_of
    run = ALL_OPERATORS[made_of[0]].torch
    inner = [_function(arg) for arg in made_of[1]]
    return lambda v, a, b: run(*[each(v, a, b) for each in inner])


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
    found = torch.func.jvp(operator.torch, (moved,), (slope.movedim(1, -1).contiguous(),))
    return found[0].movedim(-1, 1), found[1].movedim(-1, 1)
