"""Prefix notation to `LossGraph`: our own parser, so that no formula can ever run code.

Grammar::

    expression = NAME "(" expression { "," expression } ")" | NAME | NUMBER

It keeps its own stack, so nesting costs memory in proportion to the text and can't exhaust Python's.
"""

from __future__ import annotations

import re

from cse_autoloss.errors import FormulaError, nearest, shorten
from cse_autoloss.graph.loss_graph import MAX_DEPTH, MAX_LENGTH, GraphBuilder, LossGraph
from cse_autoloss.graph.signature import Signature
from cse_autoloss.operators import CONSTANTS, OPERATORS

_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z_][A-Za-z_0-9]*|[0-9][0-9.eE]*)|(?P<mark>[(),]))")


def parse_formula(text: str, signature: Signature) -> LossGraph:
    """Parse prefix notation in the frame of a signature.

    Args:
        text: for example `Neg(Dot(Y,Log(Softmax(X))))`; white space is free.
        signature: the frame.

    Raises:
        FormulaError: with the position, what was expected there and the nearest valid name.
    """
    if not isinstance(text, str):
        raise FormulaError(f"expected a formula, got {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"the formula has {len(text)} characters; at most {MAX_LENGTH} are taken")
    builder = GraphBuilder(signature)
    # Each open operator: (name, where it stands, its arguments so far).
    stack: list[tuple[str, int, list[int]]] = []
    position = 0
    while True:
        word, start, position = _next_word(text, position, signature)
        if word in signature.operators:
            mark, mark_at, position = _next_mark(text, position)
            if mark != "(":
                raise _error(text, mark_at, f"expected '(' after {word}")
            stack.append((word, start, []))
            if len(stack) > MAX_DEPTH:
                raise _error(text, start, f"nested more than {MAX_DEPTH} deep")
            continue
        value = builder.add(word)
        while True:
            if not stack:
                rest = re.compile(r"\s*").match(text, position)
                end = rest.end() if rest else position
                if end < len(text):
                    raise _error(text, end, "expected the end of the formula")
                return builder.finish(value)
            name, opened_at, args = stack[-1]
            args.append(value)
            mark, mark_at, position = _next_mark(text, position)
            arity = OPERATORS[name].arity
            if mark == ",":
                if len(args) == arity:
                    raise _error(text, mark_at, f"expected ')': {name} takes {arity} argument(s)")
                break
            if mark != ")":
                raise _error(text, mark_at, f"expected ',' or ')' in the arguments of {name}")
            if len(args) < arity:
                raise _error(text, mark_at, f"expected ',': {name} takes {arity} arguments, got {len(args)}")
            stack.pop()
            try:
                value = builder.add(name, *args)
            except FormulaError as error:
                raise _error(text, opened_at, str(error)) from None


def _next_word(text: str, position: int, signature: Signature) -> tuple[str, int, int]:
    found = _TOKEN.match(text, position)
    word = found.group("word") if found else None
    if found is None or word is None:
        at = len(text) - len(text[position:].lstrip())
        raise _error(text, at, "expected an operator, a variable or a constant")
    start = found.start("word")
    if word not in signature.operators and word not in signature.terminals:
        raise _error(text, start, _unknown(word, signature))
    return word, start, found.end()


def _next_mark(text: str, position: int) -> tuple[str, int, int]:
    found = _TOKEN.match(text, position)
    if found is None or not found.group("mark"):
        at = len(text) - len(text[position:].lstrip())
        return "", at, at
    return found.group("mark"), found.start("mark"), found.end()


def _unknown(word: str, signature: Signature) -> str:
    name = shorten(word)
    if word in OPERATORS:
        return f"{name} is not an operator of {signature.name}"
    if word[0].isdigit():
        return f"the constants are {', '.join(CONSTANTS)}, not {name}"
    close = nearest(word, (*signature.operators, *signature.variables))
    if close:
        return f"unknown name {name!r}; did you mean {close!r}?"
    return f"unknown name {name!r}; the variables of {signature.name} are {', '.join(signature.variables)}"


def _error(text: str, position: int, message: str) -> FormulaError:
    if position >= len(text):
        return FormulaError(f"formula ends at character {position}: {message}", position)
    around = shorten(text[position : position + 20], 20)
    return FormulaError(f"formula, character {position} ({around!r}): {message}", position)
