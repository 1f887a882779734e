"""Numbers that the losses of parametric spaces can reckon with in float32."""

from __future__ import annotations

import math
from typing import Any

from cse_autoloss.errors import ConfigError, shorten

LEAST, MOST = 1e-9, 1e6
"""Of a scale or a width; between them nothing under- or overflows."""


def scale_of(name: str, value: Any) -> float:
    """A setting that is a scale or a width; ConfigError, which calls it by its `name`, for what can't be one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a number above 0, got {shorten(repr(value))}")
    if not LEAST <= value <= MOST:
        raise ConfigError(f"{name}: expected a number from {LEAST:g} to {MOST:g}, got {shorten(repr(value))}")
    return float(value)
