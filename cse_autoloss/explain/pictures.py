"""Curves as pictures: one column a panel, the loss above and its slope below, each line named where it runs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cse_autoloss.explain.curves import Line, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with every kind of colour vision; line styles differ as well.
_BASELINES = (("#66727F", (0, (5, 2))), ("#D55E00", (0, (1.5, 1.5))), ("#00795B", (0, (4, 1.5, 1, 1.5))))
_LIGHT, _STRONG = np.array([0.56, 0.78, 0.91]), np.array([0.0, 0.32, 0.54])
_INK, _FAINT = "#1F2933", "#D5DBE1"
_DPI = 200
_LABEL = 9.0


def curve_figure(panels: Sequence[Panel], title: str) -> Figure:
    """Loss over slope for each panel; the rows share their vertical axes where the panels' units agree."""
    with _style():
        from matplotlib.figure import Figure

        columns = len(panels)
        width = 4.1 * columns if columns <= 3 else 2.35 * columns
        figure = Figure(figsize=(width, 5.4), layout="constrained")
        grid = figure.subplots(2, columns, squeeze=False, sharex="col")
        for column, panel in enumerate(panels):
            top, bottom = grid[0][column], grid[1][column]
            top.set_title(panel.title, loc="left")
            bottom.set_xlabel(panel.x_label)
            _draw(top, panel.lines, "loss")
            _draw(bottom, panel.lines, "slope")
            if column == 0 or panel.slope_label != panels[column - 1].slope_label:
                bottom.set_ylabel(panel.slope_label)
        grid[0][0].set_ylabel("loss L")
        _share_rows(grid, panels)
        figure.align_ylabels(list(grid[:, 0]))
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        _settle(figure)
        for column, panel in enumerate(panels):
            _name(grid[0][column], panel.lines, "loss")
            _name(grid[1][column], panel.lines, "slope")
        return figure


def scale_figure(lines: Sequence[Line], title: str) -> Figure:
    """One box loss at several box sizes."""
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        _draw(axes, lines, "loss")
        axes.set_xlabel("IoU, box slides onto the target")
        axes.set_ylabel("loss L")
        axes.set_title(title, loc="left")
        _settle(figure)
        _name(axes, lines, "loss")
        return figure


def to_bytes(figure: Figure, kind: str) -> bytes:
    """The picture as "png" (200 dots an inch) or "svg"."""
    with _style():
        stream = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.08)
        return stream.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10.5,
        "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": "#8592A0", "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK,
        "ytick.color": _INK, "axes.titlecolor": _INK, "lines.solid_capstyle": "round",
        "svg.hashsalt": "cse-autoloss", "svg.fonttype": "path", "mathtext.fontset": "cm",
        "axes.unicode_minus": True,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def _settle(figure: Figure) -> None:
    """Lay the figure out for good, so that labels can be placed by pixels."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine("none")


def _look(line: Line, lines: Sequence[Line]) -> dict[str, Any]:
    if line.role == "baseline":
        index = [other for other in lines if other.role == "baseline"].index(line)
        color, dashes = _BASELINES[index % len(_BASELINES)]
        return {"color": color, "linestyle": dashes, "linewidth": 1.4, "zorder": 2}
    mix = _LIGHT + (_STRONG - _LIGHT) * line.shade
    return {"color": tuple(mix), "linestyle": "-", "linewidth": 2.1, "zorder": 3}


def _draw(axes: Axes, lines: Sequence[Line], what: str) -> None:
    axes.axhline(0, color=_FAINT, linewidth=0.8, zorder=1)
    low = min(float(line.x.min()) for line in lines)
    high = max(float(line.x.max()) for line in lines)
    if low < 0 < high:
        axes.axvline(0, color=_FAINT, linewidth=0.8, zorder=1)
    for line in lines:
        axes.plot(line.x.numpy(), getattr(line, what).numpy(), **_look(line, lines))
    bottom, top = _limits([getattr(line, what).numpy() for line in lines])
    axes.set_ylim(bottom, top)
    axes.margins(x=0.02)
    if low >= 0 and high <= 1:
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.locator_params(axis="y", nbins=6)


def _limits(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Limits that show every curve's body; a spike at one end is cut off rather than allowed to flatten all."""
    values = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    if values.size == 0:
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    body_low, body_high = (float(q) for q in np.quantile(values, (0.02, 0.98)))
    body = max(body_high - body_low, 1e-9)
    low, high = max(low, body_low - body), min(high, body_high + body)
    room = max(high - low, 1e-6) * 0.07
    return low - room, high + room


def _share_rows(grid: np.ndarray, panels: Sequence[Panel]) -> None:
    for row, key in ((0, lambda p: ""), (1, lambda p: p.slope_label)):
        for group in {key(panel) for panel in panels}:
            members = [grid[row][c] for c, panel in enumerate(panels) if key(panel) == group]
            limits = [axes.get_ylim() for axes in members]
            low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
            for axes in members:
                axes.set_ylim(low, high)
            for axes in members[1:]:
                axes.tick_params(labelleft=False)


def _name(axes: Axes, lines: Sequence[Line], what: str) -> None:
    """Write each line's label beside the line, where there is most room."""
    box = axes.get_window_extent()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    shares = np.linspace(0.0, 1.0, 81)
    heights = []
    for line in lines:
        order = np.argsort(line.x.numpy())
        x, y = line.x.numpy()[order], getattr(line, what).numpy()[order]
        at = np.interp(left + shares * (right - left), x, y, left=np.nan, right=np.nan)
        heights.append((at - low) / (high - low) * box.height)
    point = axes.figure.dpi / 72
    taken: list[_Label] = []
    levels = [index for index, line in enumerate(lines) if line.role == "loss"]
    if len(levels) > 1 and what == "loss":
        # Several levels of one loss lie too close for names of their own: they get a key in an empty corner.
        taken += _key(
            axes, [lines[index] for index in levels], heights, shares * box.width, box.height, point
        )
    for index, line in enumerate(lines):
        if len(levels) > 1 and index in levels:
            continue
        label = _best_place(line.label, index, heights, shares * box.width, box.height, taken, point)
        if label is not None:
            taken.append(label)
            _write(axes, label, line.label, _look(line, lines)["color"])


def _key(
    axes: Axes, levels: Sequence[Line], heights: list[np.ndarray], xs: np.ndarray, top: float, point: float
) -> list[_Label]:
    """Write the levels' names, the first line on top, in the corner that is farthest from all lines."""
    half_width = 0.29 * _LABEL * max(len(line.label) for line in levels) * point
    step = 1.5 * _LABEL * point
    height = step * len(levels)
    best: tuple[float, list[_Label]] = (-np.inf, [])
    for x in (xs[-1] - half_width - 8 * point, half_width + 8 * point):
        for start in (top - 0.5 * step, height - 0.5 * step + 4 * point):
            labels = [_Label(float(x), start - i * step, half_width, 0.5 * step) for i in range(len(levels))]
            near = np.abs(xs - x) <= half_width
            room = min(_room(label, [h[near] for h in heights], []) for label in labels)
            room = min(room, 15 * point)  # enough is enough: then the first corner, the upper right, is taken
            if room > best[0] + 1e-9:
                best = (room, labels)
    # The line that lies highest is named first.
    order = sorted(levels, key=lambda line: -float(line.loss.max()))
    for label, line in zip(best[1], order, strict=True):
        _write(axes, label, line.label, _look(line, levels)["color"])
    return best[1]


def _write(axes: Axes, label: _Label, text: str, color: Any) -> None:
    from matplotlib.patheffects import withStroke

    box = axes.get_window_extent()
    shown = axes.text(
        label.x / box.width, label.y / box.height, text, transform=axes.transAxes, color=color,
        fontsize=_LABEL, ha="center", va="center", zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip
    shown.set_in_layout(False)


class _Label(NamedTuple):
    """A label's middle and half its size, in pixels from the axes' corner."""

    x: float
    y: float
    half_width: float
    half_height: float


def _best_place(
    text: str, own: int, heights: list[np.ndarray], xs: np.ndarray, top: float, taken: list[_Label], point: float
) -> _Label | None:  # fmt: skip
    """Above or below the line, where the line runs alone and other lines and labels are far."""
    half_width, half_height, gap = 0.29 * _LABEL * len(text) * point, 0.55 * _LABEL * point, 2.5 * point
    best, found = -np.inf, None
    for x in xs:
        near = np.abs(xs - x) <= half_width
        if x - half_width < 0 or x + half_width > xs[-1] or np.isnan(heights[own][near]).any():
            continue
        highest, lowest = heights[own][near].max(), heights[own][near].min()
        for y in (highest + gap + half_height, lowest - gap - half_height):
            if not half_height < y < top - half_height:
                continue
            label = _Label(float(x), float(y), half_width, half_height)
            others = [h[near] for i, h in enumerate(heights) if i != own]
            room = _room(label, others, taken)
            # Where lines run together a label could be any one's.
            alone = min((float(np.nanmin(np.abs(h - heights[own][near]))) for h in others), default=1e3)
            off_centre = abs(x / xs[-1] - 0.5)
            score = min(room, 14 * point) + min(alone, 8 * point)
            score -= 0.12 * (highest - lowest) + 1.5 * point * off_centre
            if room > 0 and score > best:
                best, found = score, label
    return found


def _room(label: _Label, others: list[np.ndarray], taken: list[_Label]) -> float:
    """Distance in pixels from a label to the nearest other line or label; below 0 where they overlap."""
    rooms = [1e3]
    for heights in others:
        distance = np.abs(heights - label.y) - label.half_height
        rooms.append(float(np.nanmin(distance)) if not np.isnan(distance).all() else 1e3)
    for other in taken:
        apart = max(
            abs(other.x - label.x) - other.half_width - label.half_width,
            abs(other.y - label.y) - other.half_height - label.half_height,
        )
        rooms.append(apart if apart > 0 else 20 * apart - 50)
    return min(rooms)
