"""Drawings of a loss's computation graph: SVG and PNG by matplotlib, DOT as text; always the same bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cse_autoloss.errors import AutoLossError, not_written
from cse_autoloss.export.dot import to_dot
from cse_autoloss.export.latex import can_be_typeset, to_latex
from cse_autoloss.export.layout import Box, Layout, layered
from cse_autoloss.export.picture import Picture, PictureNode, picture
from cse_autoloss.export.shapes import arrow_head, rounded_box, smooth
from cse_autoloss.graph import LossGraph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as MatplotlibPath

FORMATS = (".svg", ".png", ".dot")

# Okabe and Ito's colours, told apart with every kind of colour vision; shapes differ as well.
_BLUE, _RUST, _GREEN = "#0072B2", "#B35900", "#00795B"
_INK, _GREY, _LINE, _PAPER = "#1F2933", "#66727F", "#8592A0", "#FFFFFF"
_STYLE: dict[str, dict[str, Any]] = {
    "variable": {"face": _BLUE, "edge": _BLUE, "text": "white"},
    "constant": {"face": "#EEF1F4", "edge": "#9AA5B1", "text": _INK},
    "operator": {"face": "#FFF3DC", "edge": "#E69F00", "text": _INK},
    "loss": {"face": _GREEN, "edge": _GREEN, "text": "white"},
}
_LABEL, _OPERAND, _TITLE, _LEAST_TITLE, _SMALL = 13.0, 8.0, 16.0, 10.0, 9.5
_HEAD, _PORT, _OPERAND_ROOM = 5.0, 4.5, 9.0
_MARGIN, _LAYER_GAP, _NODE_GAP = 22.0, 34.0, 13.0
_DPI, _MOST_PIXELS, _MOST_IN_ALL = 200, 30_000, 60e6


def draw(graph: LossGraph, path: str | Path, *, title: str | None = None, as_written: bool = False) -> Path:
    """Draw a loss; the suffix of `path` decides the format: .svg, .png or .dot.

    Args:
        graph: the loss.
        path: file to write.
        title: text above the drawing; by default the formula, where it fits in the drawing's width.
        as_written: draw each primitive of the formula, double signs included.

    Returns:
        The path.

    Raises:
        AutoLossError: another suffix, or the file can't be written.
    """
    return _draw([("", graph)], path, title, as_written)


def draw_pair(
    cls_graph: LossGraph, reg_graph: LossGraph, path: str | Path, *, as_written: bool = False
) -> Path:
    """Draw both losses of a detector, one above the other; arguments and errors as for `draw`."""
    losses = [("Classification", cls_graph), ("Box", reg_graph)]
    return _draw(losses, path, None, as_written)


def _draw(losses: list[tuple[str, LossGraph]], path: str | Path, title: str | None, as_written: bool) -> Path:
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise AutoLossError(f"{path}: a drawing ends in {', '.join(FORMATS)}, not {suffix or 'nothing'!r}")
    pictures = [(name, graph, picture(graph, as_written=as_written)) for name, graph in losses]
    try:
        if suffix == ".dot":
            path.write_text(to_dot([(name, shown) for name, _, shown in pictures]), encoding="utf-8")
        else:
            with _settings():
                _save(pictures, path, suffix[1:], title)
    except (OSError, ValueError) as error:
        raise not_written(path, error) from None
    return path


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    # Text as outlines: the same look everywhere. A fixed salt: the same identifiers each time.
    fixed: dict[Any, Any] = {
        "mathtext.fontset": "cm",
        "font.family": "DejaVu Sans",
        "svg.fonttype": "path",
        "svg.hashsalt": "cse-autoloss",
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **fixed}):
        yield


@dataclass(frozen=True)
class _Panel:
    """One loss, laid out: `width` and `height` in points, all included."""

    heading: str
    formula: str
    formula_size: float
    shown: Picture
    boxes: list[Box]
    layout: Layout
    width: float
    height: float
    graph_top: float
    graph_height: float


def _panel(heading: str, graph: LossGraph, shown: Picture, title: str | None) -> _Panel:
    boxes = [_box(node) for node in shown.nodes]
    layout = layered(boxes, shown.edges, layer_gap=_LAYER_GAP, node_gap=_NODE_GAP)
    graph_width = max(right for _, right in layout.columns)
    highest, lowest = _ends(layout)
    graph_height = lowest - highest + 30
    width = max(graph_width, _extent(_legend(shown), _SMALL)[0], 260.0)
    formula, size = (_formula(graph), _TITLE) if title is None else (title.replace("$", r"\$"), _TITLE)
    formula_width, formula_height = _extent(formula, size)
    if formula_width > width:
        size = max(_TITLE * width / formula_width, 0.0)
        formula_height *= size / _TITLE
    if size < _LEAST_TITLE:
        wide = formula_width * _LEAST_TITLE / _TITLE
        formula, size, formula_height = (
            ("", 0.0, 0.0) if wide > 1.25 * width else (formula, _LEAST_TITLE, 14.0)
        )
        width = max(width, wide) if formula else width
    top = (20.0 if heading else 0.0) + (formula_height + 22.0 if formula else 0.0)
    return _Panel(
        heading, formula, size, shown, boxes, layout, width, top + graph_height + 34.0, top, graph_height
    )


def _ends(layout: Layout) -> tuple[float, float]:
    """The least and the greatest y."""
    ys = [y for _, y in layout.centres] + [y for trunk in layout.trunks for _, _, y in trunk]
    return min(ys), max(ys)


def _save(pictures: list[tuple[str, LossGraph, Picture]], path: Path, kind: str, title: str | None) -> None:
    from matplotlib.figure import Figure

    panels = [_panel(heading, graph, shown, title) for heading, graph, shown in pictures]
    width = max(panel.width for panel in panels) + 2 * _MARGIN
    height = sum(panel.height for panel in panels) + 2 * _MARGIN + 26.0 * (len(panels) - 1)
    figure = Figure(figsize=(width / 72, height / 72), facecolor=_PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    top = _MARGIN
    for panel in panels:
        _paint(axes, panel, width, top)
        top += panel.height + 26.0
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    dpi = min(_DPI, _MOST_PIXELS / max(width, height) * 72, 72 * (_MOST_IN_ALL / (width * height)) ** 0.5)
    figure.savefig(path, format=kind, dpi=dpi, metadata=metadata)


def _paint(axes: Axes, panel: _Panel, width: float, top: float) -> None:
    middle = width / 2
    if panel.heading:
        axes.text(
            _MARGIN, top + 4, panel.heading, size=11, color=_GREY, weight="bold", va="center", ha="left"
        )
    if panel.formula:
        place = top + panel.graph_top - 22.0 - (panel.graph_top - 22.0 - (20.0 if panel.heading else 0.0)) / 2
        axes.text(middle, place, panel.formula, size=panel.formula_size, color=_INK, va="center", ha="center")
    layout = panel.layout
    left = middle - max(right for _, right in layout.columns) / 2
    down = top + panel.graph_top + 15 - _ends(layout)[0]
    _paint_edges(axes, panel, left, down)
    for node, box, (x, y) in zip(panel.shown.nodes, panel.boxes, layout.centres, strict=True):
        _paint_node(axes, node, box, left + x, down + y)
    axes.text(
        middle,
        top + panel.height - 8,
        _legend(panel.shown),
        size=_SMALL,
        color=_GREY,
        va="center",
        ha="center",
    )


def _paint_edges(axes: Axes, panel: _Panel, left: float, down: float) -> None:
    """Each node's line through its layers once, and from it a branch to each user."""
    layout, nodes, boxes = panel.layout, panel.shown.nodes, panel.boxes
    lines, tips = [], []
    trunks: list[list[tuple[float, float]]] = []
    for (x, y), (_, right), box, trunk in zip(layout.centres, layout.columns, boxes, layout.trunks):
        stops = [
            (x + box.width / 2, y),
            (right, y),
            *(stop for a, b, h in trunk for stop in ((a, h), (b, h))),
        ]
        trunks.append([(left + x, down + y) for x, y in stops])
        if trunk:
            lines.append(smooth(trunks[-1]))
    for edge, leave, rise in zip(panel.shown.edges, layout.leaves, _ports(panel)):
        (x, y), target = layout.centres[edge.target], boxes[edge.target]
        end, height = left + x - target.width / 2, down + y + rise
        # The end of a pill curves away from a port above or below its middle.
        radius = min(_rounding(nodes[edge.target], target), target.height / 2)
        tip = end + (radius - (radius**2 - rise**2) ** 0.5 if radius >= target.height / 2 else 0.0)
        into = left + layout.columns[edge.target][0] - _HEAD
        start = trunks[edge.source][: 2 * leave + 2][-2:]
        lines.append(smooth([*(start[-1:] if leave else start), (into, height), (tip - _HEAD / 2, height)]))
        tips.append(arrow_head(tip, height, _HEAD))
        if nodes[edge.target].ordered:
            axes.text(
                end + 9.5, down + y + 1.35 * rise, f"${'ab'[edge.position]}$",
                size=_OPERAND, color=_RUST, va="center_baseline", ha="center", zorder=3,
            )  # fmt: skip
    _paint_paths(axes, lines, facecolor="none", edgecolor=_LINE, linewidth=1.2, capstyle="round", zorder=1)
    _paint_paths(axes, tips, facecolor=_LINE, linewidth=0, zorder=1)


def _paint_paths(axes: Axes, paths: list[MatplotlibPath], **look: Any) -> None:
    from matplotlib.collections import PathCollection

    axes.add_collection(PathCollection(paths, **look), autolim=False)


def _ports(panel: _Panel) -> list[float]:
    """How far from the target's middle each edge ends: operands enter in the order they arrive in."""
    layout, edges = panel.layout, panel.shown.edges
    arriving: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for number, (edge, leave) in enumerate(zip(edges, layout.leaves)):
        y = layout.trunks[edge.source][leave - 1][2] if leave else layout.centres[edge.source][1]
        arriving[edge.target].append((y, edge.position, number))
    ports = [0.0] * len(edges)
    for rivals in arriving.values():
        for place, (_, _, number) in enumerate(sorted(rivals)):
            ports[number] = _PORT * (2 * place - (len(rivals) - 1))
    return ports


def _paint_node(axes: Axes, node: PictureNode, box: Box, x: float, y: float) -> None:
    from matplotlib.patches import PathPatch

    style = _STYLE[node.role]
    outline = rounded_box(x, y, box.width, box.height, _rounding(node, box))
    axes.add_patch(
        PathPatch(outline, facecolor=style["face"], edgecolor=style["edge"], linewidth=1.3, zorder=2)
    )
    shift = _OPERAND_ROOM / 2 if node.ordered else 0.0
    axes.text(
        x + shift, y, f"${node.label}$", size=_LABEL, color=style["text"], va="center", ha="center", zorder=3
    )


def _rounding(node: PictureNode, box: Box) -> float:
    return 5.0 if node.role in ("variable", "loss") else box.height / 2


def _box(node: PictureNode) -> Box:
    if node.role == "constant":
        return Box(21.0, 21.0)
    width, _ = _extent(f"${node.label}$", _LABEL)
    room = _OPERAND_ROOM if node.ordered else 0.0
    return Box(max(width + 16.0 + room, 28.0), 26.0, node.ordered)


def _formula(graph: LossGraph) -> str:
    """The title: the loss in mathematical type, or nothing where that can't be read."""
    latex = to_latex(graph)
    if not can_be_typeset(latex):
        return ""
    # Fractions in fractions stay small, or the formula towers over the drawing.
    if r"\frac" not in re.sub(r"\\frac\{[^{}]*\}\{[^{}]*\}", "", latex):
        latex = latex.replace(r"\frac", r"\dfrac")
    return f"$L = {latex}$"


def _legend(shown: Picture) -> str:
    return "     ".join(f"${latex}$  {meaning.replace(' - ', ' − ')}" for latex, meaning in shown.legend)


@lru_cache(maxsize=1000)
def _extent(text: str, size: float) -> tuple[float, float]:
    """Width and height of a text in points."""
    from matplotlib.textpath import TextPath

    if not text:
        return 0.0, 0.0
    extent = TextPath((0, 0), text, size=size).get_extents()
    return float(extent.width), float(extent.height)
