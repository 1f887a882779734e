"""Value and derivative of an expression in one straight run: what a fused backward is generated from.

A `Tape` is a hash-consed list of operations on whole tensors of one shape. The loss goes onto it node by
node, with its constants folded in; `differentiate` then appends the derivative, from the operators' own
derivatives, so that whatever the two have in common is computed once. `Program` runs the tape with each
tensor freed, or overwritten, as soon as nothing more reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cse_autoloss.graph import Node
from cse_autoloss.operators import ALL_OPERATORS, Operator
from cse_autoloss.operators.derivatives import partials
from cse_autoloss.operators.operator import Value
from cse_autoloss.operators.terms import build


class _Step(NamedTuple):
    """An operator's name, or "∂name/i" for its i-th partial derivative, taken from (value, arguments)."""

    symbol: str
    args: tuple[int, ...]
    constant: float | None = None


class Tape:
    """Operations in order; equal ones are one, and constants are folded."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self._index: dict[_Step, int] = {}

    def leaf(self, name: str) -> int:
        """An input."""
        return self._add(_Step(f"leaf {name}", ()))

    def constant(self, number: float) -> int:
        """A number."""
        return self._add(_Step("constant", (), number))

    def graph(
        self, nodes: Sequence[Node], known: Mapping[str, int], skip: Mapping[int, int] | None = None
    ) -> int:
        """Put an expression on the tape.

        Args:
            nodes: in topological order; the last is the loss.
            known: where the variables stand on the tape.
            skip: nodes that are on the tape already, by their index among `nodes`.

        Returns:
            Where the loss stands.
        """
        where: list[int] = []
        for index, node in enumerate(nodes):
            if skip is not None and index in skip:
                where.append(skip[index])
            elif node.args:
                where.append(self.apply(node.symbol, *(where[a] for a in node.args)))
            else:
                where.append(
                    known[node.symbol] if node.symbol in known else self.constant(float(node.symbol))
                )
        return where[-1]

    def apply(self, symbol: str, *args: int) -> int:
        """An operator on what stands at `args`, in its simplest form."""
        numbers = [self.steps[a].constant for a in args]
        if all(number is not None for number in numbers):
            return self.constant(_fold(symbol, [number for number in numbers if number is not None]))
        simple = self._simplify(symbol, args, numbers)
        return self._add(_Step(symbol, args)) if simple is None else simple

    def differentiate(self, root: int, leaf: int) -> int:
        """Append the derivative of what stands at `root` by the input at `leaf`; where it stands."""
        slopes: dict[int, int] = {leaf: self.constant(1.0)}
        zero = self.constant(0.0)
        for index in range(root + 1):
            step = self.steps[index]
            if index not in slopes:
                moving = [(i, slopes[a]) for i, a in enumerate(step.args) if slopes[a] != zero]
                slopes[index] = self._slope(index, step, moving) if moving else zero
        return slopes[root]

    def _slope(self, value: int, step: _Step, moving: list[tuple[int, int]]) -> int:
        total: int | None = None
        for position, slope in moving:
            term = self.apply("Mul", self._partial(value, step, position), slope)
            total = term if total is None else self.apply("Add", total, term)
        assert total is not None
        return total

    def _partial(self, value: int, step: _Step, position: int) -> int:
        """∂value/∂argument: spelled out where the operator does so, that work be shared."""
        terms = ALL_OPERATORS[step.symbol].terms
        if not terms:
            return self._add(_Step(f"∂{step.symbol}/{position}", (value, *step.args)))
        letters = {"v": value, "a": step.args[0], "b": step.args[-1]}
        return build(terms[position], letters, self.apply, self.constant)

    def _simplify(self, symbol: str, args: tuple[int, ...], numbers: list[float | None]) -> int | None:
        if symbol == "Neg":
            inner = self.steps[args[0]]
            return inner.args[0] if inner.symbol == "Neg" else None
        if symbol not in ("Add", "Sub", "Mul"):
            return None
        first, second = args
        signs = [self.steps[a].symbol == "Neg" for a in args]
        bare = [self.steps[a].args[0] if sign else a for a, sign in zip(args, signs, strict=True)]
        if symbol == "Mul":
            return self._product(args, numbers, signs, bare)
        if symbol == "Add":
            if numbers[0] is not None:
                return self.apply("Add", second, first)
            if numbers[1] == 0:
                return first
            if signs[1]:
                return self.apply("Sub", first, bare[1])
            return self.apply("Sub", second, bare[0]) if signs[0] else None
        if numbers[1] == 0:
            return first
        if numbers[0] == 0:
            return self.apply("Neg", second)
        if numbers[0] == 1 and self.steps[second].symbol == "Sig":
            return self.apply("Sig", self.apply("Neg", self.steps[second].args[0]))
        return self.apply("Add", first, bare[1]) if signs[1] else None

    def _product(
        self, args: tuple[int, ...], numbers: list[float | None], signs: list[bool], bare: list[int]
    ) -> int | None:
        first, second = args
        if numbers[0] is not None:
            return self.apply("Mul", second, first)
        if numbers[1] == 0:
            return second
        if numbers[1] == 1:
            return first
        if numbers[1] == -1:
            return self.apply("Neg", first)
        if any(signs):
            product = self.apply("Mul", *bare)
            return product if all(signs) else self.apply("Neg", product)
        return self.apply("Mul", second, first) if second < first and numbers[1] is None else None

    def _add(self, step: _Step) -> int:
        known = self._index.get(step)
        if known is None:
            known = self._index[step] = len(self.steps)
            self.steps.append(step)
        return known


def _fold(symbol: str, numbers: list[float]) -> float:
    operator = ALL_OPERATORS[symbol]
    return float(operator.torch(*(torch.tensor(number, dtype=torch.float64) for number in numbers)))


class Program:
    """Runs what `outputs` of a tape need.

    Attributes:
        leaves: names of the inputs that are read.
    """

    def __init__(self, tape: Tape, outputs: Sequence[int], *, in_place: bool = True) -> None:
        """`in_place` lets results take the place of what is read no more; autograd can't follow that."""
        used = set(outputs)
        for index in range(len(tape.steps) - 1, -1, -1):
            if index in used:
                used.update(tape.steps[index].args)
        self._outputs = tuple(outputs)
        self._size = len(tape.steps)
        self._leaves: list[tuple[int, str]] = []
        self._constants: list[tuple[int, float]] = []
        self._run: list[tuple[int, Callable[..., Value], tuple[int, ...], tuple[int, ...]]] = []
        alive = set(outputs)
        last: dict[int, tuple[int, ...]] = {}
        for index in sorted(used, reverse=True):
            dying = tuple(a for a in dict.fromkeys(tape.steps[index].args) if a not in alive)
            last[index] = dying
            alive.update(dying)
        inputs: set[int] = set()
        for index in sorted(used):
            step = tape.steps[index]
            if step.symbol.startswith("leaf "):
                self._leaves.append((index, step.symbol.removeprefix("leaf ")))
                inputs.add(index)
            elif step.constant is not None:
                self._constants.append((index, step.constant))
                inputs.add(index)
            else:
                free = [a for a in last[index] if a not in inputs] if in_place else []
                self._run.append((index, *_operation(step, tape, free), tuple(free)))
        self.leaves = tuple(name for _, name in self._leaves)

    def run(self, inputs: Mapping[str, Tensor]) -> tuple[Value, ...]:
        """The outputs, each a tensor, or a number where it depends on no input. Inputs are not changed."""
        values: list[Value | None] = [None] * self._size
        for index, name in self._leaves:
            values[index] = inputs[name]
        for index, number in self._constants:
            values[index] = number
        for index, function, args, dying in self._run:
            result = function(*[values[a] for a in args])
            for a in dying:
                values[a] = None
            values[index] = result
        return tuple(value for value in (values[o] for o in self._outputs) if value is not None)


def _operation(step: _Step, tape: Tape, free: list[int]) -> tuple[Callable[..., Value], tuple[int, ...]]:
    """The function that computes a step and the order in which it takes its arguments.

    `free` are the arguments whose memory the result may take.
    """
    symbol, args = step.symbol, step.args
    if symbol.startswith("∂"):
        name, position = symbol.removeprefix("∂").split("/")
        differentiated = ALL_OPERATORS[name]
        return lambda *values: _partial(differentiated, int(position), _as_tensors(values)), args
    operator = ALL_OPERATORS[symbol]
    if operator.in_place is not None and args[0] in free:
        return operator.in_place, args
    if operator.in_place is not None and operator.commutative and args[1] in free:
        return operator.in_place, args[::-1]
    function = operator.torch
    if operator.takes_numbers or all(tape.steps[a].constant is None for a in args):
        return function, args
    return lambda *values: function(*_as_tensors(values)), args


def _partial(operator: Operator, position: int, values: Sequence[Tensor]) -> Value:
    value, *args = values
    return partials(operator, value, args)[position]


def _as_tensors(values: Sequence[Value]) -> list[Tensor]:
    reference = next(value for value in values if isinstance(value, Tensor))
    return [
        value
        if isinstance(value, Tensor)
        else torch.full((), value, dtype=reference.dtype, device=reference.device)
        for value in values
    ]
