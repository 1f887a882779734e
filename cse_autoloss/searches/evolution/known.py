"""Known forms with other numbers: points of the catalogue's families, as material that candidates are bred from.

Where losses read the progress of a training, a family's parameters may change with it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.losses.family import Family, Moving, Parameter
from cse_autoloss.searches.evolution.numbers import NUMBERS
from cse_autoloss.spaces.progress import plain_of


def families_of(signature: Signature) -> tuple[Family, ...]:
    """The families whose points are formulas of a signature, or of it without the progress."""
    plain = plain_of(signature)
    return tuple(
        family
        for family in CATALOGUE.families.values()
        if family.default.signature == plain and family.default.formula is not None and family.parameters
    )


def drawn_point(families: Sequence[Family], signature: Signature) -> LossGraph:
    """A random point of a random family; half of its parameters move where losses read the progress."""
    moves = plain_of(signature) != signature
    family = random.choice(families)
    values = {one.name: _drawn(one, moves) for one in family.parameters}
    formula = family.make(**values)
    assert isinstance(formula, str)
    return parse_formula(formula, signature)


def _drawn(parameter: Parameter, moves: bool) -> float | Moving:
    low, high = parameter.span
    inside = [value for value in (0.0, *NUMBERS) if low <= value <= high]
    if parameter.whole:
        inside = [value for value in inside if value == int(value)]
    if not inside:
        return parameter.default
    start = random.choice(inside)
    if not moves or parameter.whole or random.random() < 0.5:
        return start
    end = random.choice(inside)
    return start if end == start else Moving(start, end)
