"""Configurations of full-size trainings: a file or one of the package's `coco_*`, with options on top, checked.

A mistake is told with file, key, what was expected and the nearest valid name, several on a line each::

    coco_fcos.yaml: bach: unknown key; did you mean 'batch'?
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from cse_autoloss.errors import ConfigError, nearest, shorten
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.settings.plain_yaml import dump_yaml, read_yaml

_FOLDER: Final = Path(__file__).parents[1] / "search_configs"
_OPTIONS: Final = "options"
_NEEDED: Final = {
    "detector": "missing; give --detector, for example torchvision:fcos_resnet50_fpn",
    "data": "missing; give --data coco:DIR, a folder in COCO's format",
}


def train_config_names() -> list[str]:
    """Names of the training configurations that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("coco_*.yaml"))


def load_train_config(
    source: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainSettings:
    """The settings of a file, with overrides.

    Args:
        source: a file, or the name of one of the package's configurations ("coco_fcos"); None has the defaults.
        overrides: key -> value.

    Raises:
        ConfigError: no such file or name, or what it holds, or an override, is not valid; one line a mistake.
    """
    options = dict(overrides or {})
    if source is None:
        return make_settings(options, _OPTIONS)
    path = _find(source)
    return make_settings({**read_yaml(path), **options}, path.name, options)


def make_settings(
    values: Mapping[str, Any], name: str = "settings", options: Mapping[str, Any] | None = None
) -> TrainSettings:
    """Checked settings.

    Args:
        values: key -> value.
        name: stands for their source in errors.
        options: those of them that came from options.

    Raises:
        ConfigError: they are not valid; one line a mistake.
    """
    try:
        return TrainSettings.model_validate(dict(values))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    lines = []
    for fault in faults:
        key, words = str(next(iter(fault["loc"]), "")), _words(fault)
        field, colon, rest = words.partition(": ")
        if not key and colon and field in TrainSettings.model_fields:
            key, words = field, rest
        origin = _OPTIONS if key in (options or {}) else name
        lines.append(": ".join(part for part in (origin, key, words) if part))
    # Where a value may be of several types, pydantic tells of each: one line a key is enough.
    raise ConfigError("\n".join({line.split(": ")[1]: line for line in reversed(lines)}.values()))


def changed(settings: TrainSettings, **changes: Any) -> TrainSettings:
    """The same settings but for some; ConfigError as of `make_settings`."""
    return make_settings({**settings.model_dump(), **changes}, "settings")


def dump_train_config(settings: TrainSettings) -> str:
    """YAML text of all settings; `load_train_config` of it gives equal ones."""
    return dump_yaml(settings.model_dump(mode="json"))


def _find(source: str | Path) -> Path:
    name = str(source)
    if name in train_config_names() and not os.path.isfile(name):
        return _FOLDER / f"{name}.yaml"
    if Path(name).suffix or os.path.exists(name) or len(Path(name).parts) != 1:
        return Path(name)
    close = nearest(name, train_config_names())
    known = ", ".join(train_config_names())
    hint = f"did you mean {close!r}?" if close else f"expected a file or one of: {known}"
    raise ConfigError(f"{shorten(name)}: no such training configuration; {hint}")


def _words(fault: Any) -> str:
    kind, got = fault["type"], fault["input"]
    key = str(next(iter(fault["loc"]), ""))
    if kind == "extra_forbidden":
        known = list(TrainSettings.model_fields)
        close = nearest(key, known)
        return "unknown key; " + (
            f"did you mean {close!r}?" if close else f"expected one of: {', '.join(known)}"
        )
    if kind == "missing":
        return _NEEDED.get(key, "missing")
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    shown = "nothing" if got is None else shorten(repr(got))
    if key == "alpha":
        return f"expected a number from 0 to 1, 'default' or null, got {shown}"
    if kind == "literal_error":
        return f"expected {fault['ctx']['expected']}, got {shown}"
    bounds = {
        "greater_than": "above",
        "greater_than_equal": "of at least",
        "less_than": "below",
        "less_than_equal": "of at most",
    }
    if kind in bounds:
        limit = next(iter(fault["ctx"].values()))
        return f"expected a number {bounds[kind]} {limit:g}, got {shown}"
    for start, expected in (
        ("int", "a whole number"),
        ("float", "a number"),
        ("finite", "a finite number"),
        ("bool", "true or false"),
        ("string", "some text"),
        ("tuple", "a list"),
    ):
        if kind.startswith(start):
            return f"expected {expected}, got {shown}"
    return f"{fault['msg']}, got {shown}"
