"""The same loss with fewer signs: what people read in LaTeX, drawings and exported code.

Evolved formulas spell subtraction as `Add(a,Neg(b))` and hide signs in pairs. Only rules that floating
point keeps to the last bit are applied (signs, times one, over one), so that the readable form is the same
loss and not merely an equal one.
"""

from __future__ import annotations

import math

from cse_autoloss.graph import GraphBuilder, LossGraph
from cse_autoloss.graph.loss_graph import Node
from cse_autoloss.operators import ALL_OPERATORS, CONSTANTS
from cse_autoloss.operators.intervals import Interval

VISIBLE_EPSILON = 1e-8
"""A denominator of at least this is the same number with and without Div's ε of 1e-20: in float32 to the last
bit, in float64 to 1e-12."""


def readable(graph: LossGraph) -> LossGraph:
    """The graph with its signs tidied; also takes a graph in stable form. Values and gradients stay."""
    builder = GraphBuilder(graph.signature, stable=True)
    index: list[int] = []
    for node in graph.nodes:
        args = [index[a] for a in node.args]
        index.append(_tidy(builder, node.symbol, args))
    return builder.finish(index[-1])


def least_value(graph: LossGraph | GraphBuilder, index: int) -> float:
    """A lower bound on a node's value over the inputs' ranges, by the operators' interval rules; −inf where none is
    known."""
    return float(_range(graph, index, {})[0])


def _range(graph: LossGraph | GraphBuilder, index: int, known: dict[int, Interval]) -> Interval:
    if index not in known:
        node = _node(graph, index)
        if node.symbol in CONSTANTS:
            known[index] = float(node.symbol), float(node.symbol)
        elif not node.args:
            variable = graph.signature.variables[node.symbol]
            known[index] = variable.low, variable.high
        else:
            operator = ALL_OPERATORS[node.symbol]
            low, high = operator.interval(*(_range(graph, a, known) for a in node.args))
            # A sum over any number of classes is bounded by the least term where that is not negative.
            summed = operator.shape == "sum"
            known[index] = (low if low >= 0 else -math.inf, math.inf) if summed else (low, high)
    return known[index]


def _node(graph: LossGraph | GraphBuilder, index: int) -> Node:
    return graph.nodes[index] if isinstance(graph, LossGraph) else graph.node(index)


def _tidy(builder: GraphBuilder, symbol: str, args: list[int]) -> int:
    if symbol == "Neg":
        return _negated(builder, args[0])
    if symbol == "Add":
        return _sum(builder, *args)
    if symbol == "Sub":
        return _difference(builder, *args)
    if symbol == "Mul":
        return _product(builder, *args)
    if symbol == "Div":
        return _quotient(builder, *args)
    return builder.add(symbol, *args)


def _positive_of(builder: GraphBuilder, index: int) -> int | None:
    """`a` where the node is −a."""
    node = builder.node(index)
    return node.args[0] if node.symbol == "Neg" else None


def _negated(builder: GraphBuilder, index: int) -> int:
    node = builder.node(index)
    if node.symbol == "Neg":
        return node.args[0]
    if node.symbol == "Sub":
        return builder.add("Sub", node.args[1], node.args[0])
    if node.symbol in ("Mul", "Div"):
        first = _positive_of(builder, node.args[0])
        if first is not None:
            return builder.add(node.symbol, first, node.args[1])
    return builder.add("Neg", index)


def _sum(builder: GraphBuilder, first: int, second: int) -> int:
    minus_first, minus_second = _positive_of(builder, first), _positive_of(builder, second)
    if minus_first is not None and minus_second is not None:
        return builder.add("Neg", builder.add("Add", minus_first, minus_second))
    if minus_second is not None:
        return _difference(builder, first, minus_second)
    if minus_first is not None:
        return _difference(builder, second, minus_first)
    return builder.add("Add", first, second)


def _difference(builder: GraphBuilder, first: int, second: int) -> int:
    minus_first, minus_second = _positive_of(builder, first), _positive_of(builder, second)
    if minus_second is not None:
        return _sum(builder, first, minus_second)
    if minus_first is not None:
        return builder.add("Neg", _sum(builder, minus_first, second))
    return builder.add("Sub", first, second)


def _product(builder: GraphBuilder, first: int, second: int) -> int:
    for factor, other in ((first, second), (second, first)):
        if builder.node(factor).symbol == "1":
            return other
    minus_first, minus_second = _positive_of(builder, first), _positive_of(builder, second)
    if minus_first is None and minus_second is None:
        return builder.add("Mul", first, second)
    product = builder.add(
        "Mul", first if minus_first is None else minus_first, second if minus_second is None else minus_second
    )
    return product if minus_first is not None and minus_second is not None else builder.add("Neg", product)


def _quotient(builder: GraphBuilder, over: int, under: int) -> int:
    if builder.node(under).symbol == "1":
        return over
    minus_over, minus_under = _positive_of(builder, over), _positive_of(builder, under)
    # ε has a sign of its own: a/(−b + ε) is −(a/(b + ε)) only where b is too large to see it.
    if minus_under is not None and least_value(builder, minus_under) < VISIBLE_EPSILON:
        minus_under = None
    negative = (minus_over is not None) != (minus_under is not None)
    top = over if minus_over is None else minus_over
    bottom = under if minus_under is None else minus_under
    quotient = top if builder.node(bottom).symbol == "1" else builder.add("Div", top, bottom)
    return _negated(builder, quotient) if negative else quotient
