"""The front of score against size: of all losses that a search trained, those that no smaller one beats."""

from __future__ import annotations

from dataclasses import dataclass

from cse_autoloss.errors import RunError
from cse_autoloss.graph import parse_formula
from cse_autoloss.losses.parametric import is_parametric
from cse_autoloss.report.view import RunView


@dataclass(frozen=True)
class Choice:
    """A loss of a search.

    Attributes:
        number: on the front, from 1; 0 for the others.
        slot, formula: of the loss.
        size: nodes of the expression, shared parts counted once.
        figure: mean of its search trainings on validation.
        trainings: how many these are.
        known: whether it is a handcrafted loss that the search started from.
    """

    number: int
    slot: str
    formula: str
    size: int
    figure: float
    trainings: int
    known: bool


def choices(view: RunView) -> list[Choice]:
    """Every expression that was trained, slot by slot, smallest first; those on the front are numbered."""
    found: list[Choice] = []
    number = 0
    for slot in view.searched:
        own = sorted(
            _of(view, slot), key=lambda one: (one.size, -view.metric.figure(one.figure), one.formula)
        )
        best = float("-inf")
        for one in own:
            worth = view.metric.figure(one.figure)
            if worth > best and not one.known:
                best, number = worth, number + 1
                one = Choice(number, slot, one.formula, one.size, one.figure, one.trainings, False)
            found.append(one)
    return found


def pick(view: RunView, number: int) -> Choice:
    """The loss of that number on the front; RunError where there is none."""
    front = {one.number: one for one in choices(view) if one.number}
    if number not in front:
        known = f"expected 1 to {len(front)}" if front else "its search trained no expression"
        raise RunError(f"{view.directory}: no loss {number} on the front of score against size; {known}")
    return front[number]


def _of(view: RunView, slot: str) -> list[Choice]:
    found = []
    for name, formula in view.scored:
        figure = view.figure(slot, formula)
        row = view.candidates.get((slot, formula))
        if name != slot or figure is None or row is None or is_parametric(formula):
            continue
        size = len(parse_formula(formula, view.slots[slot]))
        known = row.origin == "seed"
        found.append(Choice(0, slot, formula, size, figure, len(view.scored[slot, formula]), known))
    return found
