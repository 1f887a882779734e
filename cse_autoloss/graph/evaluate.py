"""Runs a `LossGraph` in torch: on any device and floating dtype, differentiable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cse_autoloss.graph.loss_graph import LossGraph
from cse_autoloss.graph.rewrite import stabilize
from cse_autoloss.operators import ALL_OPERATORS

Evaluator = Callable[[Mapping[str, Tensor]], Tensor]


def compile_graph(graph: LossGraph, *, stable: bool = True) -> Evaluator:
    """A function from the signature's variables to the loss, before any reduction.

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
        if node.symbol in ALL_OPERATORS:
            steps.append((index, ALL_OPERATORS[node.symbol].function, node.args))
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


_UNSET = torch.empty(0)
