"""Pictures of a search: μ over the epochs, and the gradient of the target's activation for the losses that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cse_autoloss.spaces.parametric import ParametricSpace

_TITLES = {"a_t": "slopes of t", "b_t": "biases of t", "a_tau": "slopes of τ", "b_tau": "biases of τ"}

MOST_NAMED = 12
"""Curves of a panel that a legend names: that of more would lie over them."""


def plot_mu(space: ParametricSpace, path: Sequence[Sequence[float]], file: Path) -> None:
    """μ over the epochs, a panel for each group of parameters (name before the bracket), as AM-LFS's figure
    3.

    Args:
        space: names the parameters.
        path: μ before the first epoch and after each, (epochs + 1) x K.
        file: PNG to write.
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
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        if len(indices) <= MOST_NAMED:
            panel.legend(fontsize=7, frameon=False)
    panels[0].set_ylabel("mean μ")
    figure.savefig(file, dpi=130)


def target_gradient(
    space: ParametricSpace, theta: Sequence[float], logits: torch.Tensor, classes: int = 10
) -> torch.Tensor:
    """−∂L/∂x_y at given target logits x_y, the other classes' logits at 0: (N,)."""
    rows = torch.zeros(len(logits), classes, dtype=torch.float64)
    rows[:, 0] = logits
    rows.requires_grad_()
    values = space.loss(rows, torch.zeros(len(rows), dtype=torch.int64), torch.tensor(list(theta)))
    (slope,) = torch.autograd.grad(values.sum(), rows)
    return -slope[:, 0]


def plot_gradient(
    space: ParametricSpace, losses: Mapping[str, Sequence[float]], file: Path, classes: int = 10
) -> None:
    """Size of the gradient of the target's activation over that activation, as AM-LFS's figure 4.

    Args:
        space: whose losses they are.
        losses: label -> θ (K,); labels of one θ share a curve. The first is drawn dashed.
        file: PNG to write.
        classes: of the rows, the others' logits at 0.
    """
    scale = float(getattr(space, "scale", 10.0))
    logits = torch.linspace(-scale, scale, 801, dtype=torch.float64)
    labels: dict[tuple[float, ...], list[str]] = {}
    for label, theta in losses.items():
        labels.setdefault(tuple(theta), []).append(label)
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for theta, style in zip(labels, ("--", *["-"] * len(losses)), strict=False):
        slope = target_gradient(space, theta, logits, classes)
        panel.plot(logits / scale, slope, style, label=", ".join(labels[theta]))
    panel.set_xlabel(f"target's logit / {scale:g}, {classes - 1} others at 0")
    panel.set_ylabel("−∂L/∂x of the target")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    figure.savefig(file, dpi=130)
