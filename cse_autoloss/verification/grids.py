"""The probe grids of the three branches.

Assumed: logits out to ±100, judged in steps of 0.25 (0.5 where classes see each other) from −12 to 12; w from
0 to 1; ground truth of 8 to 64 pixels a side, boxes that start up to 2.6 sides away. A-reg holds a constant
in square pixels, so verdicts on boxes depend on that scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs
from cse_autoloss.verification.curves import Curve, ProbeGrid

GridKind = Literal["binary", "binary-coupled", "multiclass", "reg"]
FAR = (15.0, 20.0, 30.0, 50.0, 100.0)
"""Logits far out, where losses must be finite and have vanished."""
SCALE_REACH = 6.0
"""A curve's scale is its largest slope up to this logit; farther out, exploding losses would hide their
faults."""
END = 12.0
"""The slope must have vanished from this logit on."""
IOUS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
COUPLED_IOUS = (0.2, 0.5, 0.8)
COARSE_IOUS = (0.3, 0.7)
_COARSE_LOGITS = (0.5, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 30.0)


def _logits(reach: int, far: Sequence[float]) -> Tensor:
    """Logits from -far to far, 2·reach + 1 of them evenly from -12 to 12."""
    middle = torch.linspace(-END, END, 2 * reach + 1, dtype=torch.float64)
    ends = torch.tensor(sorted(far), dtype=torch.float64)
    return torch.cat((-ends.flip(0), middle, ends))


def _cls_grid(
    branch: str, curves: list[Curve], x: Tensor, inputs: dict[str, Tensor], tangent: Tensor
) -> ProbeGrid:
    rising = torch.tensor([c.role in ("positive", "background") for c in curves])
    coordinate = torch.where(rising[:, None], x, x.flip(0))
    toward = coordinate * torch.where(rising, 1.0, -1.0)[:, None].double()
    judged = torch.tensor([c.judged for c in curves])[:, None]
    return ProbeGrid(
        branch, inputs, {"X": tangent}, tuple(curves), coordinate, "x",
        step=toward.diff(dim=1),
        scale_mask=toward.abs() <= SCALE_REACH,
        end_mask=(toward >= END) & judged,
        overlap=torch.zeros_like(toward, dtype=torch.bool),
        slope_mask=judged.expand_as(toward).clone(),
    )  # fmt: skip


def _binary(x: Tensor, ious: Sequence[float], *, coarse: bool = False) -> ProbeGrid:
    """Curves of single logits. The coarse grid can't tell apart aims at different w: it has no families."""
    curves = [Curve("positive", "y=1, w=1", 1.0), Curve("negative", "y=0")]
    curves += [Curve("positive", f"y=1, w={w:g}", w, f"w={w:g}" if coarse else "") for w in ious]
    if not coarse:
        curves.append(Curve("positive", "y=1, w=0", 0.0, judged=False))
    points = x.numel()
    positive = torch.tensor([c.role == "positive" for c in curves]).double()
    iou = torch.tensor([c.iou for c in curves]).double() * positive

    def rows(per_curve: Tensor) -> Tensor:
        return per_curve.repeat_interleave(points)

    sign = rows(positive * 2 - 1)
    inputs = {
        "X": x.repeat(len(curves)) * sign, "Q": rows(iou), "PY": rows(positive), "NY": rows(1 - positive)
    }  # fmt: skip
    return _cls_grid("cls-binary", curves, x, inputs, sign)


def _coupled(
    branch: str, x: Tensor, plan: Sequence[tuple[Curve, int, int, Sequence[float]]], columns: int
) -> ProbeGrid:
    """Curves of samples with several classes; `plan`: (curve, target, moving column, standing logits)."""
    points = x.numel()
    logits, targets, ious, tangents = [], [], [], []
    for curve, target, moving, standing in plan:
        sign = 1.0 if curve.role in ("positive", "background") else -1.0
        rows = torch.tensor(standing, dtype=torch.float64).repeat(points, 1)
        rows[:, moving] = x * sign
        direction = torch.zeros(points, columns, dtype=torch.float64)
        direction[:, moving] = sign
        logits.append(rows)
        tangents.append(direction)
        targets.append(torch.full((points,), target))
        ious.append(torch.full((points,), curve.iou, dtype=torch.float64))
    make = binary_inputs if branch == "cls-binary" else multiclass_inputs
    inputs = make(torch.cat(logits), torch.cat(targets), torch.cat(ious))
    return _cls_grid(branch, [c for c, *_ in plan], x, inputs, torch.cat(tangents))


def _words(context: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in context)


def _binary_coupled(x: Tensor, ious: Sequence[float], contexts: Sequence[Sequence[float]]) -> ProbeGrid:
    """Samples of three classes; `contexts` are the logits that stand beside the moving one."""
    plan: list[tuple[Curve, int, int, Sequence[float]]] = []
    for others in contexts:
        family = f"others {_words(others)}"
        standing = (0.0, *others)
        plan.append((Curve("positive", f"y=1, w=1, {family}", 1.0, family), 0, 0, standing))
        plan.append((Curve("negative", f"background, {family}", 1.0, family), 3, 0, standing))
        plan.append((Curve("other", f"y=0 at a positive, {family}", 1.0, family), 1, 0, standing))
        plan += [(Curve("positive", f"y=1, w={w:g}, {family}", w, family), 0, 0, standing) for w in ious]
    others = contexts[0]
    plan.append((Curve("other", "y=0 at a positive, w=0.5", 0.5), 1, 0, (0.0, *others)))
    plan.append((Curve("positive", "y=1, w=0", 0.0, judged=False), 0, 0, (0.0, *others)))
    return _coupled("cls-binary", x, plan, 3)


def _multiclass(x: Tensor, ious: Sequence[float], contexts: Sequence[Sequence[float]]) -> ProbeGrid:
    """Samples of two classes and the background, column 2."""
    plan: list[tuple[Curve, int, int, Sequence[float]]] = []
    for others in contexts:
        family = f"others {_words(others)}"
        a, b = others
        plan.append((Curve("positive", f"true logit, w=1, {family}", 1.0, family), 0, 0, (0.0, a, b)))
        plan.append((Curve("background", f"background's logit, {family}", 1.0, family), 2, 2, (a, b, 0.0)))
        plan.append((Curve("other", f"other class's logit, w=1, {family}", 1.0, family), 1, 0, (0.0, a, b)))
        plan.append(
            (Curve("other", f"background's logit at a positive, {family}", 1.0, family), 0, 2, (a, b, 0.0))
        )
        plan.append(
            (Curve("negative", f"class's logit at background, {family}", 1.0, family), 2, 0, (0.0, a, b))
        )
        plan += [
            (Curve("positive", f"true logit, w={w:g}, {family}", w, family), 0, 0, (0.0, a, b)) for w in ious
        ]
    a, b = contexts[0]
    plan.append((Curve("other", "other class's logit, w=0.5", 0.5), 1, 0, (0.0, a, b)))
    plan.append((Curve("positive", "true logit, w=0", 0.0, judged=False), 0, 0, (0.0, a, b)))
    return _coupled("cls-multiclass", x, plan, 3)


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


def _reg(points: int, sizes: Sequence[tuple[float, float]], starts: Sequence[int]) -> ProbeGrid:
    """Straight interpolations of the coordinates: translations and concentric scalings are among them."""
    curves, target, first = [], [], []
    for width, height in sizes:
        for index in starts:
            name, dx, dy, sx, sy = _STARTS[index]
            curves.append(Curve("motion", f"{name}, onto {width:g}x{height:g} px"))
            half = torch.tensor([width, height], dtype=torch.float64) / 2
            scale, shift = torch.tensor([sx, sy]).double(), torch.tensor([dx, dy]).double() * half * 2
            target.append(torch.cat((-half, half)))
            first.append(torch.cat((shift - half * scale, shift + half * scale)))
    truth, start = torch.stack(target)[:, None], torch.stack(first)[:, None]
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    boxes = start + t[:, None] * (truth - start)
    moved = torch.func.jvp(
        lambda moving: box_inputs(moving, truth.expand_as(moving)),
        (boxes,),
        ((truth - start).expand_as(boxes),),
    )
    inputs, tangents = moved[0], moved[1]
    shape = (len(curves), points)
    before_end = (t < 1).expand(shape)
    return ProbeGrid(
        "reg",
        {name: value.reshape(-1) for name, value in inputs.items()},
        {name: value.reshape(-1) for name, value in tangents.items()},
        tuple(curves),
        inputs["I"] / inputs["U"],
        "i/u",
        step=t.diff().expand(len(curves), -1),
        scale_mask=before_end,
        end_mask=torch.zeros(shape, dtype=torch.bool),
        overlap=inputs["I"] > 1e-6 * inputs["U"],
        slope_mask=before_end,
    )


def _with_partials(grid: ProbeGrid) -> ProbeGrid:
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
    inputs = box_inputs(boxes, torch.cat((-half, half)).expand(points, 4))
    names = ("I", "U", "E")
    curves = [Curve("motion", f"gradient by {name}, onto 16x40 px", judged=False) for name in names]
    none = torch.zeros(len(names), points, dtype=torch.bool)
    units = {name: torch.tensor([float(name == by) for by in names]).double() for name in names}
    return ProbeGrid(
        grid.branch,
        {name: torch.cat((grid.inputs[name], inputs[name].repeat(len(names)))) for name in names},
        {name: torch.cat((grid.tangents[name], units[name].repeat_interleave(points))) for name in names},
        (*grid.curves, *curves),
        torch.cat((grid.coordinate, (inputs["I"] / inputs["U"]).expand(len(names), -1))),
        grid.coordinate_name,
        torch.cat((grid.step, grid.step[: len(names)])),
        torch.cat((grid.scale_mask, none)),
        torch.cat((grid.end_mask, none)),
        torch.cat((grid.overlap, none)),
        torch.cat((grid.slope_mask, none)),
    )


_CONTEXTS = ((0.0, 0.0), (2.0, -3.0), (-4.0, -2.0))


def _coarse(kind: GridKind) -> ProbeGrid:
    """Four curves of 16 points: what most random candidates fail on."""
    if kind == "reg":
        return _reg(16, _SIZES[1:2], (0, 1, 4, 6))
    half = torch.tensor(_COARSE_LOGITS, dtype=torch.float64)
    x = torch.cat((-half.flip(0), half))
    if kind == "binary":
        return _binary(x, COARSE_IOUS, coarse=True)
    standing = (0.0, 2.0, -3.0)
    if kind == "binary-coupled":
        return _coupled("cls-binary", x, [
            (Curve("positive", "y=1, w=1, others 2, -3", 1.0, "a"), 0, 0, standing),
            (Curve("negative", "background, others 2, -3", 1.0, "a"), 3, 0, standing),
            (Curve("other", "y=0 at a positive, others 2, -3"), 1, 0, standing),
            (Curve("positive", "y=1, w=0.5, others 2, -3", 0.5), 0, 0, standing),
        ], 3)  # fmt: skip
    return _coupled("cls-multiclass", x, [
        (Curve("positive", "true logit, w=1, others 2, -3", 1.0, "a"), 0, 0, standing),
        (Curve("other", "other class's logit, w=1, others 2, -3"), 1, 0, standing),
        (Curve("negative", "class's logit at background, others 2, -3", 1.0, "a"), 2, 0, standing),
        (Curve("background", "background's logit, others 0, 2", 1.0, "a"), 2, 2, standing),
    ], 3)  # fmt: skip


@lru_cache(maxsize=32)
def probe_grid(kind: GridKind, fine: bool, dtype: torch.dtype, device: str = "cpu") -> ProbeGrid:
    """The grid for a kind of candidate.

    Args:
        kind: "binary" for the binary branch; "binary-coupled" for its candidates with Softmax, which lets the
            classes of a sample see each other; "multiclass"; "reg".
        fine: the grid that decides, of some 1,000 points; else the coarse one of 64, which throws away
            what is plainly wrong.
        dtype, device: of the inputs.
    """
    if not fine:
        grid = _coarse(kind)
    elif kind == "binary":
        grid = _binary(_logits(48, FAR), IOUS)
    elif kind == "binary-coupled":
        grid = _binary_coupled(_logits(24, FAR), COUPLED_IOUS, _CONTEXTS)
    elif kind == "multiclass":
        grid = _multiclass(_logits(24, FAR), COUPLED_IOUS, _CONTEXTS)
    else:
        grid = _with_partials(_reg(33, _SIZES, range(len(_STARTS))))
    return grid.to(dtype, device)
