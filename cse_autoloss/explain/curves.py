"""The numbers behind the pictures: loss and slope along the tracks that a signature states; see `spaces.form`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cse_autoloss.losses import ReducedLoss, load_loss
from cse_autoloss.losses.parametric import ParametricSchedule
from cse_autoloss.spaces import Form, form_of
from cse_autoloss.spaces.form import Track, View


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


Named = tuple[str, Callable[..., Tensor]]


def panels(loss: ReducedLoss, beside: Sequence[Named] = ()) -> tuple[Panel, ...]:
    """The panels of a loss's signature; `loss` must have reduction "none", as those that are to be drawn `beside` it
    besides the usual ones."""
    form = form_of(loss.signature)
    views = form.views(loss)
    if loss.whole:
        lines = [
            [_line_in_company(one, own) for track in view.tracks for one, own in _stages(loss, track)]
            for view in views
        ]
        return tuple(
            Panel(f"{v.title}, {_COMPANY}", v.x_label, v.slope_label, _without_doubles(own))
            for v, own in zip(views, lines, strict=True)
        )
    others = [*baselines(loss), *beside]
    factors = {name: _fitting(form, loss, module, views) for name, module in others}
    return tuple(Panel(v.title, v.x_label, v.slope_label, _lines(loss, others, factors, v)) for v in views)


def _stages(loss: ReducedLoss, track: Track) -> list[tuple[ReducedLoss, Track]]:
    """The losses of a schedule at the quarters of its path, each with the track that names its epoch, where other
    losses are drawn too; any other loss as it is."""
    if not isinstance(loss, ParametricSchedule):
        return [(loss, track)]
    stages = loss.quarters() if track.beside else {}
    last = max(stages, default=0) or 1
    return [
        (one, replace(track, label=f"epoch {epoch}", shade=0.2 + 0.8 * epoch / last))
        for epoch, one in stages.items()
    ]


_COMPANY = "in company of one positive and one background sample at logit 0"
_THIN = 8
"""A loss of a whole batch is drawn at every eighth place: each is a batch of its own."""


def _line_in_company(loss: ReducedLoss, track: Track) -> Line:
    """A loss of a whole batch along a track: the sum over each sample by itself and two others."""
    logits, target, iou = (each[::_THIN] for each in track.args)
    beside, others = logits.new_zeros(2, logits.shape[1]), target.new_tensor([0, logits.shape[1]])
    parts = zip(logits.split(1), target.split(1), iou.split(1), strict=True)
    batches = [
        (torch.cat((x, beside)), torch.cat((y, others)), torch.cat((w, w.new_ones(2)))) for x, y, w in parts
    ]
    values = torch.stack([loss(*batch).sum() for batch in batches])
    (slope,) = torch.autograd.grad(values.sum(), track.by)
    return Line(
        track.label or "this loss", "loss", track.x[::_THIN], values.detach(), slope[::_THIN], track.shade
    )


def _lines(
    loss: ReducedLoss, others: Sequence[Named], factors: dict[str, float], view: View
) -> tuple[Line, ...]:
    found = []
    for name, module in others:
        factor = factors[name]
        for track in view.tracks:
            if track.beside:
                line = _line(module, track, name if factor == 1 else f"{factor:g} × {name}", "baseline")
                found.append(replace(line, loss=factor * line.loss, slope=factor * line.slope))
    own = [stage for track in view.tracks for stage in _stages(loss, track)]
    found += [_line(one, track, track.label or "this loss", "loss") for one, track in own]
    return _without_doubles(found)


def baselines(loss: ReducedLoss) -> list[Named]:
    """Short names of the losses that are drawn beside one, and the losses."""
    form = form_of(loss.signature)
    known = [(name, load_loss(source, loss.signature, "none")) for name, source in form.baselines]
    return [*known, *form.beside(loss)]


def scale_lines(loss: ReducedLoss) -> tuple[Line, ...]:
    """A loss at the scales of its signature; none where scale means nothing."""
    return tuple(_line(loss, track, track.label, "loss") for track in form_of(loss.signature).scales())


def scale_dependence(loss: ReducedLoss) -> float | None:
    """Largest difference between a loss at its scales, as a share of its range at the usual one; 0 means none."""
    lines = scale_lines(loss)
    if not lines:
        return None
    small, middle, large = (line.loss for line in lines)
    span = (middle.max() - middle.min()).item()
    apart = max((small - middle).abs().max().item(), (large - middle).abs().max().item())
    return apart / span if span > 0 else 0.0


def _line(loss: Callable[..., Tensor], track: Track, label: str, role: str) -> Line:
    values = loss(*track.args)
    slope = torch.zeros_like(track.by)
    if values.requires_grad:
        # The track's own part of the graph is walked once for each loss.
        found = torch.autograd.grad(values.sum(), track.by, retain_graph=True, allow_unused=True)[0]
        slope = slope if found is None else found
    if track.rate is not None:
        slope = slope / track.rate
    return Line(label, role, track.x, values.detach().reshape(len(track.x)), slope, track.shade)


def _fitting(
    form: Form, loss: ReducedLoss, baseline: Callable[..., Tensor], views: tuple[View, ...]
) -> float:
    """1, or the power of ten that brings the baseline to the loss's range."""
    if not form.fitted:
        return 1.0
    track = (form.scales() or (None, views[0].tracks[-1]))[1]
    assert track is not None
    mine, theirs = (_line(one, track, "", "").loss for one in (loss, baseline))
    ratio = (mine.max() - mine.min()) / (theirs.max() - theirs.min())
    if not bool(ratio.isfinite()) or ratio <= 0 or 0.2 < ratio < 5:
        return 1.0
    return 10.0 ** round(float(torch.log10(ratio)))


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
