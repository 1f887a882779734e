"""Probe grids of classification losses: curves on which one logit moves towards the right answer.

Assumed: logits out to ±100, judged in steps of about 0.25 (0.5 where classes see each other) from −12 to 12; w from
0.02 to 1, finite at 0; 1 to 80 classes. All points but the ends are jittered by the run's seed: a wave whose period is
the distance of even points would look level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cse_autoloss.spaces.curves import Curve, Look, ProbeGrid, Role, Words

Inputs = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]

FAR = (15.0, 20.0, 30.0, 50.0, 100.0)
"""Logits far out, where losses must be finite and have vanished."""
SCALE_REACH = 6.0
"""A curve's scale is its largest slope up to this logit; farther out, exploding losses would hide their
faults."""
END = 12.0
"""The slope must have vanished from this logit on."""
LONGEST = 0.9
"""Steps up to this length resolve a loss."""
IOUS = (0.02, 0.06, 0.15, 0.3, 0.45, 0.6, 0.8, 0.95)
COUPLED_IOUS = (0.02, 0.3, 0.7, 0.95)
COARSE_IOUS = (0.05, 0.6)
CLASS_COUNTS = (1, 10, 80)
"""With so many classes a loss that sees all of them is looked at, on few curves."""
_COARSE_LOGITS = (0.5, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 30.0)
_CONTEXTS = ((0.0, 0.0), (2.0, -3.0), (-4.0, -2.0))

_RESTS: dict[Role, tuple[str, str]] = {
    "positive": ("ignores-positives", "loss does not move with the true class's logit"),
    "negative": ("ignores-background", "loss does not move with a class's logit at background"),
    "other": ("ignores-other-classes", "loss does not move with the other classes' logits at a positive"),
    "background": ("ignores-background", "loss does not move with the background's logit at background"),
}


def _words(rising: str, falling: str, own: dict[Role, tuple[str, str]]) -> dict[Role, Words]:
    """Words by role, from what is moved where the loss must not rise with a logit and where it must not fall."""
    rises = ("rises-with-logit", f"loss rises with {rising}")
    falls = ("falls-with-logit", f"loss falls as {falling}")
    rests = {**_RESTS, **own}
    background = (rises[0], "loss rises with the background's logit") if not own else rises
    return {
        "positive": Words(rises, rests=rests["positive"]),
        "background": Words(background, rests=rests["background"]),
        "negative": Words(falls, rests=rests["negative"]),
        "other": Words(falls, rests=rests["other"]),
    }


_SIGMOID = _words(
    "the logit where y=1",
    "the logit rises where y=0",
    {"negative": ("ignores-negatives", "loss does not move with the logit where y=0")},
)
_SOFTMAX = _words("the true class's logit", "a wrong class's logit rises", {})


def _sigmoid(role: Role, place: str, iou: float = 1.0, family: str = "", judged: bool = True) -> Curve:
    return Curve(role, place, _SIGMOID[role], iou, family, judged)


def _softmax(role: Role, place: str, iou: float = 1.0, family: str = "", judged: bool = True) -> Curve:
    return Curve(role, place, _SOFTMAX[role], iou, family, judged)


def _logits(reach: int, far: Sequence[float], look: Look) -> Tensor:
    """Logits from -far to far, 2·reach + 1 of them from -12 to 12; of each, its negative is there too."""
    middle = look.jittered(torch.linspace(0, END, reach + 1, dtype=torch.float64))
    half = torch.cat((middle, torch.tensor(sorted(far), dtype=torch.float64)))
    return torch.cat((-half[1:].flip(0), half))


def _ious(values: Sequence[float], look: Look) -> list[float]:
    """w, jittered but for the least and the largest, to three digits, so that a verdict names the very number."""
    return [round(w, 3) for w in look.jittered(torch.tensor(values, dtype=torch.float64), 1).tolist()]


def _beside(look: Look, count: int) -> list[float]:
    """Logits of the classes that stand still."""
    return [round(x, 1) for x in (look.uniform(count, salt=2) * 2.5 - 0.5).tolist()]


def _cls_grid(
    name: str, curves: list[Curve], x: Tensor, inputs: dict[str, Tensor], tangent: Tensor
) -> ProbeGrid:
    rising = torch.tensor([c.role in ("positive", "background") for c in curves])
    coordinate = torch.where(rising[:, None], x, x.flip(0))
    toward = coordinate * torch.where(rising, 1.0, -1.0)[:, None].double()
    judged = torch.tensor([c.judged for c in curves])[:, None]
    coarse = len(x) <= 2 * len(_COARSE_LOGITS)
    return ProbeGrid(
        name, "slope", inputs, {"X": tangent}, tuple(curves), coordinate, "x",
        step=toward.diff(dim=1),
        scale_mask=toward.abs() <= SCALE_REACH,
        end_mask=(toward >= END) & judged,
        falls=torch.zeros_like(toward, dtype=torch.bool),
        slope_mask=judged.expand_as(toward).clone(),
        longest=0.0 if coarse else LONGEST,
    )  # fmt: skip


def _binary(x: Tensor, ious: Sequence[float], *, coarse: bool = False) -> ProbeGrid:
    """Curves of single logits. The coarse grid can't tell apart aims at different w: it has no families."""
    curves = [_sigmoid("positive", "y=1, w=1", 1.0), _sigmoid("negative", "y=0")]
    curves += [_sigmoid("positive", f"y=1, w={w:g}", w, f"w={w:g}" if coarse else "") for w in ious]
    if not coarse:
        curves.append(_sigmoid("positive", "y=1, w=0", 0.0, judged=False))
    points = x.numel()
    positive = torch.tensor([c.role == "positive" for c in curves]).double()
    iou = torch.tensor([c.iou for c in curves]).double() * positive

    def rows(per_curve: Tensor) -> Tensor:
        return per_curve.repeat_interleave(points)

    sign = rows(positive * 2 - 1)
    inputs = {
        "X": x.repeat(len(curves)) * sign, "Q": rows(iou), "PY": rows(positive), "NY": rows(1 - positive)
    }  # fmt: skip
    return _cls_grid("binary", curves, x, inputs, sign)


def _coupled(
    name: str, make: Inputs, x: Tensor, plan: Sequence[tuple[Curve, int, int, Sequence[float]]], columns: int
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
    inputs = make(torch.cat(logits), torch.cat(targets), torch.cat(ious))
    return _cls_grid(name, [c for c, *_ in plan], x, inputs, torch.cat(tangents))


def _listed(context: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in context)


def _binary_coupled(
    make: Inputs, x: Tensor, ious: Sequence[float], contexts: Sequence[Sequence[float]]
) -> ProbeGrid:
    """Samples of three classes; `contexts` are the logits that stand beside the moving one."""
    plan: list[tuple[Curve, int, int, Sequence[float]]] = []
    for others in contexts:
        family = f"others {_listed(others)}"
        standing = (0.0, *others)
        plan.append((_sigmoid("positive", f"y=1, w=1, {family}", 1.0, family), 0, 0, standing))
        plan.append((_sigmoid("negative", f"background, {family}", 1.0, family), 3, 0, standing))
        plan.append((_sigmoid("other", f"y=0 at a positive, {family}", 1.0, family), 1, 0, standing))
        plan += [(_sigmoid("positive", f"y=1, w={w:g}, {family}", w, family), 0, 0, standing) for w in ious]
    others = contexts[0]
    plan.append((_sigmoid("other", "y=0 at a positive, w=0.5", 0.5), 1, 0, (0.0, *others)))
    plan.append((_sigmoid("positive", "y=1, w=0", 0.0, judged=False), 0, 0, (0.0, *others)))
    return _coupled("binary-coupled", make, x, plan, 3)


def _multiclass(
    make: Inputs, x: Tensor, ious: Sequence[float], contexts: Sequence[Sequence[float]]
) -> ProbeGrid:
    """Samples of two classes and the background, column 2."""
    plan: list[tuple[Curve, int, int, Sequence[float]]] = []
    for others in contexts:
        family = f"others {_listed(others)}"
        a, b = others
        plan.append((_softmax("positive", f"true logit, w=1, {family}", 1.0, family), 0, 0, (0.0, a, b)))
        plan.append((_softmax("background", f"background's logit, {family}", 1.0, family), 2, 2, (a, b, 0.0)))
        plan.append(
            (_softmax("other", f"other class's logit, w=1, {family}", 1.0, family), 1, 0, (0.0, a, b))
        )
        plan.append(
            (_softmax("other", f"background's logit at a positive, {family}", 1.0, family), 0, 2, (a, b, 0.0))
        )
        plan.append(
            (_softmax("negative", f"class's logit at background, {family}", 1.0, family), 2, 0, (0.0, a, b))
        )
        plan += [
            (_softmax("positive", f"true logit, w={w:g}, {family}", w, family), 0, 0, (0.0, a, b))
            for w in ious
        ]
    a, b = contexts[0]
    plan.append((_softmax("other", "other class's logit, w=0.5", 0.5), 1, 0, (0.0, a, b)))
    plan.append((_softmax("positive", "true logit, w=0", 0.0, judged=False), 0, 0, (0.0, a, b)))
    return _coupled("multiclass", make, x, plan, 3)


def sigmoid_grid(make: Inputs, look: Look) -> ProbeGrid:
    """The grids of a sigmoid head's losses."""
    if look.classes:
        many = look.classes
        standing = [0.0, *_beside(look, many - 1)]
        plan = [
            (_sigmoid("positive", f"y=1, w=1, C={many}", 1.0, "a"), 0, 0, standing),
            (_sigmoid("negative", f"background, C={many}", 1.0, "a"), many, 0, standing),
            (_sigmoid("positive", f"y=1, w=0.5, C={many}", 0.5), 0, 0, standing),
        ]
        if many > 1:
            plan.append((_sigmoid("other", f"y=0 at a positive, C={many}"), 1, 0, standing))
        return _coupled(f"binary-{many}", make, _coarse_logits(look), plan, many)
    if look.fine:
        if look.coupled:
            return _binary_coupled(make, _logits(24, FAR, look), _ious(COUPLED_IOUS, look), _CONTEXTS)
        return _binary(_logits(48, FAR, look), _ious(IOUS, look))
    if not look.coupled:
        return _binary(_coarse_logits(look), _ious(COARSE_IOUS, look), coarse=True)
    return _coupled("binary-coupled", make, _coarse_logits(look), [
        (_sigmoid("positive", "y=1, w=1, others 2, -3", 1.0, "a"), 0, 0, _STANDING),
        (_sigmoid("negative", "background, others 2, -3", 1.0, "a"), 3, 0, _STANDING),
        (_sigmoid("other", "y=0 at a positive, others 2, -3"), 1, 0, _STANDING),
        (_sigmoid("positive", "y=1, w=0.5, others 2, -3", 0.5), 0, 0, _STANDING),
    ], 3)  # fmt: skip


def softmax_grid(make: Inputs, look: Look) -> ProbeGrid:
    """The grids of a softmax head's losses."""
    if look.classes:
        many = look.classes
        # The moving logit stands at 0 wherever it is a curve's; the background is the last column.
        standing = [0.0, *_beside(look, many)]
        plan = [
            (_softmax("positive", f"true logit, w=1, C={many}", 1.0, "a"), 0, 0, standing),
            (_softmax("negative", f"class's logit at background, C={many}", 1.0, "a"), many, 0, standing),
            (_softmax("positive", f"true logit, w=0.5, C={many}", 0.5), 0, 0, standing),
            (_softmax("background", f"background's logit, C={many}"), many, many, standing),
            (_softmax("other", f"background's logit at a positive, C={many}"), 0, many, standing),
        ]
        if many > 1:
            plan.append((_softmax("other", f"other class's logit, w=1, C={many}"), 1, 0, standing))
        return _coupled(f"multiclass-{many}", make, _coarse_logits(look), plan, many + 1)
    if look.fine:
        return _multiclass(make, _logits(24, FAR, look), _ious(COUPLED_IOUS, look), _CONTEXTS)
    return _coupled("multiclass", make, _coarse_logits(look), [
        (_softmax("positive", "true logit, w=1, others 2, -3", 1.0, "a"), 0, 0, _STANDING),
        (_softmax("other", "other class's logit, w=1, others 2, -3"), 1, 0, _STANDING),
        (_softmax("negative", "class's logit at background, others 2, -3", 1.0, "a"), 2, 0, _STANDING),
        (_softmax("background", "background's logit, others 0, 2", 1.0, "a"), 2, 2, _STANDING),
    ], 3)  # fmt: skip


_STANDING = (0.0, 2.0, -3.0)


def _coarse_logits(look: Look) -> Tensor:
    # Jittered from 0 to 12; the far point stays.
    *near, far = _COARSE_LOGITS
    half = look.jittered(torch.tensor((0.0, *near), dtype=torch.float64))[1:]
    half = torch.cat((half, half.new_tensor([far])))
    return torch.cat((-half.flip(0), half))
