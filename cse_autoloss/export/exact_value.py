"""Values to 40 digits: what a formula means, with no rounding to hide behind.

A value is a list of numbers, one a class, or of one number for a whole sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
from sympy.core.function import AppliedUndef

from cse_autoloss.errors import AutoLossError
from cse_autoloss.graph import LossGraph
from cse_autoloss.graph.loss_graph import operator_of
from cse_autoloss.operators import EPSILON, OPERATORS
from cse_autoloss.operators.table import EXP_LIMIT

Number = Any  # mpmath.mpf, which has no types
Vector = list[Number]

_MP = mpmath.MPContext()
_MP.dps = 40

_LARGEST_EXPONENT = 10**6
"""Of e beyond it, mpmath would work with numbers of ever more digits: a tower of exponentials fills the memory."""


def _exp(value: Number) -> Number:
    if value > _LARGEST_EXPONENT:
        raise OverflowError
    return _MP.exp(value)


_LARGEST_ANGLE = _MP.mpf(10) ** 1000
"""Of a larger angle, mpmath would first compute π to as many digits as the angle has: seconds each."""


def _turned(name: str) -> Callable[..., Number]:
    function = getattr(_MP, name)

    def value(angle: Number) -> Number:
        if abs(angle) > _LARGEST_ANGLE:
            raise OverflowError
        return function(angle)

    return value


_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    **{name: getattr(_MP, name) for name in ("log", "tanh", "sinh", "cosh", "atan")},
    **{name: _turned(name) for name in ("sin", "cos", "tan")},
    "exp": _exp,
    "erf": _MP.erf,
    "erfc": _MP.erfc,
    "sign": _MP.sign,
    "Abs": abs,
    "Max": max,
    "Min": min,
}
_DUMMIES = sympy.symbols("a b", real=True)


def graph_value(graph: LossGraph, variables: Mapping[str, Vector]) -> Vector:
    """The loss as its primitives define it, ε and Exp's cut included; nan where it has no real value."""
    values: list[Vector] = []
    for node in graph.nodes:
        args = [values[a] for a in node.args]
        if operator_of(node.symbol) is not None:
            values.append(_applied(node.symbol, args))
        else:
            values.append(variables.get(node.symbol) or [_MP.mpf(int(node.symbol))])
    return values[-1]


def expression_value(expression: sympy.Expr, variables: Mapping[str, Vector]) -> Vector:
    """The value of a SymPy expression over the signature's variables, `epsilon`, `classes` and the opaque operators."""
    if isinstance(expression, sympy.Symbol):
        if expression.name == "classes":
            return [_MP.mpf(max(len(vector) for vector in variables.values()))]
        return [_MP.mpf(EPSILON)] if expression.name == "epsilon" else variables[expression.name]
    head = type(expression).__name__
    if isinstance(expression, AppliedUndef):
        return _applied(head, [expression_value(arg, variables) for arg in expression.args])
    if not expression.args:
        return [_number(expression)]
    args = [expression_value(arg, variables) for arg in expression.args]
    return _elementwise(lambda *each: _head(expression, each), args)


def _applied(name: str, args: list[Vector]) -> Vector:
    if name == "Softmax":
        highest = max(args[0])
        powers = [_MP.exp(a - highest) for a in args[0]]
        return [power / _MP.fsum(powers) for power in powers]
    if name == "Exp":
        return _elementwise(lambda a: _MP.exp(min(a, _MP.mpf(EXP_LIMIT))), args)
    if OPERATORS[name].shape == "softmax":
        raise AutoLossError(f"no exact value is known for the operator {name}")
    definition = _definition(name)
    # Scalars only from here: each element is the definition at the arguments' elements.
    values = _elementwise(
        lambda *each: expression_value(definition, {s.name: [e] for s, e in zip(_DUMMIES, each)})[0], args
    )
    return [_MP.fsum(values)] if OPERATORS[name].shape == "sum" else values


@lru_cache(maxsize=64)
def _definition(name: str) -> sympy.Expr:
    operator = OPERATORS[name]
    return operator.to_sympy(sympy, *_DUMMIES[: operator.arity])


def _elementwise(function: Callable[..., Number], args: list[Vector]) -> Vector:
    length = max(len(arg) for arg in args)
    out = []
    for i in range(length):
        try:
            value = function(*(arg[i] if len(arg) > 1 else arg[0] for arg in args))
        except (ValueError, ZeroDivisionError, OverflowError, MemoryError):
            value = _MP.nan
        out.append(value if isinstance(value, _MP.mpf) else _MP.nan)  # a complex value is no value
    return out


def _head(expression: sympy.Expr, values: tuple[Number, ...]) -> Number:
    if any(_MP.isnan(value) for value in values):
        return _MP.nan
    if isinstance(expression, sympy.Add):
        return _MP.fsum(values)
    if isinstance(expression, sympy.Mul):
        return _MP.fprod(values)
    if isinstance(expression, sympy.Pow):
        return _MP.power(*values)
    function = _FUNCTIONS.get(type(expression).__name__)
    if function is None:
        raise AutoLossError(f"no value is known for the function {type(expression).__name__}")
    return _MP.mpf(function(*values)) if len(values) > 1 else function(*values)


def _number(expression: sympy.Expr) -> Number:
    if isinstance(expression, sympy.Rational):
        return _MP.mpf(int(expression.p)) / int(expression.q)
    if expression == sympy.pi:
        return +_MP.pi
    if expression == sympy.E:
        return +_MP.e
    return _MP.nan


def as_vectors(values: Mapping[str, Any], row: int) -> dict[str, Vector]:
    """One sample of the signature's variables (tensors) as exact numbers."""
    out: dict[str, Vector] = {}
    for name, tensor in values.items():
        numbers = tensor[row].reshape(-1).tolist()
        out[name] = [_MP.mpf(number) for number in numbers]
    return out


def difference(one: Vector, other: Vector) -> float:
    """Largest |a − b| / max(1, |a|); nan against nan is 0, nan against a number is infinite."""
    worst = 0.0
    length = max(len(one), len(other))
    for i in range(length):
        a, b = one[i % len(one)], other[i % len(other)]
        if _MP.isnan(a) or _MP.isnan(b):
            worst = max(worst, 0.0 if _MP.isnan(a) and _MP.isnan(b) else float("inf"))
        elif a != b:
            apart = abs(a - b) / max(_MP.one, abs(a))
            worst = max(worst, float("inf") if _MP.isnan(apart) else float(apart))
    return worst
