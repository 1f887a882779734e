"""The picture of a comparison: a row for each loss, means with their intervals, and the differences to the first."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cse_autoloss.bench.statistics import Interval
from cse_autoloss.compare.result import Comparison
from cse_autoloss.pages.fonts import escaped

_COLOUR, _FIRST, _AHEAD, _BEHIND = "#1f4e79", "#7f7f7f", "#2e7d32", "#b23b3b"


def plot_comparison(result: Comparison, file: Path) -> None:
    """Draw each metric with intervals and single seeds, and the paired differences in the first.

    Args:
        result: with one seed or more.
        file: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [
        textwrap.fill(escaped(one.contestant.name), 28, break_on_hyphens=False) for one in result.standings
    ]
    lines = sum(name.count("\n") + 1 for name in names)
    paired = len(names) > 1
    figure = Figure(
        figsize=(12.5 if paired else 9.5, 1.7 + 0.3 * max(lines, 1.3 * len(names))), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        1,
        len(result.metrics) + paired,
        sharey=True,
        squeeze=False,
        width_ratios=[1.0] * len(result.metrics) + [1.3] * paired,
    )[0]
    rows = [float(len(names) - i) for i in range(len(names))]
    for panel, metric in zip(panels, result.metrics):
        drawn: list[float] = []
        for row, one in zip(rows, result.standings):
            points = [metric.factor * value for value in one.scores[metric.name]]
            interval = result.interval(one, metric)
            panel.plot(points, [row - 0.24] * len(points), ".", color="0.65", markersize=4, zorder=1)
            _bar(panel, row, interval, metric.factor, _FIRST if row == rows[0] and paired else _COLOUR)
            if not one.failed:
                drawn += [*points, metric.factor * interval.low, metric.factor * interval.high]
        _limit(panel, drawn)
        panel.set_title(metric.label, fontsize=11)
    if paired:
        _differences(panels[-1], result, rows)
    for row, one in zip(rows, result.standings):
        if one.failed:
            text = f" {one.failed} of {len(result.seeds)} failed and count as {result.metrics[0].worst:g}"
            panels[0].text(
                0, row + 0.2, text, transform=panels[0].get_yaxis_transform(), fontsize=8, color=_BEHIND
            )
    for panel in panels:
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
    panels[0].set_yticks(rows, names, fontsize=9, parse_math=False)
    panels[0].set_ylim(0.35, len(names) + 0.6)
    figure.suptitle(escaped(_heading(result)), fontsize=10, x=0.01, ha="left", parse_math=False)
    figure.savefig(file, dpi=130)


def _differences(panel: Any, result: Comparison, rows: Sequence[float]) -> None:
    panel.axvline(0, color="0.4", linewidth=1)
    factor = result.metrics[0].factor
    drawn = [0.0]
    for row, one in zip(rows, result.standings):
        interval = result.difference(one)
        if interval is None:
            panel.annotate(
                "the others less this one", (0, row), (5, 0), textcoords="offset points", va="center",
                fontsize=8, color=_FIRST,
            )  # fmt: skip
            continue
        colour = _COLOUR
        if result.told_apart()[one.contestant.name]:
            colour = _AHEAD if interval.mean > 0 else _BEHIND
        _bar(panel, row, interval, factor, colour)
        panel.annotate(
            f"{factor * interval.mean:+.2f}", (factor * interval.mean, row), (0, 6), textcoords="offset points",
            ha="center", fontsize=8, color=colour, annotation_clip=True,
        )  # fmt: skip
        if not one.failed:
            drawn += [factor * interval.mean, factor * interval.low, factor * interval.high]
    _limit(panel, drawn)
    panel.set_title(f"gain in {result.metrics[0].label}, seed by seed", fontsize=11)


def _limit(panel: Any, drawn: Sequence[float]) -> None:
    """Show what was drawn; a row with failed trainings, which count as the worst, may leave the panel on the left."""
    finite = [value for value in drawn if math.isfinite(value)]
    if finite:
        room = 0.12 * (max(finite) - min(finite)) or 1.0
        panel.set_xlim(min(finite) - room, max(finite) + room)


def _bar(panel: Any, row: float, interval: Interval, factor: float, colour: str) -> None:
    panel.plot(factor * interval.mean, row, "o", color=colour, markersize=6, zorder=3)
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        panel.plot(
            [factor * interval.low, factor * interval.high], [row, row], color=colour, linewidth=2.2, zorder=2
        )


def _heading(result: Comparison) -> str:
    count = len(result.seeds)
    what = f"{result.task['what']}, {result.plan.split} split, {result.seeds_text}"
    over = "draws" if result.plan.draws else "seeds"
    return what + (
        f"; bars: {result.plan.confidence:.0%} intervals over {over}, dots: seeds" if count > 1 else ""
    )
