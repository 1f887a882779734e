"""Runs a `LossGraph` in torch: on any device and floating dtype, with autograd or forward-mode derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cse_autoloss.graph.loss_graph import LossGraph, operator_of
from cse_autoloss.graph.rewrite import stabilize

Evaluator = Callable[[Mapping[str, Tensor]], Tensor]


def compile_graph(graph: LossGraph, *, stable: bool = True) -> Evaluator:
    """A function from the branch's variables to the loss, before any reduction.

    Args:
        graph: the loss.
        stable: apply the stable rewrites first (the default); without them the primitives run as written.

    Returns:
        `f(inputs)`: inputs maps each variable the graph reads to a tensor, per-class ones (…, C), per-sample ones
        (…, 1) beside per-class ones, else any shape; all broadcast. The result has the shape that broadcasting
        gives, (…, C) or (…, 1). Differentiable in every input.
    """
    program = stabilize(graph) if stable else graph
    steps: list[tuple[int, Callable[..., Tensor], tuple[int, ...]]] = []
    leaves: list[tuple[int, str]] = []
    constants: list[tuple[int, float]] = []
    for index, node in enumerate(program.nodes):
        operator = operator_of(node.symbol)
        if operator is not None:
            steps.append((index, operator.torch, node.args))
        elif node.symbol in program.signature.variables:
            leaves.append((index, node.symbol))
        else:
            constants.append((index, float(node.symbol)))
    size = len(program.nodes)

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        values: list[Tensor] = [_UNSET] * size
        reference = next(iter(inputs.values()))
        for index, name in leaves:
            values[index] = inputs[name]
        for index, number in constants:
            values[index] = torch.full((), number, dtype=reference.dtype, device=reference.device)
        for index, function, args in steps:
            values[index] = function(*[values[a] for a in args])
        return values[-1]

    return run


def evaluate_with_derivative(
    graph: LossGraph, inputs: Mapping[str, Tensor], tangents: Mapping[str, Tensor], *, stable: bool = True
) -> tuple[Tensor, Tensor]:
    """Loss and its derivative along a direction, by forward mode in the declared derivatives.

    Args:
        graph: the loss.
        inputs: as for `compile_graph`.
        tangents: d(variable)/dt for the variables that move; the others stand still.

    Returns:
        The loss and d(loss)/dt, broadcast to the same shape.
    """
    program = stabilize(graph) if stable else graph
    reference = next(iter(inputs.values()))
    zero = torch.zeros((), dtype=reference.dtype, device=reference.device)
    values: list[Tensor] = []
    slopes: list[Tensor | None] = []
    for node in program.nodes:
        operator = operator_of(node.symbol)
        if operator is None:
            is_variable = node.symbol in program.signature.variables
            values.append(inputs[node.symbol] if is_variable else zero + float(node.symbol))
            slopes.append(tangents.get(node.symbol) if is_variable else None)
            continue
        args = tuple(values[a] for a in node.args)
        value = operator.torch(*args)
        values.append(value)
        if all(slopes[a] is None for a in node.args):
            slopes.append(None)
            continue
        directions = tuple(_or_zeros(slopes[a], values[a]) for a in node.args)
        slopes.append(operator.jvp(value, args, directions))
    slope = _or_zeros(slopes[-1], values[-1])
    value, slope = torch.broadcast_tensors(values[-1], slope)
    return value, slope


def _or_zeros(slope: Tensor | None, value: Tensor) -> Tensor:
    return torch.zeros_like(value) if slope is None else slope


_UNSET = torch.empty(0)
