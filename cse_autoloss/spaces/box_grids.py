"""Probe grids of box losses: motions of a predicted box onto its ground truth.

Assumed: ground truth of `Look.pixels` a side, by default 0.5 to 2,000, boxes that start up to 2.6 sides away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cse_autoloss.spaces.curves import Curve, Look, ProbeGrid, Words

Inputs = Callable[[Tensor, Tensor], dict[str, Tensor]]

LONGEST = 0.06
"""Steps up to this share of a motion resolve a loss."""

_WORDS = Words(
    rises=("rises-towards-target", "loss rises as the boxes come together"),
    everywhere=", in {figure:.0%} of all steps",
    amount="",
    flat=("flat-while-overlapping", "loss does not fall while the boxes overlap"),
    constant="boxes",
    end="the boxes coincide",
)

STRATA = 4
"""Each motion is looked at on boxes of so many sizes, one from each equal part of the range's logarithm."""
LONGER = 2.5
"""Largest ratio of a ground-truth box's sides."""
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
    ("from a thin box across its corner", 2.2, 0.47, 3.5, 0.13),
    ("from a thin box through it", -0.3, 0.1, 0.13, 3.5),
)
"""Motions: centre's offset and size of the first box, in widths and heights of the ground truth."""


def _sizes(look: Look, motions: int) -> Tensor:
    """(STRATA, motions, 2) sides of ground-truth boxes: no two alike, squares of the least and the largest among them.

    Within a stratum the motions have sizes at even, jittered steps of the logarithm, in an order that the seed decides.
    """
    low, high = (math.log(side) for side in look.pixels)
    steps = torch.linspace(0, 1, motions, dtype=torch.float64)
    sizes = []
    for stratum in range(STRATA):
        share = look.jittered(steps, 2 * stratum) if motions > 2 else steps
        longer = look.uniform(motions, salt=100 + stratum) * (math.log(LONGER) / 2)
        longer[[0, -1]] = 0.0
        middle = low + (high - low) * (stratum + share) / STRATA
        sides = torch.stack((middle + longer, middle - longer), -1).clamp(low, high).exp()
        sizes.append(sides[look.uniform(motions, salt=200 + stratum).argsort()])
    return torch.stack(sizes)


def along(
    make: Inputs, boxes: tuple[Tensor, Tensor], motions: tuple[Tensor, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs of pairs of boxes (..., 4), and how each rises where the coordinates move by `motions` (..., 4).

    Each input is of one pair of boxes alone, so that backpropagating its sum gives all its slopes. (`torch.func.jvp`
    says the same, and imports torch's compiler for it.)
    """
    moving = [one.detach().requires_grad_() for one in boxes]
    inputs = make(*moving)
    tangents = {}
    for name, value in inputs.items():
        slopes = torch.autograd.grad(value.sum(), moving, retain_graph=True, materialize_grads=True)
        tangents[name] = sum((g * m for g, m in zip(slopes, motions, strict=True)), boxes[0] * 0).sum(-1)
    return {name: value.detach() for name, value in inputs.items()}, tangents


def _motions(make: Inputs, points: int, look: Look, starts: Sequence[int], *, each: bool) -> ProbeGrid:
    """Straight interpolations of the coordinates: translations and concentric scalings are among them.

    `each`: every motion onto a box of each stratum; else onto one box.
    """
    curves, target, first = [], [], []
    for stratum, row in enumerate(_sizes(look, len(starts)).tolist()):
        for place, index in enumerate(starts):
            if not each and place != stratum:
                continue
            width, height = row[place]
            name, dx, dy, sx, sy = _STARTS[index]
            curves.append(Curve("motion", f"{name}, onto {width:.3g}x{height:.3g} px", _WORDS))
            half = torch.tensor([width, height], dtype=torch.float64) / 2
            scale, shift = torch.tensor([sx, sy]).double(), torch.tensor([dx, dy]).double() * half * 2
            target.append(torch.cat((-half, half)))
            first.append(torch.cat((shift - half * scale, shift + half * scale)))
    truth, start = torch.stack(target)[:, None], torch.stack(first)[:, None]
    t = look.jittered(torch.linspace(0, 1, points, dtype=torch.float64), 300)
    t = look.nearing(t)
    boxes = start + t[:, None] * (truth - start)
    inputs, tangents = along(
        make, (boxes, truth.expand_as(boxes)), ((truth - start).expand_as(boxes), truth * 0)
    )
    shape = (len(curves), len(t))
    before_end = (t < 1).expand(shape)
    # Where boxes touch, −log(i/u) and its like have no slope to speak of.
    overlap = inputs["I"] > 1e-3 * inputs["U"]
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
        falls=overlap & look.far(t),
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


def box_grid(make: Inputs, look: Look) -> ProbeGrid:
    """The grids of box losses: four curves of 16 points, or all motions onto boxes of all strata."""
    if look.fine:
        return _with_partials(make, _motions(make, 33, look, range(len(_STARTS)), each=True))
    return _motions(make, 16, look, (0, 1, 4, 6), each=False)
