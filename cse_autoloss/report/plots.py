"""Pictures of a search: μ over the epochs, and the gradient of the target's activation for the losses that matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.target_logits import TargetLogits

_TITLES = {"a_t": "slopes of t", "b_t": "biases of t", "a_tau": "slopes of τ", "b_tau": "biases of τ"}

MOST_NAMED = 12
"""Curves of a panel that a legend names: that of more would lie over them."""


def plot_mu(space: ParametricSpace, path: Sequence[Sequence[float]], file: Path, step: str = "epoch") -> None:
    """μ over the epochs, a panel for each group of parameters (name before the bracket), as AM-LFS's figure
    3.

    Args:
        space: names the parameters.
        path: μ before the first epoch and after each, (epochs + 1) x K.
        file: PNG to write.
        step: what μ moves after: an epoch, or a generation of whole trainings.
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(space.parameters):
        groups.setdefault(name.partition("[")[0], []).append(index)
    figure = Figure(figsize=(4.2 * len(groups), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (group, indices) in zip(panels, groups.items(), strict=True):
        for index in indices:
            panel.plot([mu[index] for mu in path], label=space.parameters[index], linewidth=1.4)
        panel.set_title(_TITLES.get(group, group))
        panel.set_xlabel(step)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        if len(indices) <= MOST_NAMED:
            panel.legend(fontsize=7, frameon=False)
    panels[0].set_ylabel("mean μ")
    figure.savefig(file, dpi=130)


def target_gradient(
    space: ParametricSpace,
    theta: Sequence[float],
    logits: torch.Tensor,
    classes: int = 10,
    others: float = 0.0,
) -> torch.Tensor:
    """−∂L/∂x_y at given target logits x_y, the other classes' logits at `others`: (N,)."""
    rows = torch.full((len(logits), classes), others, dtype=torch.float64)
    rows[:, 0] = logits
    rows.requires_grad_()
    values = space.loss(rows, torch.zeros(len(rows), dtype=torch.int64), torch.tensor(list(theta)))
    (slope,) = torch.autograd.grad(values.sum(), rows)
    return -slope[:, 0]


def span(space: ParametricSpace, found: Iterable[TargetLogits]) -> tuple[float, float]:
    """Logits that a picture shows: the space's own range, and wherever a net has its logits."""
    scale = float(getattr(space, "scale", 10.0))
    ends = [(one.low, one.high) for one in found]
    return min([-scale, *(low for low, _ in ends)]), max([scale, *(high for _, high in ends)])


def draw_density(panel: Axes, found: TargetLogits, scale: float) -> None:
    """A histogram behind a panel's curves, of no axis of its own; to be drawn when the panel's y axis is settled.

    It stands on the panel's 0, and the fullest bin is three quarters as high as the panel.
    """
    low, high = panel.get_ylim()
    panel.set_ylim(low, high)
    back = panel.twinx()
    edges = torch.linspace(found.low, found.high, len(found.counts) + 1, dtype=torch.float64) / scale
    back.stairs(found.counts, edges.numpy(), fill=True, color="0.85")
    top = max(found.counts) / 0.75
    back.set_ylim(top * low / high, top)
    back.set_yticks([])
    back.set_zorder(panel.get_zorder() - 1)
    panel.patch.set_visible(False)


def plot_gradient(
    space: ParametricSpace,
    losses: Mapping[str, Sequence[float]],
    file: Path,
    found: TargetLogits | None = None,
) -> None:
    """Size of the gradient of the target's activation over that activation, as AM-LFS's figure 4.

    Args:
        space: whose losses they are.
        losses: label -> θ (K,); labels of one θ share a curve. The first is drawn dashed.
        file: PNG to write.
        found: where a net has its logits, drawn behind; the others' are at the level that it gives them. Without it
            there are nine others, at 0.
    """
    scale, known = float(getattr(space, "scale", 10.0)), [found] if found else []
    logits = torch.linspace(*span(space, known), 801, dtype=torch.float64)
    classes, others = (found.classes, found.others) if found else (10, 0.0)
    labels: dict[tuple[float, ...], list[str]] = {}
    for label, theta in losses.items():
        labels.setdefault(tuple(theta), []).append(label)
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for theta, style in zip(labels, ("--", *["-"] * len(losses)), strict=False):
        slope = target_gradient(space, theta, logits, classes, others)
        panel.plot(logits / scale, slope, style, label=", ".join(labels[theta]))
    if found:
        draw_density(panel, found, scale)
        panel.fill_between([], [], color="0.85", label="training images")
    panel.set_xlabel(f"target's logit / {scale:g}; {level(classes, others)}")
    panel.set_ylabel("−∂L/∂x of the target")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(file, dpi=130)


def level(classes: int, others: float) -> str:
    """Where the others are, in words."""
    return f"{classes - 1} others at {round(others, 1) + 0.0:g}"
