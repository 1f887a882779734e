"""The weight of negatives: a number that multiplies the loss of a sigmoid head wherever its target is 0.

    L_λ = (y + λ·ȳ)·L,   ȳ = 1 − y

It is part of the expression, so that whatever is tuned by it is trained, proved and exported as one loss.
"""

from __future__ import annotations

from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.family import Family, Parameter, number, times
from cse_autoloss.spaces import form_of

NEGATIVES = Parameter(
    "negative_weight", 1, (0.1, 10), 0.001, 1000, "what the loss of a negative is multiplied by", log=True
)
"""The weight as an inner parameter. An audit tunes it where `audit.negative_weight` asks for that."""


def weighted(formula: str, weight: float) -> str:
    """A formula of a sigmoid head with its negatives multiplied by a weight; itself where that is 1."""
    return formula if weight == 1 else f"{_factor(weight)},{formula})"


def is_weighted(text: str, formula: str) -> bool:
    """Whether a text is the formula, with a weight of its negatives or without."""
    return text == formula or (text.startswith("Mul(Add(PY,") and text.endswith(f",{formula})"))


def has_own(family: Family) -> bool:
    """Whether one of a family's parameters is the weight of its negatives."""
    return any(one.negatives for one in family.parameters)


def weighable(entry: Entry) -> bool:
    """Whether an entry's negatives can be weighed: a sigmoid head's loss of single elements, as an expression."""
    return entry.formula is not None and form_of(entry.signature).weighted


def with_negatives(entry: Entry, family: Family | None) -> Family:
    """The family of an entry, of none or of its own, with the weight of negatives as one parameter more."""
    if family is None:
        formula = entry.formula
        assert formula is not None
        title = entry.title.replace("{", "{{").replace("}", "}}")
        family = Family(entry, title, (), lambda: formula)

    def make(negative_weight: float, **own: float) -> str:
        made = family.make(**own)
        assert isinstance(made, str)
        return weighted(made, negative_weight)

    title = f"{family.title}, negatives × {{{NEGATIVES.name}:g}}"
    return Family(family.default, title, (*family.parameters, NEGATIVES), make)


def _factor(weight: float) -> str:
    return f"Mul(Add(PY,{times(number(weight), 'NY')})"
