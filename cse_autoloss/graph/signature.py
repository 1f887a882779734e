"""What a formula may use and what it must give: the typed frame in which expressions are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from cse_autoloss.operators import CONSTANTS


class Kind(Enum):
    """Shape of a value: one number for each class of a sample, (N, C), or one for the sample, (N, 1) or (N,)."""

    PER_CLASS = "per-class"
    PER_SAMPLE = "per-sample"


@dataclass(frozen=True)
class Variable:
    """An input of a branch: its name in formulas, shape, range of values, LaTeX and what it means."""

    name: str
    kind: Kind
    low: float
    high: float
    latex: str
    meaning: str


@dataclass(frozen=True)
class Signature:
    """A branch's frame: variables, allowed operators, and the kind of the loss itself.

    Attributes:
        name: "cls-binary", "cls-multiclass" or "reg".
        variables: by name.
        operators: names of the allowed primitives, in table order.
        result: kind of the finished loss. A per-sample expression is broadcast where per-class is wanted.
    """

    name: str
    variables: Mapping[str, Variable]
    operators: tuple[str, ...]
    result: Kind

    @property
    def terminals(self) -> tuple[str, ...]:
        """Names of variables, then constants."""
        return (*self.variables, *CONSTANTS)

    def kind_of(self, terminal: str) -> Kind:
        """Kind of a variable or constant."""
        return self.variables[terminal].kind if terminal in self.variables else Kind.PER_SAMPLE
