"""What the commands' `--set key=value` options say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cse_autoloss.errors import ConfigError


def overrides(chosen: Mapping[str, Any], settings: Sequence[str] | None) -> dict[str, Any]:
    """Settings by dotted key, from a command's options; `--set` wins over an option of its own.

    Args:
        chosen: dotted key -> value of the option, None where it was not given.
        settings: texts of `--set`, each "key=value"; a value is read as the configuration's YAML is.

    Raises:
        ConfigError: a text without a key or an equals sign, or a value that is not YAML.
    """
    from cse_autoloss.settings.plain_yaml import parse_yaml

    found = {key: value for key, value in chosen.items() if value is not None}
    for text in settings or ():
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set: expected key=value, got {text!r}")
        found[key.strip()] = parse_yaml(f"value: {value}", "--set").get("value")
    return found
