"""What is wrong with settings, in words: one wording for all of them, one line a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeIs

from cse_autoloss.errors import nearest, shorten

OPTIONS: Final = "options"
"""What stands for the options of a command where a file's name would stand."""

_MOST_LINES: Final = 20
"""Mistakes that are told, of a file with many."""

Location = tuple[int | str, ...]


def in_words(
    error: ValidationError, model: type[BaseModel], name: str, options: Mapping[str, Any] | None = None
) -> str:
    """Lines such as ``detection.yaml: evolution.populaton: unknown key; did you mean 'population'?``.

    Args:
        error: from validating values by `model`.
        model: knows the keys and types that were expected.
        name: of the values' source.
        options: those of the values, nested likewise, that came from a command's options.
    """
    faults: list[Any] = error.errors(include_url=False)
    lines = []
    for fault in faults[:_MOST_LINES]:
        place = fault["loc"]
        # A list whose items are all wrong is also called too short.
        if fault["type"] == "too_short" and any(
            other["loc"][:-1] == place for other in faults if len(other["loc"]) > len(place)
        ):
            continue
        key, words = ".".join(shorten(str(part)) for part in place), _words(fault, model)
        field, colon, rest = words.partition(": ")
        if colon and field in _keys(model, place):  # a section's own check names the field that it is about
            place, key, words = (*place, field), f"{key}.{field}" if key else field, rest
        origin = OPTIONS if place and _holds(options or {}, place) else name
        lines.append(": ".join(filter(None, (origin, key, words))))
    if len(faults) > _MOST_LINES:
        lines.append(f"{name}: and {len(faults) - _MOST_LINES} more")
    return "\n".join(dict.fromkeys(lines))


_MEANT = {"gpu": "cuda"}
"""What people write for names that are spelt otherwise."""


def one_of(known: list[str], got: Any) -> str:
    """``expected 'cls', 'reg' or 'both', got 'clss'; did you mean 'cls'?``"""
    meant = _MEANT.get(str(got).lower())
    close = meant if meant in known else nearest(str(got), known)
    *others, last = (repr(name) for name in known)
    expected = f"{', '.join(others)} or {last}" if others else last
    return f"expected {expected}, got {_show(got)}" + (f"; did you mean {close!r}?" if close else "")


def _holds(options: Mapping[str, Any], place: Location) -> bool:
    value: Any = options
    for part in place:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return True


def _words(fault: Any, model: type[BaseModel]) -> str:
    kind, context, got, place = fault["type"], fault.get("ctx", {}), fault["input"], fault["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(model, place)
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return _missing(model, place)
    if kind == "literal_error":
        return one_of(_options(_type_at(model, place)), got)
    if kind == "too_short":
        return f"expected {context['min_length']} or more values, got {context['actual_length']}"
    if kind == "too_long":
        return f"expected no more than {context['max_length']} values, got {len(got)}"
    if kind == "multiple_of":
        return f"expected a multiple of {context['multiple_of']}, got {_show(got)}"
    if kind in _BOUNDS:
        bound = next(iter(context.values()))
        limit = str(bound) if isinstance(bound, int) else f"{bound:g}"
        return f"expected a number {_BOUNDS[kind]} {limit}, got {_show(got)}"
    return f"expected {_EXPECTED[kind]}, got {_show(got)}" if kind in _EXPECTED else str(fault["msg"])


def _options(kind: Any) -> list[str]:
    """What a literal may be, also where it may be left out: Literal["a", "b"] | None."""
    found = get_args(kind)
    if get_origin(kind) is not Literal:
        return [option for one in found for option in _options(one)]
    return [str(option) for option in found]


_EXPECTED: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "some text",
    "string_too_long": "a shorter text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a section with keys",
    "model_attributes_type": "a section with keys",
    "dict_type": "a section with keys",
}
_BOUNDS: Final = {
    "greater_than": "above",
    "greater_than_equal": "of at least",
    "less_than": "below",
    "less_than_equal": "of at most",
}


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else shorten(repr(value))


def _missing(model: type[BaseModel], place: Location) -> str:
    """A key that has no default says in its description where its value comes from."""
    section, key = _type_at(model, place[:-1]), place[-1]
    if not (_is_section(section) and key in section.model_fields):
        return "expected one more value"
    return "; ".join(filter(None, ("missing", section.model_fields[str(key)].description)))


def _unknown_key(model: type[BaseModel], place: Location) -> str:
    """Offers the full name of a key that stands elsewhere, or the nearest key of the section."""
    from cse_autoloss.settings.tasks import task_names  # whose sections are checked by this module

    known, key = _keys(model, place[:-1]), str(place[-1])
    own = getattr(model, "section", "")
    if own and len(place) == 1 and key in task_names():
        return f"the section of another task; the task is {own}"
    section = _type_at(model, place[:-1])
    if _is_section(section) and key in getattr(section, "replaced", {}):
        return f"unknown key; {section.replaced[key]}"  # type: ignore[attr-defined]
    elsewhere = [name for name in _all_keys(model) if name.rpartition(".")[2] == key]
    elsewhere.sort(key=lambda name: not name.startswith(f"{own}."))  # the task's first
    close = elsewhere[0] if elsewhere else nearest(key, known)
    hint = f"did you mean {close!r}?" if close else f"expected one of: {', '.join(known)}"
    return f"unknown key; {hint}"


def _keys(model: type[BaseModel], place: Location) -> list[str]:
    """Keys of the section at a place; none where there is no section."""
    kind = _type_at(model, place)
    return list(kind.model_fields) if _is_section(kind) else []


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if _is_section(field.annotation):
            yield from _all_keys(field.annotation, f"{prefix}{name}.")


def _type_at(model: type[BaseModel], place: Location) -> Any:
    """The type of a key, or of a list's items."""
    kind: Any = model
    for part in place:
        if _is_section(kind) and part in kind.model_fields:
            kind = kind.model_fields[str(part)].annotation
        elif get_origin(kind) is tuple and isinstance(part, int):
            kind = get_args(kind)[0]
        else:
            return None
    return kind


def _is_section(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel)
