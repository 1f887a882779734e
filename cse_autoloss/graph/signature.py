"""What a loss reads and must do: its inputs, its operators, and the walks along which it must fall.

A signature is a value. Everything that knows a kind of loss knows it through this: the parser, the searches, the
filters, the modules, the exports. `spaces.form` adds how such a loss is called and drawn.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from cse_autoloss.errors import ConfigError, FormulaError, UnknownNameError, shorten
from cse_autoloss.operators import ALL_OPERATORS, CONSTANTS, OPERATORS, PAPER_OPERATORS

MAX_INPUTS = 12
MAX_WALKS = 64
MAX_CLASSES = 64

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_INPUT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_LATEX = re.compile(r'[^"\n\r]{0,80}[^"\n\r\\]')
_TEXT = re.compile(r'[^"\\]{0,200}')
"""What stands in exported code must not be able to end the docstring that it stands in."""
_CODE = frozenset({"torch", "nn", "F", "Tensor", "annotations", "self", "loss", "reduction", "float", "max"})
"""What exported code names already."""

INF = math.inf


class Kind(Enum):
    """Shape of a value: one number for each class of a sample, (N, C), or one for the sample, (N, 1) or (N,)."""

    PER_CLASS = "per-class"
    PER_SAMPLE = "per-sample"


@dataclass(frozen=True)
class Input:
    """One of the tensors that a loss reads, a variable of its formulas.

    Attributes:
        name: in formulas: letters, digits and underscores.
        low, high: range of its values. It is trusted: signs are tidied and forms are compared with it.
        meaning: in a few words.
        kind: "per-sample" or "per-class": whether it has a last axis of classes.
        latex: in mathematics mode; by default the name.
        code: its name in exported code; by default the name.
        one_hot: 1 at one class of each sample and 0 at the others.
        complement: the input that it is 1 minus, if it is.
    """

    name: str
    low: float = -INF
    high: float = INF
    meaning: str = ""
    kind: Kind | str = Kind.PER_SAMPLE
    latex: str = ""
    code: str = ""
    one_hot: bool = False
    complement: str = ""

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not _INPUT.fullmatch(name):
            raise ConfigError(
                f"input {shorten(str(name))!r}: a name is letters, digits and underscores, as 'R'"
            )
        if name in ALL_OPERATORS:
            raise ConfigError(f"input {name!r}: that is an operator; choose another name")
        code = self.code or name
        if not _INPUT.fullmatch(code) or keyword.iskeyword(code) or code in _CODE:
            raise ConfigError(f"input {name!r}: {shorten(code)!r} means something else in exported code")
        low, high = _number(self.low, f"input {name!r}: low"), _number(self.high, f"input {name!r}: high")
        if not low < high:
            raise ConfigError(f"input {name!r}: low < high must hold, got low={low:g} and high={high:g}")
        latex = self.latex or (name.lower() if len(name) == 1 else rf"\mathrm{{{name}}}".replace("_", r"\_"))
        if not _LATEX.fullmatch(latex):
            raise ConfigError(
                f"input {name!r}: latex must be one line of at most 80 characters without quotes"
            )
        if (
            not isinstance(self.meaning, str)
            or not _TEXT.fullmatch(self.meaning)
            or not self.meaning.isprintable()
        ):
            raise ConfigError(
                f"input {name!r}: meaning must be one line of at most 200 characters without quotes"
            )
        object.__setattr__(self, "kind", _kind(self.kind, f"input {name!r}: kind"))
        for key, value in (("low", low), ("high", high), ("latex", latex), ("code", code)):
            object.__setattr__(self, key, value)


Value = float | tuple[float, ...]
"""Where an input stands: a number, or of a per-class input one number a class."""


@dataclass(frozen=True)
class Walk:
    """A curve through the inputs along which the loss must fall: some move straight from start to end.

    Attributes:
        moving: the input that moves, or several.
        start, end: where; of several inputs a sequence, one for each. A per-class input may have one number a class.
        at: where the other inputs stand.
        spacing: "even", or "geometric": ever shorter steps, down to a thousandth of the way, towards the end.
        points: at how many places the loss is looked at.
        may_rest: the loss may also stay level on part of the way, as a hinge does; it may never rise.
    """

    moving: Sequence[str]
    start: Any
    end: Any
    at: Mapping[str, Value] = field(default_factory=dict)
    spacing: str = "even"
    points: int = 65
    may_rest: bool = False

    def __post_init__(self) -> None:
        several = not isinstance(self.moving, str)
        moving = tuple(self.moving) if several else (self.moving,)
        ends = []
        for name in ("start", "end"):
            value: Any = getattr(self, name)
            if several and (not isinstance(value, Sequence) or len(value) != len(moving)):
                raise ConfigError(
                    f"walk of {', '.join(map(str, moving))}: {name} must have one place an input"
                )
            places = value if several else (value,)
            ends.append(tuple(_value(v, f"walk of {m}: {name}") for m, v in zip(moving, places, strict=True)))
        if not moving:
            raise ConfigError("a walk moves at least one input")
        if self.spacing not in ("even", "geometric"):
            raise UnknownNameError.of("spacing", str(self.spacing), ("even", "geometric"))
        if isinstance(self.points, bool) or not isinstance(self.points, int) or not 9 <= self.points <= 1025:
            raise ConfigError(
                f"walk of {moving[0]}: points must be 9 to 1025, got {shorten(repr(self.points))}"
            )
        if not isinstance(self.at, Mapping):
            raise ConfigError(f"walk of {moving[0]}: at must say where inputs stand, as {{'Q': 0.5}}")
        at = {name: _value(value, f"walk of {moving[0]}: at {name}") for name, value in self.at.items()}
        object.__setattr__(self, "moving", moving)
        object.__setattr__(self, "start", ends[0])
        object.__setattr__(self, "end", ends[1])
        object.__setattr__(self, "at", MappingProxyType(at))

    def __reduce__(self) -> tuple[object, ...]:
        return (
            Walk,
            (self.moving, self.start, self.end, dict(self.at), self.spacing, self.points, self.may_rest),
        )

    def __str__(self) -> str:
        ends = zip(self.moving, self.start, self.end, strict=True)
        text = ", ".join(f"{name} from {_shown(a)} to {_shown(b)}" for name, a, b in ends)
        standing = ", ".join(f"{name} = {_shown(value)}" for name, value in self.at.items())
        return f"{text} at {standing}" if standing else text


@dataclass(frozen=True, eq=False)
class Signature:
    """The frame in which losses of one kind are written.

    Attributes:
        name: in errors, files and the registry.
        inputs: what the loss reads, in the order in which it is called.
        operators: names of those that it may use, in table order; by default the paper's that the inputs admit.
        default: formula of the loss that stands for all.
        walks: where the loss must fall.
        even: the loss must be the same where all inputs that walks move have the opposite sign.
        result: kind of the finished loss. A per-sample expression is broadcast where per-class is wanted.
        form: how such a loss is called, checked and drawn, where that is not told by inputs and walks.
    """

    name: str
    inputs: Sequence[Input]
    operators: Sequence[str] = None  # type: ignore[assignment]
    default: str = ""
    walks: Sequence[Walk] = ()
    even: bool = False
    result: Kind | str = Kind.PER_SAMPLE
    form: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"signature {shorten(str(self.name))!r}: a name is letters, digits, '-' and '_'"
            )
        try:
            self._settle()
            if self.default and not self._is_known:
                from cse_autoloss.graph.parser import parse_formula

                parse_formula(self.default, self)
        except (ConfigError, UnknownNameError) as error:
            raise type(error)(f"signature {self.name!r}: {error}") from None
        except FormulaError as error:
            raise ConfigError(f"signature {self.name!r}: default: {error}") from None

    @property
    def _is_known(self) -> bool:
        return self.form is not None

    def _settle(self) -> None:
        for key, kind in (("inputs", "Input(...)"), ("walks", "Walk(...)"), ("operators", "names")):
            given = getattr(self, key)
            if isinstance(given, str) or not isinstance(given, Iterable | None):
                raise ConfigError(f"{key}: expected a list of {kind}, got {shorten(repr(given))}")
        inputs = tuple(self.inputs or ())
        if not all(isinstance(one, Input) for one in inputs) or not 1 <= len(inputs) <= MAX_INPUTS:
            raise ConfigError(f"inputs must be 1 to {MAX_INPUTS} of Input(...)")
        names = [one.name for one in inputs]
        for what, given in (("input", names), ("name in code", [one.code for one in inputs])):
            double = next((name for place, name in enumerate(given) if name in given[:place]), None)
            if double is not None:
                raise ConfigError(f"the {what} {double!r} stands there twice")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "result", _kind(self.result, "result"))
        object.__setattr__(self, "operators", self._operators(inputs))
        object.__setattr__(self, "walks", tuple(self.walks))
        if self._is_known:
            return
        if not self.walks:
            raise ConfigError("a signature needs a walk along which the loss must fall, as Walk('R', -10, 0)")
        if len(self.walks) > MAX_WALKS or not all(isinstance(walk, Walk) for walk in self.walks):
            raise ConfigError(f"walks must be at most {MAX_WALKS} of Walk(...)")
        if self.result is Kind.PER_CLASS and Kind.PER_CLASS not in {one.kind for one in inputs}:
            raise ConfigError("result is per-class, but no input is")
        for walk in self.walks:
            self._check(walk)
        if not self.default:
            raise ConfigError("a signature needs a default, the formula of the loss that stands for it")

    def _operators(self, inputs: tuple[Input, ...]) -> tuple[str, ...]:
        has_classes = any(one.kind is Kind.PER_CLASS for one in inputs)
        fitting = [name for name, one in OPERATORS.items() if has_classes or one.shape == "elementwise"]
        wanted: Sequence[str] | None = self.operators
        if wanted is None:
            return tuple(name for name in fitting if name in PAPER_OPERATORS)
        for place, name in enumerate(self.operators):
            if name not in OPERATORS:
                raise UnknownNameError.of("operator", str(name), OPERATORS)
            if name not in fitting:
                raise ConfigError(f"the operator {name} works over classes, and no input is per-class")
            if name in self.operators[:place]:
                raise ConfigError(f"the operator {name} stands there twice")
        return tuple(name for name in OPERATORS if name in self.operators)

    def _check(self, walk: Walk) -> None:
        known = {one.name: one for one in self.inputs}
        for name in (*walk.moving, *walk.at):
            if name not in known:
                raise UnknownNameError.of(f"input in the walk of {walk.moving[0]!s}:", str(name), known)
        double = [name for name in walk.moving if name in walk.at or list(walk.moving).count(name) > 1]
        if double:
            raise ConfigError(f"walk of {walk}: {double[0]!r} stands there twice")
        missing = [name for name in known if name not in walk.moving and name not in walk.at]
        if missing:
            raise ConfigError(
                f"walk of {walk}: say where {missing[0]!r} stands, as at={{{missing[0]!r}: 0.5}}"
            )
        ends = [pair for end in (walk.start, walk.end) for pair in zip(walk.moving, end, strict=True)]
        for name, value in (*ends, *walk.at.items()):
            one = known[name]
            places = value if isinstance(value, tuple) else (value,)
            if isinstance(value, tuple) and one.kind is not Kind.PER_CLASS:
                raise ConfigError(f"walk of {walk}: {name} is per-sample, so it stands at one number")
            wrong = next((v for v in places if not one.low <= v <= one.high), None)
            if wrong is not None:
                raise ConfigError(
                    f"walk of {walk}: {name} = {wrong:g} is out of its range, {one.low:g} to {one.high:g}"
                )
        if walk.start == walk.end:
            raise ConfigError(f"walk of {walk}: start and end are the same place")
        if self.even:
            lame = next((m for m in walk.moving if known[m].low != -known[m].high), None)
            if lame is not None:
                one = known[lame]
                raise ConfigError(f"even needs a range about 0, but {lame} is {one.low:g} to {one.high:g}")

    @cached_property
    def variables(self) -> Mapping[str, Input]:
        """The inputs by name, as formulas know them."""
        return MappingProxyType({one.name: one for one in self.inputs})

    @property
    def terminals(self) -> tuple[str, ...]:
        """Names of variables, then constants."""
        return (*self.variables, *CONSTANTS)

    @cached_property
    def moving(self) -> frozenset[str]:
        """The inputs that training moves: gradients go to these alone."""
        if self._is_known:
            return frozenset(self.form.moving)
        return frozenset(name for walk in self.walks for name in walk.moving)

    @cached_property
    def key(self) -> str:
        """What tells this signature from all others: its name, and of a user's also a digest of its definition."""
        if self._is_known:
            return self.name
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{self.name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def kind_of(self, terminal: str) -> Kind:
        """Kind of a variable or constant."""
        kind = self.variables[terminal].kind if terminal in self.variables else Kind.PER_SAMPLE
        assert isinstance(kind, Kind)
        return kind

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, infinite bounds as null; `from_dict` is the inverse."""
        inputs = [_stated(one) for one in self.inputs]
        walks = [_stated(walk) for walk in self.walks]
        return {
            "name": self.name, "inputs": inputs, "operators": list(self.operators), "default": self.default,
            "walks": walks, "even": self.even, "result": _plain(self.result),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Any) -> Signature:
        """A signature from plain values: read field by field, nothing of it is run; ConfigError where it is wrong."""
        known = _known(cls, data, "signature", without=("form",))
        for key, kind in (("inputs", Input), ("walks", Walk)):
            items = known.get(key)
            if not isinstance(items, list):
                raise ConfigError(f"signature: {key}: expected a list")
            known[key] = [_made(kind, item, f"signature: {key}") for item in items]
        return _made(cls, known, "signature")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[object, ...]:
        values = (getattr(self, one.name) for one in fields(self))
        return (type(self), tuple(values))


def _kind(kind: object, where: str) -> Kind:
    if isinstance(kind, Kind):
        return kind
    options = {one.value: one for one in Kind}
    if kind not in options:
        raise UnknownNameError.of(where, str(kind), options)
    return options[str(kind)]


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ConfigError(f"{where} must be a number, got {shorten(repr(value))}")
    return float(value)


def _value(value: object, where: str) -> Value:
    numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not 1 <= len(numbers) <= MAX_CLASSES:
        raise ConfigError(f"{where} must be a number, or one number a class, at most {MAX_CLASSES}")
    found = tuple(_number(number, where) for number in numbers)
    if not all(math.isfinite(number) for number in found):
        raise ConfigError(f"{where} must be finite: the loss is looked at there")
    return found if isinstance(value, Sequence) else found[0]


def _shown(value: Value) -> str:
    return f"({', '.join(f'{v:g}' for v in value)})" if isinstance(value, tuple) else f"{value:g}"


def _stated(one: Input | Walk) -> dict[str, Any]:
    """The fields of a value as JSON holds them, without those that say nothing."""
    plain = {f.name: _plain(getattr(one, f.name)) for f in fields(one)}
    return {
        name: value for name, value in plain.items() if not (value is None or value is False or value == "")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Kind):
        return value.value
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()} or None
    return None if value in (INF, -INF) else value


def _known(kind: type, data: Any, where: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected an object, got {shorten(repr(data))}")
    names = [f.name for f in fields(kind) if f.name not in without]
    for key in data:
        if key not in names:
            raise UnknownNameError.of(f"key in {where}:", str(key), names)
    return {key: value for key, value in data.items() if value is not None}


def _made(kind: type, data: Any, where: str) -> Any:
    try:
        return kind(**_known(kind, data, where))
    except TypeError as error:  # a field that is missing, or of a type that can't be read
        raise ConfigError(f"{where}: {shorten(str(error), 100)}") from None
