"""Known forms with other numbers: points of the catalogue's families, as material that candidates are bred from.

Where losses read the progress of a training, a family's parameters may change with it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

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


def drawn_point(
    families: Sequence[Family],
    signature: Signature,
    ranks: Mapping[str, int] | None = None,
    tournament: int = 1,
) -> LossGraph:
    """A random point of a family; half of its parameters move where losses read the progress.

    Args:
        families: of which one is drawn.
        signature: of the loss.
        ranks: place of losses among those that were trained, by digest; 0 is the best.
        tournament: so many families are drawn, and that whose default has the best place is taken.
    """
    moves = plain_of(signature) != signature
    places = ranks or {}
    drawn = [random.choice(families) for _ in range(max(1, tournament))]
    family = min(drawn, key=lambda one: places.get(_default_digest(one.name, signature), len(places)))
    values = {one.name: _drawn(one, moves) for one in family.parameters}
    formula = family.make(**values)
    assert isinstance(formula, str)
    return parse_formula(formula, signature)


@lru_cache(maxsize=256)
def _default_digest(name: str, signature: Signature) -> str:
    default = CATALOGUE.families[name].default.formula
    assert default is not None
    return parse_formula(default, signature).digest


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
