"""A loss as scalar steps, with its slopes as further steps: what intervals are passed through.

Steps are hash-consed, and slopes are written out by the operators' own terms, so that a second slope is the slope of a
slope. Sums and products with 0 and 1 are never written, but for 0·a where `a` may have no value: 0·Log(−1) is no 0.
A tape that compares two losses leaves that out too, and tells by `dropped` what must have a value then.
"""

from __future__ import annotations

from collections.abc import Mapping

from cse_autoloss.certify.holes import has_holes
from cse_autoloss.operators import ALL_OPERATORS, EPSILON
from cse_autoloss.operators.terms import build

Symbol = str | float
"""An operator, a variable, or a number."""

UNKNOWN = "?"
"""What nothing is known of: the slope of an operator that declares none as terms."""


class Tape:
    """Steps in the order in which they are computed; a step is known by its index.

    Attributes:
        steps: (symbol, indices of the arguments) of each.
    """

    def __init__(self, *, holes: bool = True) -> None:
        """`holes`: whether 0·a is kept where `a` may have no value; else such steps `a` are in `dropped`."""
        self._kept = holes
        self.dropped: list[int] = []
        self.steps: list[tuple[Symbol, tuple[int, ...]]] = []
        self._holes: list[bool] = []
        self._index: dict[tuple[Symbol, tuple[int, ...]], int] = {}
        self._slopes: dict[tuple[int, tuple[tuple[str, int], ...]], int] = {}

    def number(self, value: float) -> int:
        """The step that is a number."""
        return self._add(float(value), ())

    def variable(self, name: str) -> int:
        """The step that is a variable; names are free, but for operators'."""
        return self._add(name, ())

    def apply(self, name: str, *args: int) -> int:
        """The step that applies an operator; of a sum or product with 0 or 1 what it comes to."""
        found = self._simple(name, args)
        if found is not None:
            return found
        if name in ALL_OPERATORS and ALL_OPERATORS[name].commutative:
            args = tuple(sorted(args))
        return self._add(name, args)

    def value_of(self, index: int) -> float | None:
        """The number that a step is, if it is one."""
        symbol = self.steps[index][0]
        return symbol if isinstance(symbol, float) else None

    def reads(self, index: int) -> frozenset[str]:
        """The variables that a step is made of."""
        leaves = (self.steps[place] for place in self._below(index))
        return frozenset(symbol for symbol, args in leaves if isinstance(symbol, str) and not args)

    def slope(self, index: int, moved: Mapping[str, int]) -> int:
        """The step that is the slope of another where variables move, `moved`: at what rate; the others stand."""
        key = tuple(sorted(moved.items()))
        for place in self._below(index):
            if (place, key) not in self._slopes:
                self._slopes[place, key] = self._slope(place, moved, key)
        return self._slopes[index, key]

    def _slope(self, index: int, moved: Mapping[str, int], key: tuple[tuple[str, int], ...]) -> int:
        symbol, args = self.steps[index]
        if not args:
            return moved.get(str(symbol), self.number(0))
        slopes = [self._slopes[arg, key] for arg in args]
        assert isinstance(symbol, str)
        # The slope of Log has a value where Log itself has none: there 0·v has none either.
        total = self.apply("Mul", self.number(0), index) if has_holes(symbol) else self.number(0)
        if all(self.value_of(one) == 0 for one in slopes):
            return total
        if symbol == "Step":
            return self.apply("Mul", self.apply("Pulse", *args), slopes[0])
        if symbol == "Div" and args[0] == args[1]:
            over = self.apply("Div", self.number(EPSILON), args[0])
            return self.apply("Mul", self.apply("Div", over, args[0]), slopes[0])
        terms = ALL_OPERATORS[symbol].followed_terms if symbol in ALL_OPERATORS else ()
        if not terms:
            without_value = self.apply("Mul", self.number(0), index)
            return self.apply("Add", self.variable(UNKNOWN), without_value)
        letters = {"v": index, "a": args[0], "b": args[-1]}
        for made_of, slope in zip(terms, slopes, strict=True):
            if self.value_of(slope) != 0:
                partial = build(made_of, letters, self.apply, self.number)
                total = self.apply("Add", total, self.apply("Mul", partial, slope))
        return total

    def _below(self, index: int) -> list[int]:
        """The steps that one is made of, itself last, arguments before their users."""
        needed = {index}
        for place in range(index, -1, -1):
            if place in needed:
                needed.update(self.steps[place][1])
        return sorted(needed)

    def _add(self, symbol: Symbol, args: tuple[int, ...]) -> int:
        key = (symbol, args)
        if key not in self._index:
            self._index[key] = len(self.steps)
            self._holes.append(has_holes(str(symbol)) or any(self._holes[arg] for arg in args))
            self.steps.append(key)
        return self._index[key]

    def _simple(self, name: str, args: tuple[int, ...]) -> int | None:
        numbers = [self.value_of(arg) for arg in args]
        if name == "Neg":
            if numbers[0] is not None:
                return self.number(-numbers[0])
            return self.steps[args[0]][1][0] if self.steps[args[0]][0] == "Neg" else None
        if name == "Exp" and numbers[0] == 0:
            return self.number(1)
        if name == "Div" and numbers[1] == 1:
            return args[0]
        if name not in ("Add", "Sub", "Mul"):
            return None
        a, b = numbers
        if name == "Mul":
            if a == 0 or b == 0:
                lost = [arg for arg in args if self._holes[arg]]
                if lost and self._kept:
                    return None
                self.dropped += lost
                return self.number(0)
            for one, other in ((a, args[1]), (b, args[0])):
                if one in (1, -1):
                    return other if one == 1 else self.apply("Neg", other)
            return None
        if name == "Sub" and args[0] == args[1]:
            return self.apply("Mul", self.number(0), args[0])
        if name == "Sub" and self.steps[args[0]][0] == "Add" and args[1] in self.steps[args[0]][1]:
            one, other = self.steps[args[0]][1]
            kept = other if one == args[1] else one
            return self.apply("Add", kept, self.apply("Mul", self.number(0), args[1]))
        if b == 0:
            return args[0]
        if a == 0:
            return args[1] if name == "Add" else self.apply("Neg", args[1])
        return None
