"""A loss over classes as scalar steps: a few kinds of columns, each standing for so many classes.

No operator tells classes apart but by their values, so a loss stays the same when classes are permuted. What holds of
one target column, one moving column and the rest holds of every sample of so many classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cse_autoloss.certify.tape import Tape
from cse_autoloss.graph import Kind, LossGraph
from cse_autoloss.operators import ALL_OPERATORS


@dataclass(frozen=True)
class Column:
    """A kind of class.

    Attributes:
        inputs: the step of each per-class input.
        count: how many classes are of that kind.
        shares: by input, the steps of its softmax and of that's logarithm, where they are known by themselves.
    """

    inputs: Mapping[str, int]
    count: int = 1
    shares: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def written(
    tape: Tape, graph: LossGraph, columns: Sequence[Column], sample: Mapping[str, int] | None = None
) -> tuple[int, ...]:
    """The steps of a loss: one a column, or one where it is per sample.

    Args:
        tape: to be written on.
        graph: the loss, in the form in which it runs.
        columns: of the sample; of a loss without classes one.
        sample: the step of each per-sample input.
    """
    made: list[tuple[int, ...]] = []
    for node in graph.nodes:
        operator = ALL_OPERATORS.get(node.symbol)
        args = [made[arg] for arg in node.args]
        if operator is None:
            made.append(_leaf(tape, graph, node.symbol, columns, sample or {}))
        elif operator.shape == "softmax":
            leaf = graph.nodes[node.args[0]].symbol
            made.append(_softmax(tape, node.symbol, leaf, args[0], columns))
        else:
            name = "Mul" if node.symbol == "Dot" else node.symbol
            width = max(map(len, args))
            values = tuple(tape.apply(name, *(a[i % len(a)] for a in args)) for i in range(width))
            made.append(values if operator.shape == "elementwise" else (total(tape, values, columns),))
    return made[-1]


def total(tape: Tape, values: Sequence[int], columns: Sequence[Column]) -> int:
    """Their sum over all classes; a single value stands for every class."""
    found = tape.number(0)
    for place, column in enumerate(columns):
        value = values[place % len(values)]
        found = tape.apply("Add", found, tape.apply("Mul", tape.number(column.count), value))
    return found


def _leaf(
    tape: Tape, graph: LossGraph, symbol: str, columns: Sequence[Column], sample: Mapping[str, int]
) -> tuple[int, ...]:
    if symbol not in graph.signature.variables:
        return (tape.number(float(symbol)),)
    if graph.signature.kind_of(symbol) is Kind.PER_SAMPLE:
        return (sample[symbol],)
    return tuple(column.inputs[symbol] for column in columns)


def _softmax(
    tape: Tape, name: str, leaf: str, values: tuple[int, ...], columns: Sequence[Column]
) -> tuple[int, ...]:
    logarithm = name == "LogSoftmax"
    if all(leaf in column.shares for column in columns):
        return tuple(column.shares[leaf][logarithm] for column in columns)
    found = []
    for place in range(len(columns)):
        counts = [one.count - (other == place) for other, one in enumerate(columns)]
        beside = None
        for other, count in enumerate(counts):
            if count > 0:
                each = values[other % len(values)]
                term = tape.apply("Add", each, tape.number(math.log(count)))
                beside = term if beside is None else _log_sum(tape, beside, term)
        if beside is None:
            found.append(tape.number(0.0 if logarithm else 1.0))
            continue
        gap = tape.apply("Sub", values[place % len(values)], beside)
        found.append(tape.apply("LogSig" if logarithm else "Sig", gap))
    return tuple(found)


def _log_sum(tape: Tape, a: int, b: int) -> int:
    """log(eᵃ + eᵇ)."""
    return tape.apply("Add", a, tape.apply("Softplus", tape.apply("Sub", b, a)))
