"""A loss as LaTeX, with no more parentheses than it needs."""

from __future__ import annotations

import re
from fractions import Fraction

from cse_autoloss.export.readable import readable
from cse_autoloss.graph import LossGraph
from cse_autoloss.graph.exact import exact_number
from cse_autoloss.graph.loss_graph import operator_of
from cse_autoloss.operators import OPERATORS


def to_latex(graph: LossGraph, *, as_written: bool = False) -> str:
    r"""The loss in LaTeX's mathematics mode; matplotlib's mathtext takes it too.

    The ε inside Log and Div are left out, as papers do, and numbers are worked out: 3/10, not 3/(1 + 3 · 3).

    Args:
        graph: the loss, as written or in stable form.
        as_written: keep each Neg and each number as the formula has it, instead of tidying signs and sums.

    Returns:
        For example `-\langle y,\, \log(\operatorname{softmax}(x)) \rangle`.
    """
    shown = graph if as_written else readable(graph)
    # (text, how tightly it binds: 0 sum, 1 product, 2 atom)
    rendered: list[tuple[str, int]] = []
    numbers: list[Fraction | None] = []
    for node in shown.nodes:
        operator = operator_of(node.symbol)
        number = None if as_written else exact_number(node.symbol, [numbers[arg] for arg in node.args])
        numbers.append(number)
        if number is not None and number >= 0 and operator is not None:
            rendered.append(_number(number))
            continue
        if operator is None:
            variable = shown.signature.variables.get(node.symbol)
            rendered.append((variable.latex if variable else node.symbol, 2))
            continue
        if node.symbol == "Mul" and node.args[0] == node.args[1]:
            rendered.append((_squared(*rendered[node.args[0]]), 2))
            continue
        texts = []
        for position, (arg, needed) in enumerate(zip(node.args, operator.latex_needs, strict=True)):
            text, level = rendered[arg]
            # A sign may open a sum but not follow another sign: 1 + (−x).
            bare = level >= needed and not (position and operator.latex_level < 2 and text.startswith("-"))
            texts.append(text if bare else rf"\left({text}\right)")
        rendered.append((operator.latex.format(*texts), operator.latex_level))
    return small_parentheses(rendered[-1][0])


def _number(value: Fraction) -> tuple[str, int]:
    if value.denominator == 1:
        return str(value.numerator), 2
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}", OPERATORS["Div"].latex_level


def _squared(text: str, level: int) -> str:
    is_low = level == 2 and not re.search(r"\\frac|\\sqrt|\^", text)
    return f"{text}^{{2}}" if is_low else rf"\left({text}\right)^{{2}}"


_MOST_NESTED, _LONGEST = 15, 1000


def can_be_typeset(latex: str) -> bool:
    """Whether it is no longer and nested no deeper than matplotlib's mathtext (and an eye) can follow."""
    depth = deepest = 0
    for found in re.finditer(r"\\left|\\right(?!arrow)|[{}]", latex):
        depth += 1 if found.group() in (r"\left", "{") else -1
        deepest = max(deepest, depth)
    return deepest <= _MOST_NESTED and len(latex) <= _LONGEST


_FENCE = re.compile(r"\\left(\(|\||\\langle)|\\right(\)|\||\\rangle)")
_TALL = re.compile(r"\\frac|\\sqrt|\^|\\left")


def small_parentheses(latex: str) -> str:
    r"""Growing parentheses only around what is tall: elsewhere they add space, and mathtext shrinks them."""
    opened: list[tuple[int, int, str]] = []  # where a fence starts, where its inside starts, the fence
    out, end = "", 0
    for found in _FENCE.finditer(latex):
        out += latex[end : found.start()]
        end = found.end()
        if found.group(1):
            opened.append((len(out), len(out) + len(found.group()), found.group(1)))
            out += found.group()
            continue
        start, inside, fence = opened.pop()
        if _TALL.search(out[inside:]):
            out += found.group()
        else:
            out = f"{out[:start]}{fence}{out[inside:]}{found.group(2)}"
    return out + latex[end:]
