"""Configurations: read, merged with the options of a command, checked, and written back.

The default is ``search_configs/detection.yaml``. Another file, or another of the package's by its name, gives
only what it changes; options win over both. A mistake is told with file, key, what was expected and the
nearest valid name, several mistakes on a line each::

    detection.yaml: evolution.populaton: unknown key; did you mean 'population'?
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeIs

from cse_autoloss.errors import ConfigError, nearest, shorten
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.settings.plain_yaml import dump_yaml, read_yaml
from cse_autoloss.settings.schema import SearchConfig

__all__ = [
    "SearchConfig",
    "config_for",
    "config_names",
    "dump_config",
    "load_config",
    "parse_config",
    "parse_duration",
]

DEFAULT: Final = "detection"
_FOLDER: Final = Path(__file__).parents[1] / "search_configs"
_OPTIONS: Final = "options"

Location = tuple[int | str, ...]


def load_config(source: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> SearchConfig:
    """The configuration of a file, with overrides.

    Args:
        source: a file, or the name of one of the package's configurations ("detection", "smoke"); None is
            "detection". What it leaves out has the default value.
        overrides: dotted key -> value, for example ``{"evolution.population": 20, "budget": "5m"}``.

    A number of generations takes the place of the default budget, unless it comes with a budget of its own.

    Raises:
        ConfigError: no such file or name, or what it holds, or an override, isn't valid.
    """
    path = _find(source)
    values = _without_budget(read_yaml(path))
    options: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        _set(options, key, value)
    return parse_config(_merge(values, _without_budget(options)), path.name, options)


def parse_config(
    values: Mapping[str, Any], name: str = "config", options: Mapping[str, Any] | None = None
) -> SearchConfig:
    """Checks values, for example those that a run was started with (`RunStore.config`).

    Args:
        values: nested as in a file.
        name: stands for their source in errors.
        options: those of the values, nested likewise, that came from options.

    Raises:
        ConfigError: they aren't valid; one line a mistake.
    """
    try:
        return SearchConfig.model_validate(dict(values))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    lines = []
    for fault in faults:
        place = fault["loc"]
        # A list whose items are all wrong is also called too short.
        if fault["type"] == "too_short" and any(
            other["loc"][:-1] == place for other in faults if len(other["loc"]) > len(place)
        ):
            continue
        origin = _OPTIONS if place and _holds(options or {}, place) else name
        key, words = ".".join(str(part) for part in place), _words(fault)
        field, colon, rest = words.partition(": ")
        if colon and field in _keys(place):  # a section's own check names the field that it is about
            key, words = f"{key}.{field}" if key else field, rest
        lines.append(": ".join(filter(None, (origin, key, words))))
    raise ConfigError("\n".join(dict.fromkeys(lines)))


def dump_config(config: SearchConfig) -> str:
    """YAML text of the whole configuration; `load_config` of it gives an equal one."""
    return dump_yaml(config.model_dump(mode="json"))


def config_names() -> list[str]:
    """Names of the configurations that come with the package; `coco_*` are of full-size trainings."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml") if not path.stem.startswith("coco_"))


def config_for(detector: str) -> str | None:
    """Name of the package's configuration for a detector, "detection_two_stage" for "two-stage"; None where
    it has none of its own, and the default serves."""
    name = f"{DEFAULT}_{detector.replace('-', '_')}"
    return name if name in config_names() else None


def _find(source: str | Path | None) -> Path:
    name = DEFAULT if source is None else str(source)
    path = Path(name)
    if name in config_names() and not os.path.isfile(name):
        return _FOLDER / f"{name}.yaml"
    if path.suffix or os.path.exists(name) or len(path.parts) != 1:
        return path
    close = nearest(name, config_names())
    hint = f"did you mean {close!r}?" if close else f"expected a file or one of: {', '.join(config_names())}"
    raise ConfigError(f"{shorten(name)}: no such configuration; {hint}")


def _without_budget(values: dict[str, Any]) -> dict[str, Any]:
    return {"budget": None, **values} if values.get("generations") is not None else values


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{_OPTIONS}: {key}: {section} is given as a value too")
        values = inner
    values[last] = value


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = _merge(under, value) if both else value  # type: ignore[arg-type]
    return merged


# -- mistakes in words ------------------------------------------------------------------------------------


def _holds(options: Mapping[str, Any], place: Location) -> bool:
    value: Any = options
    for part in place:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return True


def _words(fault: Any) -> str:
    kind, context, got, place = fault["type"], fault.get("ctx", {}), fault["input"], fault["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "expected one more value"
    if kind == "literal_error":
        close = nearest(str(got), [str(option) for option in get_args(_type_at(place))])
        return f"expected {context['expected']}, got {_show(got)}" + (
            f"; did you mean {close!r}?" if close else ""
        )
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


def _unknown_key(place: Location) -> str:
    """Offers the full name of a key that stands elsewhere, or the nearest key of the section."""
    known, key = _keys(place[:-1]), str(place[-1])
    elsewhere = [name for name in _all_keys(SearchConfig) if name.rpartition(".")[2] == key]
    close = elsewhere[0] if elsewhere else nearest(key, known)
    hint = f"did you mean {close!r}?" if close else f"expected one of: {', '.join(known)}"
    return f"unknown key; {hint}"


def _keys(place: Location) -> list[str]:
    """Keys of the section at a place; none where there is no section."""
    kind = _type_at(place)
    return list(kind.model_fields) if _is_section(kind) else []


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if _is_section(field.annotation):
            yield from _all_keys(field.annotation, f"{prefix}{name}.")


def _type_at(place: Location) -> Any:
    kind: Any = SearchConfig
    for part in place:
        if not (_is_section(kind) and part in kind.model_fields):
            return None
        kind = kind.model_fields[part].annotation
    return kind


def _is_section(kind: Any) -> TypeIs[type[BaseModel]]:
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel)
