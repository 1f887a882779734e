"""Spans of time as people write them: "20m", "1h30m", "90", read as seconds."""

from __future__ import annotations

import math
import re
from typing import Final

from cse_autoloss.errors import ConfigError

_NUMBER: Final = r"(\d+(?:\.\d*)?|\.\d+)"
_SPAN: Final = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")
_MOST: Final = 1e9  # some thirty years: what clocks and queues still take
_EXPECTED: Final = "expected a time above 0 like '20m', '60s' or '1h30m'"


def parse_duration(value: str | float) -> float:
    """Seconds in a span of time: a number, or hours, minutes and seconds in this order; seconds need no unit.

    Raises:
        ConfigError: it is none, or not above 0.

    >>> parse_duration("1h30m"), parse_duration("0.5m"), parse_duration(7)
    (5400.0, 30.0, 7.0)
    """
    seconds = math.nan
    if isinstance(value, str):
        found = _SPAN.fullmatch(value.replace(" ", "").lower()) if len(value) < 50 else None
        if found and any(found.groups()):
            hours, minutes, rest = (float(part or 0.0) for part in found.groups())
            seconds = hours * 3600.0 + minutes * 60.0 + rest
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= _MOST else math.inf
    if not 0.0 < seconds <= _MOST:
        raise ConfigError(f"{_EXPECTED}, got {_shown(value)!r}")
    return seconds


def _shown(value: object) -> str:
    """A whole number of more digits than Python writes out has no text."""
    return "a larger number" if isinstance(value, int) and abs(value) > _MOST else str(value)[:50]
