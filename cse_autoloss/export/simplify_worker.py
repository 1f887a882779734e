"""The process that simplifies: started by `sympy_form`, killed by it when time is up.

SymPy may think for hours about a formula of thirty nodes and can't be stopped from inside. So it thinks
here, and writes each better form as soon as it has it. This file imports SymPy alone: it starts in half
a second.

What passes between the processes is a tree of lists, such as `["Add", ["Symbol", "X"], ["Integer",
"1"]]`, read by a table of known heads: no text is ever parsed as an expression.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

Tree = list[Any]

ASSUMPTIONS: dict[str, dict[str, bool]] = {
    "X": {"real": True},
    "Y": {"nonnegative": True},
    "Z": {"nonnegative": True},
    "Q": {"nonnegative": True},
    "PY": {"nonnegative": True},
    "NY": {"nonnegative": True},
    "T": {"nonnegative": True},
    "I": {"nonnegative": True},
    "U": {"positive": True},
    "E": {"positive": True},
    "epsilon": {"positive": True},
    "classes": {"integer": True, "positive": True},
}
"""What SymPy may assume of each symbol; of any other, that it is real."""

_HEADS: dict[str, Callable[..., sympy.Expr]] = {
    "Add": sympy.Add,
    "Mul": sympy.Mul,
    "Pow": sympy.Pow,
    "Abs": sympy.Abs,
    "Max": sympy.Max,
    "Min": sympy.Min,
    **{
        name: getattr(sympy, name)
        for name in ("exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "atan", "erf", "erfc", "sign")
    },
}
_CONSTANTS: dict[str, sympy.Expr] = {"pi": sympy.pi, "E": sympy.E}

_FUNCTION = "Function"
"""Head of an operator that stays a function of its own; its name comes next."""


class UnknownFormError(Exception):
    """An expression of a kind that the tree has no head for."""


def symbol(name: str) -> sympy.Symbol:
    """The symbol of that name, with its assumptions."""
    if not name.isidentifier():
        raise KeyError(name)
    return sympy.Symbol(name, **ASSUMPTIONS.get(name, {"real": True}))


def opaque(name: str, *args: sympy.Expr) -> sympy.Expr:
    """An operator as a function that SymPy knows nothing of but that its values are real."""
    return sympy.Function(name, real=True)(*args)


def encode(expression: sympy.Expr) -> Tree:
    """The expression as a tree; UnknownFormError where it can't be one."""
    if isinstance(expression, sympy.Symbol):
        return ["Symbol", expression.name]
    if isinstance(expression, sympy.Integer):
        return ["Integer", str(expression)]
    if isinstance(expression, sympy.Rational):
        return ["Rational", str(expression.p), str(expression.q)]
    for name, constant in _CONSTANTS.items():
        if expression == constant:
            return ["Constant", name]
    head = type(expression).__name__
    if isinstance(expression, AppliedUndef):
        return [_FUNCTION, head, *(encode(arg) for arg in expression.args)]
    if head in _HEADS:
        return [head, *(encode(arg) for arg in expression.args)]
    raise UnknownFormError(head)


def decode(tree: Tree) -> sympy.Expr:
    """The inverse of `encode`."""
    head, *rest = tree
    if head == "Symbol":
        return symbol(rest[0])
    if head == "Integer":
        return sympy.Integer(int(rest[0]))
    if head == "Rational":
        return sympy.Rational(int(rest[0]), int(rest[1]))
    if head == "Constant":
        return _CONSTANTS[rest[0]]
    if head == _FUNCTION:
        return opaque(rest[0], *(decode(arg) for arg in rest[1:]))
    return _HEADS[head](*(decode(arg) for arg in rest))


def operations(expression: sympy.Expr) -> int:
    """How much there is to read."""
    return int(sympy.count_ops(expression))


def better_forms(expression: sympy.Expr) -> Iterator[sympy.Expr]:
    """Ever shorter forms, the cheap ways first."""
    least = operations(expression)
    ways: list[Callable[[sympy.Expr], sympy.Expr]] = [
        sympy.factor_terms,
        lambda e: sympy.cancel(sympy.together(e)),
        sympy.factor,
        lambda e: sympy.factor_terms(sympy.expand(e)),
        lambda e: sympy.simplify(e, ratio=1.0),
    ]
    best = expression
    for way in ways:
        for start in dict.fromkeys((expression, best)):
            form = way(start)
            if operations(form) < least:
                best, least = form, operations(form)
                yield form


def main() -> None:
    """Read one tree from standard input; write `ready`, then a line of JSON a better form, then `done`."""
    _limit_memory(2 * 2**30)
    print("ready", flush=True)
    expression = decode(json.loads(sys.stdin.readline()))
    for form in better_forms(expression):
        try:
            print(json.dumps(encode(form)), flush=True)
        except UnknownFormError:
            continue
    print("done", flush=True)


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system: the time limit alone must do
        return
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main()
