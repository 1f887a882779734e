"""Points of a family: the ends and the middle of what tuning tries of each inner parameter."""

from __future__ import annotations

from cse_autoloss.losses import open_parameters, with_parameters


def along(name: str) -> list[list[str]]:
    """For each parameter, the points that differ from the default in it alone."""
    found = []
    for one in open_parameters(name):
        low, high = one.span
        middle = (low * high) ** 0.5 if one.log else (low + high) / 2
        values = (low, round(middle) if one.whole else middle, high)
        found.append([with_parameters(name, {one.name: value}) for value in values if value != one.default])
    return found
