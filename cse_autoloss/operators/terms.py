"""Small formulas inside the operator table, such as `Mul(v,Sig(Neg(a)))`: derivatives and rewrites are written in them.

A term is a letter, a number, or an operator's name with its arguments. One reader and one `build` serve all who run
them: on tensors, on a tape, on a graph and on arrays of nodes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

Term = str | float | tuple[str, tuple["Term", ...]]
"""A letter, a number, or (operator, arguments)."""

T = TypeVar("T")


@lru_cache(maxsize=256)
def term(text: str) -> Term:
    """The term that a text of the table means; only letters, numbers and calls by position are read."""
    return _read(ast.parse(text, mode="eval").body)


def _read(tree: ast.expr) -> Term:
    if isinstance(tree, ast.Name):
        return tree.id
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return tree.func.id, tuple(_read(arg) for arg in tree.args)
    return float(ast.literal_eval(tree))


def build(made_of: Term, letters: Mapping[str, T], apply: Callable[..., T], number: Callable[[float], T]) -> T:
    """What a term stands for, from what its letters stand for.

    Args:
        made_of: the term.
        letters: what each letter is.
        apply: from an operator's name and its arguments, the result.
        number: what a number is.
    """
    if isinstance(made_of, str):
        return letters[made_of]
    if isinstance(made_of, float):
        return number(made_of)
    name, args = made_of
    return apply(name, *(build(arg, letters, apply, number) for arg in args))


def names_in(made_of: Term) -> frozenset[str]:
    """The operators that a term names."""
    if not isinstance(made_of, tuple):
        return frozenset()
    return frozenset((made_of[0],)).union(*(names_in(arg) for arg in made_of[1]))
