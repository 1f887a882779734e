"""Charts as SVG that keep the size of their letters at any width: places in per cent, lines in a stretched picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cse_autoloss.pages.elements import Safe, el

Range = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A line through points; `look` is a class of the frame's style ("c0" to "c5", "thin")."""

    label: str
    points: Sequence[tuple[float, float]]
    look: str = "c0"


@dataclass(frozen=True)
class Dot:
    """A point with a title that is shown under the pointer, and the anchor that a click leads to."""

    x: float
    y: float
    look: str = "c0"
    title: str = ""
    href: str | None = None
    radius: float = 4.0


def chart(
    curves: Sequence[Curve] = (),
    dots: Sequence[Dot] = (),
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    height: int = 230,
    x_ticks: int = 6,
    x_range: Range | None = None,
    y_range: Range | None = None,
    whole: bool = False,
) -> Safe:
    """Curves and dots over axes with round ticks, across `whole` ones alone; what lies outside a range is cut off."""
    places = [point for curve in curves for point in curve.points] + [(dot.x, dot.y) for dot in dots]
    places = [(x, y) for x, y in places if math.isfinite(x) and math.isfinite(y)]
    if not places:
        return Safe("")
    across = x_range or widened(x for x, _ in places)
    up = y_range or widened(y for _, y in places)
    parts = [
        _grid(across, up, x_ticks, whole),
        el("svg", [_line(curve, across, up) for curve in curves], **_STRETCHED),
    ]
    parts += [_dot(dot, across, up) for dot in dots]
    label = el("text", x_label, x="50%", y=height + 36, text_anchor="middle")
    picture = el("svg", parts, label, width="100%", height=height, role="img", aria_label=title or y_label)
    caption = el("figcaption", title or None, f" — {y_label}" if title and y_label else y_label)
    return el("figure", caption if title or y_label else None, el("div", picture, class_="plot"))


def legend(entries: Iterable[tuple[str, str]]) -> Safe:
    """What the looks mean: (look, words); a look with "spot" stands for dots."""
    return el("ul", [el("li", el("i", class_=look), words) for look, words in entries], class_="legend")


def track(low: float, mean: float, high: float, scale: Range, look: str, zero: bool = False) -> Safe:
    """A mean with its interval on a line; an interval without ends is left out."""
    parts: list[Safe] = [_stroke(0, 100, "grid")]
    if zero and scale[0] <= 0 <= scale[1]:
        at = f"{_share(0, scale):.2f}%"
        parts.append(el("line", x1=at, x2=at, y1=2, y2=22, class_="axis"))
    if math.isfinite(low) and math.isfinite(high):
        ends = (max(0.0, _share(low, scale)), min(100.0, _share(high, scale)))
        parts.append(_stroke(*ends, f"stroke {look}", stroke_width=5, stroke_linecap="round", opacity=0.45))
    if math.isfinite(mean):
        parts.append(el("circle", cx=f"{_share(mean, scale):.2f}%", cy=12, r=5, class_=f"dot {look}"))
    return el("svg", parts, width="100%", height=24, aria_hidden="true")


def bar(share: float, look: str, inner: float = 0.0) -> Safe:
    """A bar of a share of the width, and a darker one inside it."""
    parts = [_block(share, look, opacity=0.4 if inner else 0.85)]
    if inner:
        parts.append(_block(inner, look))
    return el("svg", parts, width="100%", height=18, aria_hidden="true")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [step * (first + i) for i in range(int((high - first * step) / step + 1e-9) + 1)]


_STRETCHED: dict[str, Any] = {
    "viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "width": "100%", "height": "100%",
    "style": "overflow: hidden",
}  # fmt: skip


def _share(value: float, scale: Range) -> float:
    """Where a value lies between the ends, in per cent."""
    return 100.0 * (value - scale[0]) / (scale[1] - scale[0])


def widened(values: Iterable[float]) -> Range:
    """Ends of an axis: the values' own with some room, and ones that ticks tell apart where all are equal."""
    found = list(values)
    low, high = min(found), max(found)
    largest = max(abs(low), abs(high), 1e-300)
    if high - low < 5e-4 * largest:  # four digits, as ticks have, would not tell them apart
        low = high = (low + high) / 2
    room = 0.05 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room


def _grid(across: Range, up: Range, most: int, whole: bool) -> list[Safe]:
    parts = []
    for value in ticks(*up, most=5):
        at = f"{100 - _share(value, up):.2f}%"
        parts.append(el("line", x1=0, x2="100%", y1=at, y2=at, class_="grid"))
        parts.append(el("text", _number(value), x=-7, y=at, dy=4, text_anchor="end"))
    for value in ticks(*across, most=most):
        if whole and abs(value - round(value)) > 1e-9:
            continue
        at = f"{_share(value, across):.2f}%"
        parts.append(el("text", _number(value), x=at, y="100%", dy=17, text_anchor="middle"))
    parts.append(el("line", x1=0, x2="100%", y1="100%", y2="100%", class_="axis"))
    return parts


def _line(curve: Curve, across: Range, up: Range) -> Safe:
    points = " ".join(
        f"{10 * _share(x, across):.1f},{1000 - 10 * min(max(_share(y, up), -900.0), 1000.0):.1f}"
        for x, y in curve.points
        if math.isfinite(x) and math.isfinite(y)
    )
    return el("polyline", el("title", curve.label), points=points, class_=f"curve {curve.look}")


def _dot(dot: Dot, across: Range, up: Range) -> Safe:
    at = {"cx": f"{_share(dot.x, across):.2f}%", "cy": f"{100 - _share(dot.y, up):.2f}%", "r": dot.radius}
    circle = el("circle", el("title", dot.title) if dot.title else None, **at, class_=f"dot {dot.look}")
    return el("a", circle, href=dot.href) if dot.href else circle


def _stroke(start: float, end: float, look: str, **more: Any) -> Safe:
    return el("line", x1=f"{start:.2f}%", x2=f"{end:.2f}%", y1=12, y2=12, class_=look, **more)


def _block(share: float, look: str, **more: Any) -> Safe:
    width = f"{100 * min(max(share, 0.003), 1.0):.2f}%"
    return el("rect", x=0, y=2, rx=3, width=width, height=14, class_=f"dot {look}", **more)


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return "0" if text in ("-0", "0") else text.replace("-", "−")
