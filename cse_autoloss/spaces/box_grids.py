"""Probe grids of box losses: motions of a predicted box onto its ground truth.

Assumed: ground truth of 8 to 64 pixels a side, boxes that start up to 2.6 sides away. A-reg holds a constant in square
pixels, so verdicts on boxes depend on that scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cse_autoloss.spaces.curves import Curve, ProbeGrid, Words

Inputs = Callable[[Tensor, Tensor], dict[str, Tensor]]

LONGEST = 0.05
"""Steps up to this share of a motion resolve a loss."""

_WORDS = Words(
    rises=("rises-towards-target", "loss rises as the boxes come together"),
    everywhere=", in {figure:.0%} of all steps",
    amount="",
    flat=("flat-while-overlapping", "loss does not fall while the boxes overlap"),
    constant="boxes",
    end="the boxes coincide",
)

_SIZES = ((8.0, 8.0), (16.0, 40.0), (64.0, 24.0), (48.0, 48.0))
"""Widths and heights of ground-truth boxes, pixels."""
_STARTS: tuple[tuple[str, float, float, float, float], ...] = (
    ("from a smaller box", 0.0, 0.0, 0.3, 0.3),
    ("from a larger box", 0.0, 0.0, 2.5, 2.5),
    ("from another aspect", 0.0, 0.0, 0.5, 1.8),
    ("from the side, overlapping", 0.6, 0.0, 1.0, 1.0),
    ("from the corner, overlapping", -0.5, 0.4, 1.0, 1.0),
    ("from apart, along a side", 0.0, 2.2, 1.0, 1.0),
    ("from apart, diagonally", 1.7, -1.6, 1.0, 1.0),
    ("from a smaller box apart", -1.4, 0.5, 0.6, 0.4),
    ("from a larger box apart", 2.6, 1.0, 1.7, 1.4),
    ("from a box around it, off centre", 0.3, 0.2, 2.2, 1.6),
    ("from a box inside it, off centre", 0.2, -0.25, 0.4, 0.3),
)
"""Motions: centre's offset and size of the first box, in widths and heights of the ground truth."""


def _motions(
    make: Inputs, points: int, sizes: Sequence[tuple[float, float]], starts: Sequence[int]
) -> ProbeGrid:
    """Straight interpolations of the coordinates: translations and concentric scalings are among them."""
    curves, target, first = [], [], []
    for width, height in sizes:
        for index in starts:
            name, dx, dy, sx, sy = _STARTS[index]
            curves.append(Curve("motion", f"{name}, onto {width:g}x{height:g} px", _WORDS))
            half = torch.tensor([width, height], dtype=torch.float64) / 2
            scale, shift = torch.tensor([sx, sy]).double(), torch.tensor([dx, dy]).double() * half * 2
            target.append(torch.cat((-half, half)))
            first.append(torch.cat((shift - half * scale, shift + half * scale)))
    truth, start = torch.stack(target)[:, None], torch.stack(first)[:, None]
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    boxes = start + t[:, None] * (truth - start)
    moved = torch.func.jvp(
        lambda moving: make(moving, truth.expand_as(moving)),
        (boxes,),
        ((truth - start).expand_as(boxes),),
    )
    inputs, tangents = moved[0], moved[1]
    shape = (len(curves), points)
    before_end = (t < 1).expand(shape)
    overlap = inputs["I"] > 1e-6 * inputs["U"]
    return ProbeGrid(
        "reg",
        "fall",
        {name: value.reshape(-1) for name, value in inputs.items()},
        {name: value.reshape(-1) for name, value in tangents.items()},
        tuple(curves),
        inputs["I"] / inputs["U"],
        "i/u",
        step=t.diff().expand(len(curves), -1),
        scale_mask=overlap,
        end_mask=torch.zeros(shape, dtype=torch.bool),
        falls=overlap,
        slope_mask=before_end,
        longest=LONGEST,
    )


def _with_partials(make: Inputs, grid: ProbeGrid) -> ProbeGrid:
    """Three curves more, where the gradients by I, U and E must be finite one by one, as backpropagation
    needs.

    Along a motion they are added up first, times 0 where boxes are apart. Here boxes stand on the target and
    3 sides away from it, at 1e-4 to 30 times its size.
    """
    points = grid.shape[1]
    half = torch.tensor([8.0, 20.0], dtype=torch.float64)
    scale = torch.logspace(-4, 1.5, points // 2, dtype=torch.float64)
    scale = torch.cat((scale, scale, torch.ones(points - 2 * len(scale), dtype=torch.float64)))[:, None]
    centre = torch.where(torch.arange(points) < points // 2, 6.0, 0.0)[:, None] * half
    boxes = torch.cat((centre - scale * half, centre + scale * half), 1)
    inputs = make(boxes, torch.cat((-half, half)).expand(points, 4))
    names = ("I", "U", "E")
    curves = [Curve("motion", f"gradient by {name}, onto 16x40 px", _WORDS, judged=False) for name in names]
    none = torch.zeros(len(names), points, dtype=torch.bool)
    units = {name: torch.tensor([float(name == by) for by in names]).double() for name in names}
    return replace(
        grid,
        inputs={name: torch.cat((grid.inputs[name], inputs[name].repeat(len(names)))) for name in names},
        tangents={
            name: torch.cat((grid.tangents[name], units[name].repeat_interleave(points))) for name in names
        },
        curves=(*grid.curves, *curves),
        coordinate=torch.cat((grid.coordinate, (inputs["I"] / inputs["U"]).expand(len(names), -1))),
        step=torch.cat((grid.step, grid.step[: len(names)])),
        scale_mask=torch.cat((grid.scale_mask, none)),
        end_mask=torch.cat((grid.end_mask, none)),
        falls=torch.cat((grid.falls, none)),
        slope_mask=torch.cat((grid.slope_mask, none)),
    )


def box_grid(make: Inputs, *, fine: bool) -> ProbeGrid:
    """The grids of box losses: four curves of 16 points, or all motions onto all sizes."""
    if fine:
        return _with_partials(make, _motions(make, 33, _SIZES, range(len(_STARTS))))
    return _motions(make, 16, _SIZES[1:2], (0, 1, 4, 6))
