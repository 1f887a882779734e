"""Stable forms: the same loss, computed without losing digits or overflowing.

The rules stand in the operator table (`rewrites`), for example Log(Softmax(a)) → LogSoftmax(a), and
Log(Add(1,Exp(a))) → Softplus(a). Arguments are rewritten before their users, so that rules work together:
Log(Sub(1,Sig(a))) becomes LogSig(Neg(a)).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from cse_autoloss.graph.loss_graph import GraphBuilder, LossGraph
from cse_autoloss.operators import ALL_OPERATORS, OPERATORS
from cse_autoloss.operators.terms import Term, build, names_in, term


class Rule(NamedTuple):
    """One rewrite.

    Attributes:
        pattern: arguments of the operator that is replaced; a letter stands for anything and comes once. Operands
            of commutative operators may stand in either order.
        result: what replaces it.
    """

    pattern: tuple[Term, ...]
    result: Term


@lru_cache(maxsize=64)
def rules_for(operators: tuple[str, ...]) -> Mapping[str, tuple[Rule, ...]]:
    """The rules that give no primitive but `operators`, by the operator that they replace."""
    found: dict[str, list[Rule]] = {}
    for operator in ALL_OPERATORS.values():
        for pattern, result in operator.rewrites:
            head, made = term(pattern), term(result)
            assert isinstance(head, tuple)
            if names_in(made) & set(OPERATORS) <= set(operators):
                found.setdefault(head[0], []).append(Rule(head[1], made))
    return {name: tuple(rules) for name, rules in found.items()}


def stabilize(graph: LossGraph) -> LossGraph:
    """The graph with each known pattern replaced by its stable form; the meaning is kept up to the ε of Log."""
    builder = GraphBuilder(graph.signature, stable=True)
    rules = rules_for(graph.signature.operators)

    def settle(symbol: str, *args: int) -> int:
        for rule in rules.get(symbol, ()):
            letters = _match(builder, symbol, rule.pattern, args)
            if letters is not None:
                made = rule.result
                if not isinstance(made, tuple):
                    return build(made, letters, settle, number)
                return builder.add(made[0], *(build(each, letters, settle, number) for each in made[1]))
        return builder.add(symbol, *args)

    def number(value: float) -> int:
        return builder.add(f"{value:g}")

    index: list[int] = []
    for symbol, args in graph.nodes:
        made = settle if symbol in rules else builder.add
        index.append(made(symbol, *[index[a] for a in args]))
    return builder.finish(index[-1])


def _match(
    builder: GraphBuilder, name: str, pattern: tuple[Term, ...], args: tuple[int, ...]
) -> dict[str, int] | None:
    """What the pattern's letters stand for, where it fits the arguments of an operator of that name."""
    for order in (args, args[::-1]) if ALL_OPERATORS[name].commutative else (args,):
        letters: dict[str, int] = {}
        for each, arg in zip(pattern, order, strict=True):
            if isinstance(each, str):
                letters[each] = arg
                continue
            node = builder.node(arg)
            if not isinstance(each, tuple):
                if node.symbol != f"{each:g}":
                    break
                continue
            inner = _match(builder, each[0], each[1], node.args) if node.symbol == each[0] else None
            if inner is None:
                break
            letters |= inner
        else:
            return letters
    return None
