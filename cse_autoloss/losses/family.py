"""What a family is: a loss with inner parameters, each of whose points is an entry of the catalogue.

A point is written `focal(gamma=1)` wherever a loss is named. What is left out has its default, so that the bare name is
a point too; the audit's tuning varies what is left out, and holds what is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from cse_autoloss.errors import ConfigError, UnknownNameError, shorten
from cse_autoloss.graph import Signature
from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.reduction import ReducedLoss

_CALL = re.compile(r"([a-z][a-z0-9-]*)\s*\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """An inner parameter.

    Attributes:
        name: as it is written.
        default: of the literature.
        span: least and greatest value that tuning tries.
        low, high: that it may have, both included.
        meaning: for people.
        log: whether tuning takes equal factors for equal steps.
        whole: whether it is a whole number.
        negatives: whether it is the weight of negatives, so that the loss needs no other.
    """

    name: str
    default: float
    span: tuple[float, float]
    low: float
    high: float
    meaning: str
    log: bool = False
    whole: bool = False
    negatives: bool = False

    def check(self, text: str) -> float:
        """The number that a text states; ConfigError where it is none or out of range."""
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            kind = "whole number" if self.whole else "number"
            raise ConfigError(
                f"{self.name}: expected a {kind} from {self.low:g} to {self.high:g}, got {shorten(text.strip())!r}"
            )
        return value


@dataclass(frozen=True)
class Family:
    """A loss with inner parameters.

    Attributes:
        default: the entry that the bare name means, with its declared truth.
        title: of any point, as "focal loss (γ = {gamma:g})".
        parameters: in the order in which they are written.
        make: parameters by name -> the formula, or what makes the module from the reduction where none can state it.
    """

    default: Entry
    title: str
    parameters: tuple[Parameter, ...]
    make: Callable[..., str | Callable[[str], ReducedLoss]]

    @classmethod
    def of(
        cls, name: str, title: str, signature: Signature, source: str, parameters: tuple[Parameter, ...],
        make: Callable[..., str | Callable[[str], ReducedLoss]], **declared: Any,
    ) -> Family:  # fmt: skip
        """A family whose default is no entry of its own: it starts no search, which else would change all runs."""
        bare = {one.name: one.default for one in parameters}
        made = _made(make(**bare))
        entry = Entry(name, title.format(**bare), signature, source, **made, seed=False, **declared)
        return cls(entry, title, parameters, make)

    @property
    def name(self) -> str:
        """The bare name."""
        return self.default.name

    def given(self, inside: str) -> dict[str, float]:
        """What stands between the parentheses, in the order of the parameters.

        Raises:
            ConfigError: not NAME=NUMBER, a name twice, or a number out of range.
            UnknownNameError: no such parameter.
        """
        known = {one.name: one for one in self.parameters}
        found: dict[str, float] = {}
        if inside.strip() and not known:
            raise ConfigError(f"{self.name} has no parameters, got {shorten(inside.strip())!r}")
        for piece in inside.split(",") if inside.strip() else ():
            name, sign, text = (part.strip() for part in piece.partition("="))
            if not sign:
                raise ConfigError(f"{self.name}: expected NAME=NUMBER, got {shorten(piece.strip())!r}")
            if name not in known:
                raise UnknownNameError.of(f"parameter of {self.name}", name, known)
            if name in found:
                raise ConfigError(f"{self.name}: {name} is given twice")
            try:
                found[name] = known[name].check(text)
            except ConfigError as error:
                raise ConfigError(f"{self.name}: {error}") from None
        return {name: found[name] for name in known if name in found}

    def at(self, given: Mapping[str, float]) -> Entry:
        """The entry of a point; of the properties, it declares those that hold for all."""
        if not given:
            return self.default
        values = {one.name: given.get(one.name, one.default) for one in self.parameters}
        return replace(
            self.default, name=self.text(given, given), title=self.title.format(**values), points=(), seed=False,
            properties=self.default.properties - {"convex"}, **_made(self.make(**values)),
        )  # fmt: skip

    def text(self, values: Mapping[str, float], held: Container[str] = ()) -> str:
        """A point as it is written: values that are not the default's, and those that are held."""
        stated = [
            f"{one.name}={values[one.name]:.12g}"
            for one in self.parameters
            if one.name in values and (one.name in held or values[one.name] != one.default)
        ]
        return f"{self.name}({', '.join(stated)})" if stated else self.name


def called(text: str) -> tuple[str, str] | None:
    """The name and what stands between its parentheses, for a text like `name(…)`; None for any other.

    Operators begin with a capital letter, so no formula looks like this.
    """
    found = _CALL.fullmatch(text.strip())
    return None if found is None else (found[1], found[2])


def chosen(name: str, texts: Iterable[str], inner: Mapping[str, float] | None = None) -> list[str]:
    """What tuning chose inside losses and a contestant's name does not tell: points of families, and of formulas what
    `inner` holds."""
    points = [text for text in texts if called(text) and text not in name]
    return [*points, *(f"{which.replace('_', ' ')} {value:.3g}" for which, value in (inner or {}).items())]


@dataclass(frozen=True)
class Moving:
    """What a parameter is where it goes from one number to another as the training does; reads the progress T."""

    start: float
    end: float

    def __rsub__(self, other: float) -> Moving:
        return Moving(other - self.start, other - self.end)

    def __rmul__(self, other: float) -> Moving:
        return Moving(other * self.start, other * self.end)


def number(value: float | Moving) -> str:
    """A number as an expression in the constants 1, 2 and 3, and in T where it moves."""
    if isinstance(value, Moving):
        way = times(number(abs(value.end - value.start)), "T")
        if value.start == 0 and value.end > 0:
            return way
        return f"{'Add' if value.end > value.start else 'Sub'}({number(value.start)},{way})"
    exact = Fraction(f"{value:.12g}")
    short = exact.limit_denominator(100)  # a third is 1/3, not 0.333333333333
    exact = short if abs(short - exact) < 1e-11 else exact
    if exact < 0:
        return f"Neg({number(-value)})"
    if exact.denominator != 1:
        return f"Div({number(exact.numerator)},{number(exact.denominator)})"
    if exact <= 3:
        return str(exact.numerator) if exact else "Sub(1,1)"
    if exact == 4:
        return "Add(2,2)"
    third, rest = divmod(exact.numerator, 3)
    return f"Add({number(rest)},Mul(3,{number(third)}))" if rest else f"Mul(3,{number(third)})"


def power(base: str, exponent: float | Moving) -> str:
    """base ** exponent, for a base of at least 0: products for small whole exponents, else through the logarithm."""
    if exponent == 0:
        return "1"
    if isinstance(exponent, Moving) or exponent not in (1, 2, 3, 4):
        return f"Exp(Mul({number(exponent)},Log({base})))"
    if exponent % 2 == 0:
        half = power(base, exponent / 2)
        return f"Mul({half},{half})"
    return base if exponent == 1 else f"Mul({base},Mul({base},{base}))"


def times(factor: str, value: str) -> str:
    """Their product, without a factor of 1."""
    return value if factor == "1" else f"Mul({factor},{value})"


def _made(made: str | Callable[[str], ReducedLoss]) -> dict[str, Any]:
    return {"formula": made, "factory": None} if isinstance(made, str) else {"formula": None, "factory": made}
