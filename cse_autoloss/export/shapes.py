"""Outlines for drawings: pills, discs and smooth arrows, as matplotlib paths. y grows downward."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.path import Path

_ARC = 0.5522847498
"""Length of a Bézier handle that draws a quarter of a unit circle."""


def rounded_box(x: float, y: float, width: float, height: float, radius: float) -> Path:
    """A box around (x, y) with circular corners; a radius of half the height makes a pill, of both a disc."""
    from matplotlib.path import Path

    r = min(radius, width / 2, height / 2)
    k = r * (1 - _ARC)
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    vertices = [
        (left + r, top), (right - r, top), (right - k, top), (right, top + k), (right, top + r),
        (right, bottom - r), (right, bottom - k), (right - k, bottom), (right - r, bottom),
        (left + r, bottom), (left + k, bottom), (left, bottom - k), (left, bottom - r),
        (left, top + r), (left, top + k), (left + k, top), (left + r, top), (left + r, top),
    ]  # fmt: skip
    side, arc = [Path.LINETO], [Path.CURVE4] * 3
    return Path(vertices, [Path.MOVETO, *(side + arc) * 4, Path.CLOSEPOLY])


def smooth(stops: Sequence[tuple[float, float]]) -> Path:
    """A curve through the stops, level at each of them."""
    from matplotlib.path import Path

    vertices, codes = [stops[0]], [Path.MOVETO]
    for (xa, ya), (xb, yb) in pairwise(stops):
        if abs(ya - yb) < 0.05:
            vertices.append((xb, yb))
            codes.append(Path.LINETO)
        else:
            half = (xb - xa) / 2
            vertices += [(xa + half, ya), (xb - half, yb), (xb, yb)]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def arrow_head(x: float, y: float, length: float = 5.0, half_width: float = 2.5) -> Path:
    """A filled tip that points right and ends at (x, y)."""
    from matplotlib.path import Path

    vertices = [
        (x, y),
        (x - length, y - half_width),
        (x - 0.8 * length, y),
        (x - length, y + half_width),
        (x, y),
    ]
    return Path(vertices, [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY])
