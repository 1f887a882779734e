"""Stable forms: the same loss, computed without losing digits or overflowing.

Log(Softmax(a))       → LogSoftmax(a)
Log(Sig(a))           → LogSig(a)
Log(1 − Sig(a))       → LogSig(−a)        also when written Add(1, Neg(Sig(a)))
Log(1 + Exp(a))       → Softplus(a)
1 − Sig(a)            → Sig(−a)
1 − Serf(a)           → Erfc(a)
Neg(Neg(a))           → a
"""

from __future__ import annotations

from collections.abc import Callable

from cse_autoloss.graph.loss_graph import GraphBuilder, LossGraph


def stabilize(graph: LossGraph) -> LossGraph:
    """The graph with each known pattern replaced by its stable form; the meaning is kept up to the ε of Log."""
    builder = GraphBuilder(graph.signature, stable=True)
    allowed = set(graph.signature.operators)
    index: list[int] = []
    for node in graph.nodes:
        args = tuple(index[a] for a in node.args)
        index.append(_stable(builder, node.symbol, args, allowed))
    return builder.finish(index[-1])


def _stable(builder: GraphBuilder, symbol: str, args: tuple[int, ...], allowed: set[str]) -> int:
    if symbol in ("Add", "Sub"):
        inner = _one_minus(builder, symbol, args)
        if inner is not None:
            head = builder.node(inner)
            if head.symbol == "Sig":
                return builder.add("Sig", _negate(builder, head.args[0]))
            if head.symbol == "Serf" and "Erfc" in allowed:
                return builder.add("Erfc", *head.args)
    elif symbol == "Neg":
        return _negate(builder, args[0])
    elif symbol == "Log":
        head = builder.node(args[0])
        if head.symbol == "Softmax":
            return builder.add("LogSoftmax", *head.args)
        if head.symbol == "Sig":
            return builder.add("LogSig", *head.args)
        if head.symbol == "Add":
            other = _other(builder, head.args, lambda symbol: symbol == "1")
            if other is not None and builder.node(other).symbol == "Exp" and "Softplus" in allowed:
                return builder.add("Softplus", *builder.node(other).args)
    return builder.add(symbol, *args)


def _negate(builder: GraphBuilder, arg: int) -> int:
    node = builder.node(arg)
    return node.args[0] if node.symbol == "Neg" else builder.add("Neg", arg)


def _one_minus(builder: GraphBuilder, symbol: str, args: tuple[int, ...]) -> int | None:
    """`a` where the node is 1 − a, written either way."""
    if symbol == "Sub":
        return args[1] if builder.node(args[0]).symbol == "1" else None
    other = _other(builder, args, lambda name: name == "1")
    if other is None or builder.node(other).symbol != "Neg":
        return None
    return builder.node(other).args[0]


def _other(builder: GraphBuilder, args: tuple[int, ...], test: Callable[[str], bool]) -> int | None:
    """The operand beside the one whose symbol passes the test."""
    first, second = args
    if test(builder.node(first).symbol):
        return second
    if test(builder.node(second).symbol):
        return first
    return None
