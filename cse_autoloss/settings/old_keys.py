"""Keys that configurations of REINFORCE had before every search and task shared one schema; they are still read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OWN: Final = ""
"""Stands for the task's own section."""

_SECTIONS: Final = {"comparison": "reinforce", "search": "reinforce", "data": OWN, "training": OWN}
"""Section of then -> section that has its keys now."""
_NAMES: Final = {("data", "source"): "data"}
"""Keys that have another name besides."""


def in_todays_keys(values: Mapping[str, Any], own: str) -> dict[str, Any]:
    """The values with each key of then where it stands now; one that is given there as well is left as that says.

    Args:
        values: a configuration, nested.
        own: key of the task's section.
    """
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for section, now in _SECTIONS.items():
        then = values.get(section)
        if section == own or not isinstance(then, Mapping):
            continue
        del found[section]
        today = found.setdefault(now or own, {})
        if isinstance(today, dict):
            for key, value in then.items():
                today.setdefault(_NAMES.get((section, key), key), value)
    return found
