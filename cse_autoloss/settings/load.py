"""Settings of any kind: read from a file, merged with the options of a command, checked, and written back.

A file, or one of the package's by its name, gives only what it changes; options win over both. A mistake is told with
file, key, what was expected and the nearest valid name, several mistakes on a line each::

    detection.yaml: evolution.populaton: unknown key; did you mean 'population'?
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from cse_autoloss.errors import ConfigError, nearest, shorten
from cse_autoloss.settings.durations import parse_duration
from cse_autoloss.settings.fields import Section, whole_path
from cse_autoloss.settings.mistakes import OPTIONS, in_words
from cse_autoloss.settings.old_keys import in_todays_keys
from cse_autoloss.settings.papers import packaged_as_papers
from cse_autoloss.settings.plain_yaml import dump_yaml, read_yaml
from cse_autoloss.settings.schema import SearchConfig, config_model, section_key
from cse_autoloss.settings.tasks import section_of

__all__ = [
    "SearchConfig",
    "changed",
    "config_for",
    "config_names",
    "dump",
    "load",
    "load_config",
    "parse",
    "parse_config",
    "parse_duration",
]

DEFAULT: Final = "detection"
FULL_SIZE: Final = "coco_"
"""What the names of configurations of full-size trainings begin with."""
_FOLDER: Final = Path(__file__).parents[1] / "search_configs"

M = TypeVar("M", bound=BaseModel)
SectionOf = Callable[[str], type[Section]]
"""The settings of a task by its name."""


# -- of any kind -----------------------------------------------------------------------------------------------


def load(
    model: type[M], source: str | Path | None, overrides: Mapping[str, Any] | None = None, *, kind: str = ""
) -> M:
    """The settings of a file, with overrides.

    Args:
        model: of the settings.
        source: a file, or the name of one of the package's ("coco_fcos"); None has the defaults.
        overrides: dotted key -> value, for example ``{"evolution.population": 20, "budget": "5m"}``.
        kind: what the names of the package's files of this kind begin with.

    Raises:
        ConfigError: no such file or name, or what it holds, or an override, isn't valid; one line a mistake.
    """
    options = _nested(overrides or {})
    if source is None:
        return parse(model, options, OPTIONS, options)
    path = _find(source, config_names(kind))
    return parse(model, _merge(read_yaml(path), options), path.name, options)


def parse(
    model: type[M], values: Mapping[str, Any], name: str = "config", options: Mapping[str, Any] | None = None
) -> M:
    """Checked settings.

    Args:
        model: of the settings.
        values: nested as in a file.
        name: stands for their source in errors.
        options: those of the values, nested likewise, that came from options.

    Raises:
        ConfigError: they aren't valid; one line a mistake.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(in_words(error, model, name, options)) from None


def changed(settings: M, overrides: Mapping[str, Any]) -> M:
    """The same settings but for some, by dotted key; ConfigError as of `load`."""
    options = _nested(overrides)
    return parse(type(settings), _merge(settings.model_dump(), options), "settings", options)


def dump(settings: BaseModel) -> str:
    """YAML text of all settings; `load` of it gives equal ones."""
    return dump_yaml(settings.model_dump(mode="json"))


def config_names(kind: str = "") -> list[str]:
    """Names of the configurations that come with the package: of runs, or those that begin with `kind`."""
    names = sorted(path.stem for path in _FOLDER.glob(f"{kind}*.yaml"))
    return names if kind else [name for name in names if not name.startswith(FULL_SIZE)]


# -- of runs ---------------------------------------------------------------------------------------------------


def load_config(
    source: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    section: SectionOf = section_of,
) -> SearchConfig:
    """The configuration of a run: of a file, with overrides.

    Args:
        source: a file, or the name of one of the package's ("detection", "smoke"); None is the one named as the task,
            which is detection unless an override says otherwise. What it leaves out has the default value.
        overrides: as of `load`; ``own.KEY`` is KEY of the task's own section, whatever the task.
        section: gives the settings of a task; by default of the built-in ones alone.

    A data set's folder becomes an absolute path.

    A number of generations takes the place of the default budget, unless it comes with a budget of its own.

    Raises:
        ConfigError: as of `load`.
    """
    options = _nested(overrides or {})
    if source is None:
        task = str(options.get("task", DEFAULT))
        source = task if task in config_names() else None
    path = None if source is None else _find(source, config_names())
    values = {} if path is None else _without_budget(read_yaml(path))
    own = section_key(str(options.get("task", values.get("task", DEFAULT))))
    if isinstance(options.get("own"), dict):
        options = _merge({own: options.pop("own")}, options)
    values, options = in_todays_keys(values, own), in_todays_keys(options, own)
    if path is not None and path.parent == _FOLDER:
        values = packaged_as_papers(values, options)
    values = _merge(values, _without_budget(options))
    config = parse_config(values, path.name if path else OPTIONS, options, section)
    data = getattr(config.own, "data", None)
    if isinstance(data, str) and (":" in data or getattr(config.own, "embedded", True) is False):
        return changed(config, {f"{section_key(config.task)}.data": whole_path(data)})
    return config


def parse_config(
    values: Mapping[str, Any],
    name: str = "config",
    options: Mapping[str, Any] | None = None,
    section: SectionOf = section_of,
) -> SearchConfig:
    """Checks values, for example those that a run was started with (`RunStore.config`).

    Arguments as of `parse` and `load_config`.

    Raises:
        ConfigError: they aren't valid; one line a mistake.
    """
    task = str(values.get("task", DEFAULT))
    try:
        model = config_model(task, section(task))
    except ConfigError as error:
        raise ConfigError(f"{OPTIONS if 'task' in (options or {}) else name}: task: {error}") from None
    return parse(model, values, name, options)


def config_for(detector: str) -> str | None:
    """Name of the package's configuration for a detector, "detection_two_stage" for "two-stage"; None where
    it has none of its own, and the default serves."""
    name = f"{DEFAULT}_{detector.replace('-', '_')}"
    return name if name in config_names() else None


# -- files and options -----------------------------------------------------------------------------------------


def _find(source: str | Path, names: list[str]) -> Path:
    name = str(source)
    path = Path(name)
    if name in names and not os.path.isfile(name):
        return _FOLDER / f"{name}.yaml"
    if path.suffix or os.path.exists(name) or len(path.parts) != 1:
        return path
    close = nearest(name, names)
    hint = f"did you mean {close!r}?" if close else f"expected a file or one of: {', '.join(names)}"
    raise ConfigError(f"{shorten(name)}: no such configuration; {hint}")


def _without_budget(values: dict[str, Any]) -> dict[str, Any]:
    return {"budget": None, **values} if values.get("generations") is not None else values


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as sections in sections."""
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        *sections, last = key.split(".")
        values = found
        for section in sections:
            values = values.setdefault(section, {})
            if not isinstance(values, dict):
                raise ConfigError(f"{OPTIONS}: {key}: {section} is given as a value too")
        values[last] = value
    return found


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[key] = _merge(under, value) if both else value  # type: ignore[arg-type]
    return merged
