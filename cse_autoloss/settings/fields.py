"""What settings are made of: sections, and the kinds of their values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cse_autoloss.errors import ConfigError, shorten
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.settings.mistakes import in_words

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


S = TypeVar("S", bound=BaseModel)
_MOST = 10**300
"""Whole numbers beyond are none that anything reckons with, and soon none that a float can hold."""


def _number(value: Any) -> Any:
    """A text like "1e-3", which some YAML writers quote, is a number; true and false are none."""
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")
    if isinstance(value, int) and abs(value) > _MOST:
        raise ValueError("expected a smaller number")
    if isinstance(value, str):
        try:
            return float(value) if len(value) < 50 else value
        except ValueError:
            return value
    return value


def _seconds(value: Any) -> Any:
    try:
        return parse_duration(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def like(pattern: str, expected: str) -> AfterValidator:
    """For a text that must match a pattern; `expected` says in words what that is."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {shorten(value)!r}{kind_left_out(expected, value)}")
        return value

    return AfterValidator(check)


def kind_left_out(expected: str, value: str) -> str:
    """A hint for a file or folder that is named without its kind, where 'KIND:FILE' or 'KIND:DIR' are expected, of
    several the last."""
    kinds = re.findall(r"'(\w+):(?:FILE|DIR)'", expected)
    named = value.isprintable() and os.path.exists(os.path.expanduser(value))
    return f"; did you mean '{kinds[-1]}:{shorten(value)}'?" if named and kinds else ""


def whole_path(data: str, kinds: str = r"\w{2,}") -> str:
    """ "kind:DIR" or "DIR" with an absolute path, so that it holds from wherever it is read again."""
    found = re.fullmatch(rf"((?:{kinds}):)?(.+)", data, re.DOTALL)
    assert found is not None
    return (found[1] or "") + os.path.abspath(os.path.expanduser(found[2]))


def _absolute(value: str) -> str:
    """KIND:DIR with the whole path of DIR; other texts, the names of embedded data, as they are."""
    return whole_path(value) if re.match(r"\w{2,}:.", value, re.DOTALL) and "\0" not in value else value


Spaces = Literal["paper", "extended", "wide"]
"""What losses read: the paper's inputs, or also how much of the training is done, or besides that the class's
frequency, the box's chance and its size."""

Precision = Literal["float32", "bfloat16", "float16"]
Optimizer = Literal["sgd", "muon"]
Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0.0, le=1.0)]
Count = Annotated[Whole, Field(ge=1)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Seed = Annotated[Whole, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Place = Annotated[Text, AfterValidator(_absolute)]
"""Data by their kind and folder, as "folder:DIR"."""
WholePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
WRITTEN: Final = "a place to write"
Written = Annotated[Path | None, WRITTEN]
"""A folder that is written into. It is the person's who runs a command, so that one that a stored run names is left
out (`bench.stored`), and no part of what a result is: None has to give the same."""


class _Told(ModelMetaclass):
    """Values that a section is made of directly, in Python, are refused in the words of `load`."""

    def __call__(cls: type[BaseModel], *args: Any, **values: Any) -> Any:  # type: ignore[misc]
        try:
            return type.__call__(cls, *args, **values)
        except ValidationError as error:
            raise ConfigError(in_words(error, cls, cls.__name__)) from None


class Section(BaseModel, metaclass=_Told):
    """A part of the settings: immutable, and strict about its keys.

    Raises:
        ConfigError: made of values that are not valid; one line a mistake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    replaced: ClassVar[Mapping[str, str]] = {}
    """Keys that there were -> what says the same now, in words that an error ends with."""

    def __hash__(self) -> int:
        """Of the values, a table's among them."""
        return hash(self.model_dump_json())

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, values: Any) -> Any:
        """A section whose lines are all comments reads as null: it means the defaults."""
        return {} if values is None else values


def check_order(name: str, bounds: tuple[float, float]) -> None:
    """ValueError, for a section's own check, where [least, most] are the other way about."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"{name}: expected [least, most], got {list(bounds)}")


def written(section: BaseModel) -> dict[str, Path | None]:
    """Dotted keys of a section's `Written` folders, those of its sections too, and what they are."""
    found: dict[str, Path | None] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if WRITTEN in field.metadata:
            found[name] = value
        elif isinstance(value, BaseModel):
            found |= {f"{name}.{inner}": folder for inner, folder in written(value).items()}
    return found


def unwritten(section: S) -> S:
    """The same section, with None for each of its `Written` folders."""
    changes: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if WRITTEN in field.metadata:
            changes[name] = None
        elif isinstance(value, BaseModel):
            changes[name] = unwritten(value)
    return section.model_copy(update=changes)
