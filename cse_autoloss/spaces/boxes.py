"""Box losses on areas: the signature of both families' box branch, and how such a loss is called.

Source: CSE-Autoloss (Liu et al., ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.graph import Input, Signature
from cse_autoloss.operators import OPERATORS
from cse_autoloss.spaces.box_grids import along, box_grid
from cse_autoloss.spaces.checks import check_boxes
from cse_autoloss.spaces.curves import Look, ProbeGrid
from cse_autoloss.spaces.form import (
    MARKS,
    Batch,
    Evaluate,
    Form,
    Need,
    Track,
    Uniform,
    View,
    Written,
    mark_uniform,
    widened,
)

BOX_EPSILON = 1e-7
"""Added to the union and to the enclosing area, so that a quotient by them is finite."""

LARGEST_BOX = 1333.0
"""Longest side of an image that detectors are trained on, in pixels."""

SIDE = 32.0
"""Side of the target box in pictures, pixels."""

SCALES = (0.1, 1.0, 10.0)
"""Factors on all coordinates at which a box loss is compared with itself."""


def box_inputs(pred_boxes: Tensor, target_boxes: Tensor) -> dict[str, Tensor]:
    """Inputs of a box loss: areas in square pixels.

    Args:
        pred_boxes: (N, 4) xyxy; a side of negative length counts as length 0.
        target_boxes: (N, 4) xyxy.

    Returns:
        I, U and E, each (N,); 1e-7 is added to U and E.
    """
    p_low, p_high = pred_boxes[..., :2], pred_boxes[..., 2:]
    t_low, t_high = target_boxes[..., :2], target_boxes[..., 2:]
    overlap = (torch.minimum(p_high, t_high) - torch.maximum(p_low, t_low)).clamp(min=0)
    enclosing = (torch.maximum(p_high, t_high) - torch.minimum(p_low, t_low)).clamp(min=0)
    pred = (p_high - p_low).clamp(min=0)
    target = (t_high - t_low).clamp(min=0)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = pred[..., 0] * pred[..., 1] + target[..., 0] * target[..., 1] - intersection
    return {
        "I": intersection,
        "U": union + BOX_EPSILON,
        "E": enclosing[..., 0] * enclosing[..., 1] + BOX_EPSILON,
    }


Motion = Callable[[Tensor], Tensor]
"""From t in [0, 1], 1 at the target, to boxes; the target is [0, 0, 1, 1]."""


def _translation(t: Tensor) -> Tensor:
    left = (1 - t) * 1.0
    return torch.stack([left, left * 0, 1 + left, left * 0 + 1], -1)


def _growth(t: Tensor) -> Tensor:
    half = (0.1 + 0.9 * t) / 2
    return torch.stack([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], -1)


def _shrinking(t: Tensor) -> Tensor:
    half = (3 - 2 * t) / 2
    return torch.stack([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], -1)


def _interpolation(t: Tensor) -> Tensor:
    start = torch.tensor([0.55, 0.7, 1.35, 2.2], dtype=t.dtype)
    return torch.lerp(start, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=t.dtype), t.unsqueeze(-1))


_MOTIONS: tuple[tuple[str, Motion], ...] = (
    ("Slides on", _translation), ("Grows", _growth), ("Shrinks", _shrinking), ("Straight in", _interpolation)
)  # fmt: skip


class BoxForm(Form):
    """Losses of predicted and target boxes, (P, 4) xyxy in pixels each; one value for each pair."""

    moving = frozenset({"I", "U", "E"})
    needs = tuple(
        Need(names, "ignores-intersection", "formula needs I, and U or E, to see how boxes overlap")
        for names in (frozenset({"I"}), frozenset({"U", "E"}))
    )
    title = "boxes (reg)"
    reading = (
        f"A predicted box moves onto a square target of {SIDE:g} pixels a side: from afar, sliding on from the side, "
        "growing or shrinking about the same centre, or with its corners going straight to their places. A baseline "
        "of another size is drawn times a power of ten. Below stands the slope along the motion."
    )
    accepted = (
        "never rises at the {points} points looked at, on motions onto boxes of {low:g} to {high:g} px a side, falls "
        "while they overlap, and is least where they coincide"
    )
    properties = (
        ("Reads the intersection, and the union or the enclosing area", frozenset({"ignores-intersection"})),
        ("Finite along the motions", frozenset({"not-finite"})),
        (
            "Never rises while the boxes come together",
            frozenset({"constant", "rises-towards-target", "jumps"}),
        ),
        ("Least where the boxes coincide", frozenset({"least-elsewhere"})),
        ("Falls as long as the boxes overlap", frozenset({"flat-while-overlapping"})),
    )
    baselines = (("IoU", "iou"), ("GIoU", "giou"))
    fitted = True
    noun = "box"
    summary = "Box loss on the areas of intersection, union and smallest enclosing box."
    unit = " (square pixels)"

    def grid(self, look: Look) -> ProbeGrid:
        return box_grid(box_inputs, look)

    def marks(self, coupled: bool) -> ProbeGrid:
        uniform = mark_uniform()
        boxes = self._pairs(MARKS, uniform)
        return self._marks(*along(box_inputs, boxes, (2 * uniform(MARKS, 4) - 1, 2 * uniform(MARKS, 4) - 1)))

    def check(
        self,
        pred_boxes: Tensor,
        target_boxes: Tensor,
        progress: Tensor | float | None = None,
        *,
        score: Tensor | float | None = None,
    ) -> tuple[Tensor, Tensor]:
        # Progress and score are for those that read them, so that a training script can call all losses alike.
        check_boxes(pred_boxes, target_boxes)
        return widened(pred_boxes), widened(target_boxes)

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        return evaluate(box_inputs(*args)).expand(args[0].shape[:1])

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        """Boxes with sides of 1 to 1333 pixels, from equal through overlapping to disjoint."""
        areas = box_inputs(*self._pairs(count, uniform))
        return {name: value.to(dtype) for name, value in areas.items()}

    def _pairs(self, count: int, uniform: Uniform) -> tuple[Tensor, Tensor]:
        chance = uniform(count, 9)
        size = LARGEST_BOX ** chance[:, 0:2]
        low = chance[:, 2:4] * LARGEST_BOX
        # Shifts and stretches relative to the size, from none (0) to disjoint (beyond 1).
        far = (1.5 * chance[:, 8:9] - 0.1).clamp(min=0)
        shift = (2 * chance[:, 4:6] - 1) * far
        stretch = torch.exp((2 * chance[:, 6:8] - 1) * far.clamp(max=1))
        start = low + shift * size
        return torch.cat([start, start + size * stretch], -1), torch.cat([low, low + size], -1)

    def batch(self, uniform: Callable[..., Tensor]) -> Batch:
        """Pairs that overlap, pairs apart, and boxes one inside the other."""
        target = uniform(64, 4, low=0.0, high=20.0)
        target[:, 2:] += target[:, :2] + 2
        reach = torch.tensor([0.9, 6.0, 40.0, 2.0]).repeat(16)[:, None]
        moved = target + uniform(64, 4, low=-1.0, high=1.0) * reach
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 1)
        return Batch((moved, target), split=box_inputs(moved, target)["I"] > 0, alone=True)

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(6, 1)
        return {"pred_boxes": (boxes, {0: "N"}), "target_boxes": (boxes + 1, {0: "N"})}

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        far = View("From afar", "distance in sides", "∂L/∂distance", (_from_afar(),))
        return (far, *(View(title, "IoU", "∂L/∂IoU", (_over_iou(motion),)) for title, motion in _MOTIONS))

    def scales(self) -> tuple[Track, ...]:
        shades = zip(SCALES, (0.25, 0.6, 1.0), strict=True)
        return tuple(_over_iou(_translation, f"{SIDE * scale:g} px", scale, shade) for scale, shade in shades)

    def forward(self, written: Written) -> list[str]:
        lines = [
            '"""Loss of a batch.',
            "",
            "Args:",
            "    pred_boxes: (N, 4) x1, y1, x2, y2 in pixels; half precision is computed in float32.",
            "    target_boxes: (N, 4) likewise.",
            "    weight: (N,) factor of each box.",
            *(_SCORE_MEANS if "P" in written.read else ()),
            "",
            "Returns:",
            '    (N,) for reduction "none", else a scalar; the mean of no boxes is 0.',
            "",
            "Raises:",
            "    ValueError: other shapes or types.",
            '"""',
            "_checked_boxes(pred_boxes, target_boxes, weight)",
            "px1, py1, px2, py2 = _at_least_float32(pred_boxes).unbind(-1)",
            "tx1, ty1, tx2, ty2 = _at_least_float32(target_boxes).unbind(-1)",
        ]
        if written.read & {"I", "U"}:
            lines += [
                "left, top = torch.maximum(px1, tx1), torch.maximum(py1, ty1)",
                "inter = _area(left, top, torch.minimum(px2, tx2), torch.minimum(py2, ty2))",
            ]
        if "U" in written.read:
            lines.append("union = _area(px1, py1, px2, py2) + _area(tx1, ty1, tx2, ty2) - inter + 1e-7")
        if "E" in written.read:
            lines += [
                "width = torch.maximum(px2, tx2) - torch.minimum(px1, tx1)",
                "height = torch.maximum(py2, ty2) - torch.minimum(py1, ty1)",
                "enclosing = width * height + 1e-7",
            ]
        if "T" in written.read:
            lines.append("progress = self.progress")
        if "P" in written.read:
            lines += [
                "score = torch.ones_like(px1) if score is None else score.detach().to(px1.dtype)",
                "if score.shape != px1.shape:",
                '    raise ValueError(f"score must be (N,), one a box, got {tuple(score.shape)}")',
            ]
        if "G" in written.read:
            lines += ["side = _area(tx1, ty1, tx2, ty2).sqrt()", "size = side / (side + 32)"]
        lines += [
            "",
            *written.steps("px1"),
            "",
            "if weight is not None:",
            "    loss = loss * weight",
            'if self.reduction == "none":',
            "    return loss",
            'return loss.sum() if self.reduction == "sum" else loss.sum() / max(len(loss), 1)',
        ]
        return [
            "def forward(",
            *(_WITH_SCORE if "P" in written.read else (_ARGUMENTS,)),
            ") -> Tensor:",
            *(f"    {line}" for line in lines),
        ]

    def helpers(self, read: Iterable[str]) -> str:
        return (_AREA if {"I", "U", "G"} & set(read) else "") + _CHECKED


def _over_iou(motion: Motion, label: str = "", scale: float = 1.0, shade: float = 1.0) -> Track:
    t = torch.linspace(0.02, 0.995, 400, dtype=torch.float64, requires_grad=True)
    boxes = motion(t) * (SIDE * scale)
    target = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(len(t), 4) * (SIDE * scale)
    areas = box_inputs(boxes, target)
    iou = areas["I"] / areas["U"]
    (rate,) = torch.autograd.grad(iou.sum(), t, retain_graph=True)
    return Track(iou.detach(), (boxes, target), t, rate, label, shade)


def _from_afar() -> Track:
    # Not exactly one side away, where the boxes touch and losses have a kink or worse.
    distance = ((torch.arange(600, dtype=torch.float64) + 0.5) / 200).requires_grad_()
    left = distance * SIDE
    boxes = torch.stack([left, left * 0, left + SIDE, left * 0 + SIDE], -1)
    target = torch.tensor([[0.0, 0.0, SIDE, SIDE]], dtype=torch.float64).expand(len(left), 4)
    return Track(distance.detach(), (boxes, target), distance)


_ARGUMENTS = "    self, pred_boxes: Tensor, target_boxes: Tensor, weight: Tensor | None = None"
_WITH_SCORE = (
    "    self,",
    "    pred_boxes: Tensor,",
    "    target_boxes: Tensor,",
    "    weight: Tensor | None = None,",
    "    score: Tensor | None = None,",
)
_SCORE_MEANS = (
    "    score: (N,) the chance that the detector gives each box's own class, 0 to 1, without gradient;",
    "        None means 1.",
)
_AREA = """

def _area(x1: Tensor, y1: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)"""

_CHECKED = """

def _checked_boxes(pred_boxes: Tensor, target_boxes: Tensor, weight: Tensor | None) -> None:
    for name, boxes in {"pred_boxes": pred_boxes, "target_boxes": target_boxes}.items():
        if boxes.dim() != 2 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
            raise ValueError(f"{name} must be float (N, 4), got {tuple(boxes.shape)} {boxes.dtype}")
    if pred_boxes.shape != target_boxes.shape:
        got = f"{tuple(pred_boxes.shape)} and {tuple(target_boxes.shape)}"
        raise ValueError(f"each predicted box needs its target, got {got}")
    if weight is not None and weight.shape != pred_boxes.shape[:1]:
        raise ValueError(f"weight must be (N,), one a box, got {tuple(weight.shape)}")"""

_WITHOUT = frozenset({"Softmax", "Dot", "Serf", "Erfc", "Salf", "Sgdf"})

REG = Signature(
    "reg",
    (
        Input("I", 0.0, meaning="area of the intersection", latex="i", code="inter"),
        Input("U", BOX_EPSILON, meaning="area of the union", latex="u", code="union"),
        Input("E", BOX_EPSILON, meaning="area of the enclosing box", latex="e", code="enclosing"),
    ),
    tuple(name for name in OPERATORS if name not in _WITHOUT),
    "Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))",
    form=BoxForm(),
)
"""Box branch of both families: areas in square pixels; the default is GIoU."""
