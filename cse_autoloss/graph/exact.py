"""Numbers in formulas: 0.3 is written `Div(3,Add(1,Mul(3,3)))`, and is 3/10 all the same."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cse_autoloss.operators import CONSTANTS


def exact_number(symbol: str, args: Sequence[Fraction | None]) -> Fraction | None:
    """The number that a node is: a constant, or a sum, difference, product or quotient of numbers; None for others."""
    if not args:
        return Fraction(symbol) if symbol in CONSTANTS else None
    if symbol not in ("Add", "Sub", "Mul", "Div") or args[0] is None or args[1] is None:
        return None
    a, b = args[0], args[1]
    if symbol == "Div":
        return None if b == 0 else a / b
    return {"Add": a + b, "Sub": a - b, "Mul": a * b}[symbol]
