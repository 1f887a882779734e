"""A schedule of losses as a sheet of small panels: the loss of each k-th step, and where the net had its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cse_autoloss.report.plots import draw_density, level, span, target_gradient
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.target_logits import TargetLogits

PANELS = 8
"""At most."""
ACROSS = 4
_ROOM = 1.15
"""Of the axis, times the greatest gradient."""


def steps_shown(count: int) -> list[int]:
    """Of the steps 1 to `count`, those that have a panel: the first, the last, and others evenly between."""
    if count <= PANELS:
        return list(range(1, count + 1))
    return [1 + round(place * (count - 1) / (PANELS - 1)) for place in range(PANELS)]


def plot_schedule(
    space: ParametricSpace,
    path: Sequence[Sequence[float]],
    file: Path,
    found: Mapping[int, TargetLogits],
    step: str = "epoch",
) -> None:
    """Gradient of the target's activation, a panel for each of some steps, all on the same axes.

    The curve of step n is of the loss at μ in that step, `path[n − 1]`; dashed is that of the first. The histogram is
    of the net at the step's end. A step that has none has the others' logits at 0.

    Args:
        space: whose losses they are.
        path: μ before the first step and after each, (steps + 1) x K.
        file: PNG to write.
        found: step, from 1 -> where the net has its logits at its end.
        step: what a step is called.
    """
    shown = steps_shown(len(path) - 1)
    known = {number: found[number] for number in shown if number in found}
    scale = float(getattr(space, "scale", 10.0))
    logits = torch.linspace(*span(space, known.values()), 401, dtype=torch.float64)
    rows = -(-len(shown) // ACROSS)
    figure = Figure(figsize=(2.6 * min(len(shown), ACROSS), 2.2 * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, min(len(shown), ACROSS), sharex=True, sharey=True, squeeze=False).ravel()
    top = 0.0
    for panel, number in zip(panels, shown, strict=False):
        own = known.get(number)
        classes, others = (own.classes, own.others) if own else (10, 0.0)
        for theta, style in ((path[0], "C0--"), (path[number - 1], "C1-")):
            slope = target_gradient(space, theta, logits, classes, others)
            panel.plot(logits / scale, slope, style, linewidth=1.2)
            top = max(top, float(slope.max()))
        panel.set_title(f"{step} {number}: {level(classes, others)}", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.grid(alpha=0.3)
    panels[0].set_ylim(-0.03 * top, _ROOM * max(top, 1e-9))
    for panel, number in zip(panels, shown, strict=False):
        if number in known:
            draw_density(panel, known[number], scale)
    for place in range(len(shown), len(panels)):
        panels[place].set_visible(False)
        panels[place - ACROSS].tick_params(labelbottom=True)  # the lowest of its column
    figure.supxlabel(f"target's logit / {scale:g}", fontsize=8)
    figure.supylabel("−∂L/∂x of the target", fontsize=8)
    figure.savefig(file, dpi=130)
