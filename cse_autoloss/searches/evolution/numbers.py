"""The numbers in a loss, changed as numbers: wherever one stands at once, and, where losses read it, with the progress.

A number is written with the constants 1, 2 and 3: 0.3 is `Div(3,Add(1,Mul(3,3)))`. To change one of its digits is to
jump anywhere; here it is replaced by one that is near to it.
"""

from __future__ import annotations

import random
import re
from bisect import bisect
from fractions import Fraction
from typing import Final

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph.exact import exact_number
from cse_autoloss.losses.family import Moving, number
from cse_autoloss.searches.evolution.genome import PrimitiveSet, Tree, mutate_constant

NUMBERS: Final = (
    0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.75, 5 / 6,
    1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0,
)  # fmt: skip
"""What numbers become; steps of some 20 %, short to write."""
STEPS: Final = (-4, -3, -2, -1, 1, 2, 3, 4)


def mutate_number(tree: Tree, primitives: PrimitiveSet) -> Tree:
    """Another number in the place of one: a near one, or one that moves from it or to it as the training goes on.

    Equal numbers are changed together, two times in three; a 1 is changed where it stands. Where there is none, or the
    operators searched can't write it, it is as `mutate_constant`.
    """
    found = _numbers(tree) if {"Add", "Sub", "Mul", "Div"} <= set(primitives.operators) else []
    if not found:
        return mutate_constant(tree, primitives)
    value = random.choice(sorted({value for _, _, value in found}))
    places = [(start, end) for start, end, one in found if one == value]
    if value == 1 or random.random() < 1 / 3:
        places = [random.choice(places)]
    near = _near(float(value))
    new: float | Moving = near
    if primitives.fades and random.random() < 0.5:
        old = float(value) if random.random() < 0.5 else _near(near)
        new = Moving(*random.sample((old, near), 2)) if old != near else near
    names = [node.name for node in tree]
    for start, end in reversed(places):
        names[start:end] = re.findall(r"\w+", number(new))
    try:
        graph = primitives.graph_of(names)
    except FormulaError:
        return mutate_constant(tree, primitives)
    return primitives.to_tree(graph)


def _near(value: float) -> float:
    at = min(max(bisect(NUMBERS, value) - 1, 0), len(NUMBERS) - 1)
    return NUMBERS[min(max(at + random.choice(STEPS), 0), len(NUMBERS) - 1)]


def _numbers(tree: Tree) -> list[tuple[int, int, Fraction]]:
    """Start, end and value of each largest part that is a number above 0."""
    values: list[tuple[int, Fraction | None]] = [(0, None)] * len(tree)
    stack: list[tuple[int, Fraction | None]] = []
    for place in range(len(tree) - 1, -1, -1):
        args = [stack.pop() for _ in range(tree[place].arity)]
        value = exact_number(tree[place].name, [one for _, one in args])
        values[place] = (args[-1][0] if args else place + 1, value)
        stack.append(values[place])
    found = []
    place = 0
    while place < len(tree):
        end, value = values[place]
        if value is None or value <= 0:
            place += 1
        else:
            found.append((place, end, value))
            place = end
    return found
