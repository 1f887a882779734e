"""How well the space of AM-LFS holds losses that people know, as the paper's figure 1."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cse_autoloss.losses.margin import ArcFace, ASoftmax, CosFace, LSoftmax
from cse_autoloss.spaces.am_lfs import AmLfs, Curve

T_CURVES: dict[str, Curve] = {
    "L-softmax": LSoftmax().margin,
    "A-softmax": ASoftmax().margin,
    "CosFace": CosFace().margin,
    "ArcFace": ArcFace().margin,
}
"""t of cosines."""
TAU_CURVES: dict[str, Curve] = {
    "focal, γ = 1": lambda p: p ** (1 - p),
    "focal, γ = 2": lambda p: p ** ((1 - p) ** 2),
}
"""τ of probabilities: −log τ is the loss."""


def errors(space: AmLfs) -> dict[str, float]:
    """Greatest distance of the space's nearest curve by chords from each known one, once the space's rule holds."""
    return {name: float((exact - held).abs().max()) for name, (_, exact, held) in _lines(space).items()}


def plot_approximation(space: AmLfs, file: Path) -> None:
    """Known curves and what the space makes of them, bounded form; PNG to write."""
    lines, off = _lines(space), errors(space)
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for panel, names, axis in ((panels[0], T_CURVES, "cos θ"), (panels[1], TAU_CURVES, "p")):
        for number, name in enumerate(names):
            x, exact, held = lines[name]
            panel.plot(x, exact, color=f"C{number}", linewidth=1)
            panel.plot(
                x, held, "--", color=f"C{number}", linewidth=1.4, label=f"{name}: off by {off[name]:.2g}"
            )
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7, frameon=False)
    panels[0].set_title(f"t, {space.intervals} intervals (dashed) and exact")
    panels[1].set_title("τ")
    figure.savefig(file, dpi=130)


def _lines(space: AmLfs) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Places, the exact curve and the space's."""
    cosine = torch.linspace(-1, 1, 801, dtype=torch.float64)
    lines = {}
    for name, curve in T_CURVES.items():
        lines[name] = cosine, curve(cosine), space.t(cosine, space.approximate(t=curve))
    p = torch.linspace(0, 1, 801, dtype=torch.float64)
    for name, curve in TAU_CURVES.items():
        lines[name] = p, curve(p), space.tau(p, space.approximate(tau=curve))
    return lines
