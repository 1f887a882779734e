"""The numbers behind the pictures: loss and slope along one line through a branch's inputs.

- classification: over the logit, at y = 1 (for several IoUs) and at y = 0;
- boxes: over the IoU while a box moves onto its target, and over the distance where the two are apart;
- margin softmax: over the cosine to the own class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cse_autoloss.losses import ReducedLoss, load_loss

IOUS = (0.25, 0.5, 0.75, 1.0)
"""w at which an IoU-aware loss is drawn."""

SIDE = 32.0
"""Side of the target box in pixels."""

SCALES = (0.1, 1.0, 10.0)
"""Factors on all coordinates at which a box loss is compared with itself."""

_BASELINES = {
    "cls-binary": ("bce", "focal"),
    "cls-multiclass": ("cross-entropy", "softmax-focal"),
    "reg": ("iou", "giou"),
    "margin": (),
}
_SHORT = {"bce": "BCE", "cross-entropy": "CE", "iou": "IoU", "giou": "GIoU"}
_SHORT |= {"focal": "focal", "softmax-focal": "focal"}


@dataclass(frozen=True, eq=False)
class Line:
    """One loss along a walk.

    Attributes:
        label: short, drawn at the line.
        role: "loss" for the explained one, "baseline" for one drawn beside it.
        x: (K,) where, in the panel's unit.
        loss: (K,) value.
        slope: (K,) its derivative by x.
        shade: 0 to 1, how strongly the line is drawn: w for the lines of several IoUs.
    """

    label: str
    role: str
    x: Tensor
    loss: Tensor
    slope: Tensor
    shade: float = 1.0


@dataclass(frozen=True, eq=False)
class Panel:
    """Lines that share their axes.

    Attributes:
        title: what moves.
        x_label: name of the horizontal axis, with its unit.
        slope_label: name of the derivative.
        lines: baselines first.
    """

    title: str
    x_label: str
    slope_label: str
    lines: tuple[Line, ...]


def panels(loss: ReducedLoss) -> tuple[Panel, ...]:
    """The panels of a loss's branch; `loss` must have reduction "none"."""
    if loss.branch == "reg":
        return _box_panels(loss)
    if loss.branch == "margin":
        return _margin_panels(loss)
    return _logit_panels(loss)


def baselines(branch: str) -> list[tuple[str, ReducedLoss]]:
    """Short names and modules of the losses that are drawn beside one of that branch."""
    return [(_SHORT[name], load_loss(name, reduction="none")) for name in _BASELINES[branch]]


def scale_lines(loss: ReducedLoss) -> tuple[Line, ...]:
    """A box loss while the box slides onto its target, with all coordinates times each of SCALES."""
    return tuple(
        _over_iou(loss, _translation, f"{SIDE * scale:g} px", "loss", scale, shade)
        for scale, shade in zip(SCALES, (0.25, 0.6, 1.0), strict=True)
    )


def scale_dependence(loss: ReducedLoss) -> float:
    """Largest difference between a loss at SCALES, as a share of its range at scale 1; 0 means none."""
    small, middle, large = (line.loss for line in scale_lines(loss))
    span = (middle.max() - middle.min()).item()
    apart = max((small - middle).abs().max().item(), (large - middle).abs().max().item())
    return apart / span if span > 0 else 0.0


def is_iou_aware(loss: ReducedLoss) -> bool:
    """Whether a positive's loss depends on w."""
    if loss.branch in ("reg", "margin"):
        return False
    logits = torch.tensor([[0.7, -0.4, 0.2]], dtype=torch.float64)
    low, high = (loss(logits, torch.tensor([0]), torch.tensor([w])) for w in (0.3, 0.8))
    return not torch.equal(low, high)


def _logit_panels(loss: ReducedLoss) -> tuple[Panel, ...]:
    x = torch.linspace(-6, 6, 481, dtype=torch.float64)
    others = baselines(loss.branch)
    ious = IOUS if is_iou_aware(loss) else (1.0,)
    own = [_over_logit(module, x, True, 1.0, name, "baseline") for name, module in others]
    own += [
        _over_logit(loss, x, True, w, f"w = {w:g}" if len(ious) > 1 else "this loss", "loss") for w in ious
    ]
    rest = [_over_logit(module, x, False, 1.0, name, "baseline") for name, module in others]
    rest.append(_over_logit(loss, x, False, 1.0, "this loss", "loss"))
    if loss.branch == "cls-binary":
        names = ("Positive: y = 1", "Negative: y = 0", "logit x")
    else:
        names = ("The true class's logit", "A wrong class's logit", "logit x, all others 0")
    return (
        Panel(names[0], names[2], "∂L/∂x", _without_doubles(own)),
        Panel(names[1], names[2], "∂L/∂x", _without_doubles(rest)),
    )


def _over_logit(loss: ReducedLoss, x: Tensor, own: bool, w: float, label: str, role: str) -> Line:
    columns = 1 if loss.branch == "cls-binary" else 3
    logits = torch.zeros(len(x), columns, dtype=torch.float64)
    logits[:, 0] = x
    logits.requires_grad_()
    target = torch.full((len(x),), 0 if own else 1)
    values = loss(logits, target, torch.full((len(x),), w, dtype=torch.float64)).reshape(len(x))
    slope = _slope(values, logits)[:, 0]
    return Line(label, role, x, values.detach(), slope, w)


def _slope(values: Tensor, by: Tensor) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(by)
    return torch.autograd.grad(values.sum(), by)[0]


def _without_doubles(lines: list[Line]) -> tuple[Line, ...]:
    """Lines that lie on one another become one, with both names; the loss itself is kept rather than a baseline."""
    kept: list[Line] = []
    for line in sorted(lines, key=lambda line: line.role == "baseline"):
        twin = next((other for other in kept if torch.allclose(other.loss, line.loss, atol=1e-6)), None)
        if twin is None:
            kept.append(line)
        else:
            kept[kept.index(twin)] = replace(twin, label=f"{twin.label} = {line.label}")
    return tuple(sorted(kept, key=lambda line: line.role == "loss"))


# --- boxes

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


def _box_panels(loss: ReducedLoss) -> tuple[Panel, ...]:
    mine = _over_iou(loss, _translation, "this loss", "loss")
    factors = {name: _fitting(module, mine) for name, module in baselines("reg")}

    def beside(draw: Callable[[ReducedLoss, str, str], Line]) -> tuple[Line, ...]:
        lines = []
        for name, module in baselines("reg"):
            factor = factors[name]
            line = draw(module, name if factor == 1 else f"{factor:g} × {name}", "baseline")
            lines.append(replace(line, loss=factor * line.loss, slope=factor * line.slope))
        return _without_doubles([*lines, draw(loss, "this loss", "loss")])

    over_iou = [
        ("Slides on", _translation),
        ("Grows", _growth),
        ("Shrinks", _shrinking),
        ("Straight in", _interpolation),
    ]
    drawn = [
        Panel(title, "IoU", "∂L/∂IoU", beside(lambda m, n, r, motion=motion: _over_iou(m, motion, n, r)))  # type: ignore[misc]
        for title, motion in over_iou
    ]
    far = Panel("From afar", "distance in sides", "∂L/∂distance", beside(_over_distance))
    return (far, *drawn)


def _fitting(baseline: ReducedLoss, mine: Line) -> float:
    """1, or the power of ten that brings the baseline to the loss's range."""
    theirs = _over_iou(baseline, _translation, "", "baseline").loss
    ratio = (mine.loss.max() - mine.loss.min()) / (theirs.max() - theirs.min())
    if not bool(ratio.isfinite()) or ratio <= 0 or 0.2 < ratio < 5:
        return 1.0
    return 10.0 ** round(float(torch.log10(ratio)))


def _over_iou(
    loss: ReducedLoss, motion: Motion, label: str, role: str, scale: float = 1.0, shade: float = 1.0
) -> Line:
    t = torch.linspace(0.02, 0.995, 400, dtype=torch.float64, requires_grad=True)
    boxes = motion(t) * (SIDE * scale)
    target = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(len(t), 4) * (SIDE * scale)
    values = loss(boxes, target)
    iou = 1 - load_loss("iou", reduction="none")(boxes, target)
    (iou_slope,) = torch.autograd.grad(iou.sum(), t, retain_graph=True)
    slope = torch.zeros_like(t)
    if values.requires_grad:
        slope = torch.autograd.grad(values.sum(), t)[0]
    return Line(label, role, iou.detach(), values.detach(), slope / iou_slope, shade)


def _over_distance(loss: ReducedLoss, label: str, role: str) -> Line:
    # Not exactly one side away, where the boxes touch and losses have a kink or worse.
    distance = ((torch.arange(600, dtype=torch.float64) + 0.5) / 200).requires_grad_()
    left = distance * SIDE
    boxes = torch.stack([left, left * 0, left + SIDE, left * 0 + SIDE], -1)
    target = torch.tensor([[0.0, 0.0, SIDE, SIDE]], dtype=torch.float64).expand(len(left), 4)
    values = loss(boxes, target)
    return Line(label, role, distance.detach(), values.detach(), _slope(values, distance))


# --- cosines


def _margin_panels(loss: ReducedLoss) -> tuple[Panel, ...]:
    x = torch.linspace(-0.999, 0.999, 481, dtype=torch.float64)
    scale = float(getattr(loss, "scale", 1.0))
    lines = []
    for rest in (0.0, 0.4):
        cosine = torch.stack([x, torch.full_like(x, rest)], -1).requires_grad_()
        target = torch.zeros(len(x), dtype=torch.int64)
        values = loss(cosine, target)
        label = f"other at {rest:g}"
        lines.append(Line(label, "loss", x, values.detach(), _slope(values, cosine)[:, 0], 0.5 + rest))
    plain = torch.stack([x, torch.zeros_like(x)], -1).requires_grad_()
    values = torch.nn.functional.cross_entropy(
        scale * plain, torch.zeros(len(x), dtype=torch.int64), reduction="none"
    )
    lines.insert(0, Line("softmax", "baseline", x, values.detach(), _slope(values, plain)[:, 0]))
    return (Panel("The true class", "cos θ to the own class", "∂L/∂cos θ", tuple(lines)),)
