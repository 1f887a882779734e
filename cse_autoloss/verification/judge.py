"""The judge: reads a loss's values and slopes on a probe grid and finds the first property that it violates.

All candidates of a batch are judged at once; a single one is a batch of one, so both get the same verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from cse_autoloss.settings.filters import VerifySettings
from cse_autoloss.spaces.curves import ProbeGrid


class Fault(IntEnum):
    """What a loss does wrong, in the order in which it is looked for."""

    NONE = 0
    UNREAD = 1
    IGNORES_TARGET = 2
    NOT_FINITE = 3
    CONSTANT = 4
    WRONG_DIRECTION = 5
    OSCILLATES = 6
    LEAST_ELSEWHERE = 7
    RISES = 8
    FLAT = 9
    RESTS = 10
    DOES_NOT_VANISH = 11
    AIM_NOT_SINGLE = 12
    AIM_DOES_NOT_RISE = 13
    JUMPS = 14
    UNRESOLVED = 15
    NOT_EVEN = 16


RESOLVED_FACTOR = {"fall": 8.0, "slope": 4.0}
"""Slopes at neighbouring points and the mean slope between them may differ by this factor. It is at most 1.0 for the
catalogue's classification losses and 2.6 for its box losses, 6 for 1/I where boxes begin to overlap, and up to 1e300
at a needle or a stair between the points."""
FAINT = 0.01
"""Where a positive's loss may have a minimum, a fall below it counts from this share of the sign tolerance on."""
RESOLVED_SHARE = 0.05
"""Slopes below this share of the curve's scale are too small to matter here."""


@dataclass(frozen=True)
class Findings:
    """What was found, for B candidates.

    Attributes:
        fault: (B,) int64 `Fault`.
        figure: (B,) the measured figure.
        curve: (B,) int64, the curve where it was found.
        first, last: (B,) int64, the points of the curve between which it was found.
    """

    fault: Tensor
    figure: Tensor
    curve: Tensor
    first: Tensor
    last: Tensor


class _Book:
    """Findings in the making. It narrows to the candidates without fault, and its callers with it."""

    def __init__(self, batch: int, device: torch.device) -> None:
        integers = [torch.zeros(batch, dtype=torch.int64, device=device) for _ in range(4)]
        self.fault, self.curve, self.first, self.last = integers
        self.figure = torch.zeros(batch, dtype=torch.float64, device=device)
        self.rows = torch.arange(batch, device=device)

    def narrow(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Leave out the candidates that have a fault by now; the arrays' rows go with them."""
        alive = (self.fault[self.rows] == 0).nonzero().squeeze(1)
        if len(alive) == len(self.rows):
            return arrays
        self.rows = self.rows[alive]
        return tuple(array[alive] for array in arrays)

    def enter(
        self, fault: Fault, hit: Tensor, figure: Tensor, curve: Tensor, span: tuple[Tensor, Tensor]
    ) -> None:
        """Note the fault for the candidates in `hit` that have none yet; the rest is read there alone.

        All are (b,), one for each candidate still in view; `span` holds the first and the last point.
        """
        new = (hit & (self.fault[self.rows] == 0)).nonzero().squeeze(1)
        if new.numel() == 0:
            return
        rows = self.rows[new]
        self.fault[rows] = int(fault)
        self.figure[rows] = figure[new].double()
        self.curve[rows] = curve[new]
        self.first[rows] = span[0][new]
        self.last[rows] = span[1][new]

    def enter_points(self, fault: Fault, wrong: Tensor, figure: Tensor, *, interleaved: bool = False) -> None:
        """Note the fault where `wrong` (b, K, P) has any: at its first curve, from the run's first point to
        its last.

        The figure is the largest of `figure` (b, K, P) in the run. `interleaved`: points and steps alternate.
        """
        hit = wrong.flatten(1).any(1) & (self.fault[self.rows] == 0)
        new = hit.nonzero().squeeze(1)
        if new.numel() == 0:
            return
        curve = wrong[new].any(2).byte().argmax(1)
        row = wrong[new, curve]
        first = row.byte().argmax(1)
        points = torch.arange(row.shape[1], device=row.device)
        stopped = ~row & (points > first[:, None])
        last = torch.where(stopped.any(1), stopped.byte().argmax(1), row.shape[1]) - 1
        inside = (points >= first[:, None]) & (points <= last[:, None])
        size = figure[new, curve].masked_fill(~inside, -torch.inf).amax(1)
        rows = self.rows[new]
        self.fault[rows] = int(fault)
        self.figure[rows] = size.double()
        self.curve[rows] = curve
        self.first[rows] = first // 2 if interleaved else first
        self.last[rows] = (last + 1) // 2 if interleaved else last


def judge(value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings) -> Findings:
    """Find the first fault of each candidate.

    Args:
        value: (B, K, P) losses on the grid.
        slope: (B, K, P) their derivatives along the curves.
        grid: in the dtype of `value`.
        settings: the thresholds.
    """
    book = _Book(value.shape[0], value.device)
    # A sum is finite where all terms are, but for overflow, which the second look sorts out.
    suspect = ~torch.isfinite((value.abs() + slope.abs()).flatten(1).sum(1))
    if bool(suspect.any()):
        finite = torch.isfinite(value) & torch.isfinite(slope)
        book.enter_points(Fault.NOT_FINITE, ~finite, torch.where(torch.isfinite(value), slope, value))
        value, slope = book.narrow(value, slope)
    if len(value):
        (_judge_falls if grid.measure == "fall" else _judge_slopes)(book, value, slope, grid, settings)
    return Findings(book.fault, book.figure, book.curve, book.first, book.last)


def _rate(value: Tensor, grid: ProbeGrid) -> tuple[Tensor, Tensor]:
    """(b, K, P-1) mean slope of each step, and how much of it may be rounding."""
    rounding = 8 * torch.finfo(value.dtype).eps
    magnitude = value.abs()
    slack = (magnitude[..., 1:] + magnitude[..., :-1]) * (rounding / grid.step)
    return value.diff(dim=2) / grid.step, slack


def _whole(like: Tensor, grid: ProbeGrid) -> tuple[Tensor, Tensor]:
    """The span of a whole curve, for each candidate."""
    zeros = torch.zeros(len(like), dtype=torch.int64, device=like.device)
    return zeros, zeros + grid.shape[1] - 1


def _judge_slopes(
    book: _Book, value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings
) -> None:
    device, tiny = value.device, torch.finfo(value.dtype).tiny
    strict = torch.tensor([c.judged and not c.may_aim for c in grid.curves], device=device)
    may_aim = torch.tensor([c.judged and c.may_aim for c in grid.curves], device=device)
    scale = slope.abs().mul_(grid.scale_mask).amax(2)

    largest = scale.amax(1)
    zeros, last_point = _whole(value, grid)
    book.enter(Fault.CONSTANT, largest <= settings.flat, largest, zeros, (zeros, last_point))
    for a, b in grid.opposites:
        gap = (slope[:, a] + slope[:, b].flip(1)).abs_().mul_(grid.scale_mask[a]).amax(1)
        same = (gap <= 1e-6 * scale[:, a]) & (scale[:, a] > settings.flat)
        book.enter(Fault.IGNORES_TARGET, same, gap, zeros + a, (zeros, last_point))
    value, slope, scale = book.narrow(value, slope, scale)
    if len(value) == 0:
        return

    # Slopes and steps interleaved: point, step, point, ... A pole between two points shows in the step alone.
    limit = (settings.sign_tolerance * scale)[..., None]
    rate, slack = _rate(value, grid)
    slack += limit
    wrong = _interleave(slope > limit, rate > slack)
    right = _interleave(slope < -limit, rate < -slack)
    bad = wrong & strict[:, None]
    _judge_direction(book, wrong, right, bad, _interleave(slope, rate), scale.clamp(min=tiny), grid)
    value, slope, scale, wrong, right, rate = book.narrow(value, slope, scale, wrong, right, rate)
    if len(value) == 0:
        return

    zeros, last_point = _whole(value, grid)
    still = (scale <= settings.flat) & strict
    at = still.byte().argmax(1)
    book.enter(Fault.RESTS, still.any(1), scale.amin(1), at, (zeros, last_point))
    aims = wrong.any(2) & may_aim
    relative = slope / scale.clamp(min=tiny)[..., None]
    lingering = (relative.abs() > settings.vanish_share) & grid.end_mask & ~aims[..., None]
    book.enter_points(Fault.DOES_NOT_VANISH, lingering, relative.abs())
    # One minimum: no fall after a rise, and some fall before it.
    late = right & (wrong.cumsum(2) > 0) & aims[..., None]
    # Below a low aim slopes are small: of quality focal loss of the order of w³.
    faint = (settings.sign_tolerance * FAINT * scale)[..., None]
    only_up = aims & ~(slope < -faint).any(2)
    broken = late | (wrong & only_up[..., None])
    steepness = _interleave(slope, rate) / scale.clamp(min=tiny)[..., None]
    book.enter_points(Fault.AIM_NOT_SINGLE, broken, steepness, interleaved=True)
    first_rise = torch.where(aims, wrong.byte().argmax(2), wrong.shape[2])
    for family in grid.families:
        places = first_rise[:, list(family)]
        falls = places.diff(dim=1) < 0
        fixed = (places[:, 0] < wrong.shape[2]) & (places[:, -1] <= places[:, 0])
        which = torch.tensor(family, device=device)
        curve = torch.where(falls.any(1), which[falls.byte().argmax(1) + 1], which[-1])
        point = (first_rise.gather(1, curve[:, None])[:, 0] // 2).clamp(max=grid.shape[1] - 1)
        book.enter(Fault.AIM_DOES_NOT_RISE, falls.any(1) | fixed, point * 0.0, curve, (point, point))
    if grid.resolving.any():
        value, slope, scale = book.narrow(value, slope, scale)
        _judge_resolution(book, slope, *_rate(value, grid), scale, grid)


def _judge_resolution(
    book: _Book, slope: Tensor, rate: Tensor, slack: Tensor, scale: Tensor, grid: ProbeGrid
) -> None:
    """Find what the grid can't follow: a slope that no value beside it shows, or a step that no slope explains.

    Such a loss has a needle or a stair narrower than the grid. Its slope there would set the scale by which all
    other slopes are judged, and none of its faults would count; elsewhere it trains as if the stair were not there.
    """
    if len(slope) == 0:
        return
    checked = grid.resolving
    beside = torch.zeros_like(checked[:, :1])
    near = torch.cat((checked, beside), 1) | torch.cat((beside, checked), 1)
    factor = RESOLVED_FACTOR[grid.measure]
    size, change = slope.abs(), rate.abs()
    small = (RESOLVED_SHARE * scale)[..., None]
    # Of a point, the steepest step on either side; of a step, the steepest of the four points around it.
    shown = _widest(torch.nn.functional.pad((change + slack).masked_fill(~checked, 0.0), (1, 1)))
    ends = torch.nn.functional.pad(_widest(size), (1, 1))
    explained = torch.maximum(ends[..., :-2], torch.maximum(ends[..., 1:-1], ends[..., 2:]))
    needle = (size > factor * shown + small) & near
    stair = (change > factor * explained + slack + small) & checked
    wrong = _interleave(needle, stair)
    tiny = torch.finfo(slope.dtype).tiny
    figure = _interleave(size / shown.clamp(min=tiny), change / explained.clamp(min=tiny)).clamp(max=1e9)
    book.enter_points(Fault.UNRESOLVED, wrong, figure, interleaved=True)


def _widest(a: Tensor) -> Tensor:
    """(…, n) to (…, n-1): the larger of each two neighbours."""
    return torch.maximum(a[..., 1:], a[..., :-1])


def _judge_direction(
    book: _Book, wrong: Tensor, right: Tensor, bad: Tensor, steepness: Tensor, scale: Tensor, grid: ProbeGrid
) -> None:
    """Sort the losses that go the wrong way: by a jump, all along, to and fro, or somewhere."""
    hit = bad.flatten(1).any(1).nonzero().squeeze(1)
    if len(hit) == 0:
        return
    kept = book.rows
    book.rows = kept[hit]
    wrong, right, bad, steepness, scale = (array[hit] for array in (wrong, right, bad, steepness, scale))
    steepness = steepness / scale[..., None]
    span = _whole(bad, grid)
    strict = torch.tensor([c.judged and not c.may_aim for c in grid.curves], device=bad.device)

    # All slopes are right and yet a step is wrong: a pole or a step between two points.
    jumps = bad & ~bad[..., ::2].flatten(1).any(1)[:, None, None]
    book.enter_points(Fault.JUMPS, jumps, steepness, interleaved=True)
    never_right = bad.any(2) & ~right.any(2)
    at = never_right.byte().argmax(1)
    worst = steepness.amax(2).gather(1, at[:, None])[:, 0]
    book.enter(Fault.WRONG_DIRECTION, never_right.any(1), worst, at, span)
    turns = (_turns(wrong, right) * strict).max(1)
    book.enter(Fault.OSCILLATES, turns.values >= 2, turns.values, turns.indices, span)
    book.enter_points(Fault.RISES, bad, steepness, interleaved=True)
    book.rows = kept


def _judge_falls(
    book: _Book, value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings
) -> None:
    tiny, eps = torch.finfo(value.dtype).tiny, torch.finfo(value.dtype).eps
    low = value.amin(2)
    high_there = value.masked_fill(~grid.scale_mask, -torch.inf).amax(2)
    low_there = value.masked_fill(~grid.scale_mask, torch.inf).amin(2)
    # Of the boxes that overlap: apart, some losses hold values that dwarf all else.
    span = (high_there - low_there).clamp(min=0)
    whole = _whole(value, grid)
    largest = span.amax(1)
    book.enter(Fault.CONSTANT, largest <= settings.flat, largest, whole[0], whole)
    walked = torch.tensor([c.role == "walk" and c.judged for c in grid.curves], device=value.device)
    still = (span <= settings.flat) & walked
    book.enter(Fault.RESTS, still.any(1), span.amin(1), still.byte().argmax(1), whole)
    value, slope, low, span = book.narrow(value, slope, low, span)
    if len(value) == 0:
        return

    rate, slack = _rate(value, grid)
    limit = (settings.sign_tolerance * span)[..., None]
    judged = torch.tensor([c.judged for c in grid.curves], device=value.device)[:, None]
    rise = (slope > limit) & grid.slope_mask
    rise[..., :-1] |= (rate > limit + slack) & judged
    both = grid.scale_mask[:, 1:] & grid.scale_mask[:, :-1]
    hit = rise.flatten(1).any(1).nonzero().squeeze(1)
    if len(hit):
        kept = book.rows
        book.rows = kept[hit]
        some, bottom, width = value[hit], low[hit], span[hit]
        rising = rise[hit]
        whole = _whole(some, grid)
        steepness = slope[hit].masked_fill(~grid.slope_mask, -torch.inf)
        steepness[..., :-1] = torch.maximum(steepness[..., :-1], rate[hit])
        steepness = steepness / width.clamp(min=tiny)[..., None]
        share = (rising[..., :-1] & both).sum((1, 2)) / both.sum().clamp(min=1)
        book.enter(Fault.WRONG_DIRECTION, share > 0.5, share, rising.any(2).byte().argmax(1), whole)
        above = some[..., -1] - bottom
        tolerance = settings.sign_tolerance * width + 16 * eps * bottom.abs()
        elsewhere = (above > tolerance) & rising.any(2)
        at = elsewhere.byte().argmax(1)
        rows = torch.arange(len(some), device=some.device)
        lowest = some[rows, at].argmin(1)
        excess = (above / width.clamp(min=tiny))[rows, at]
        book.enter(Fault.LEAST_ELSEWHERE, elsewhere.any(1), excess, at, (lowest, lowest))
        book.enter_points(Fault.RISES, rising, steepness)
        book.rows = kept
        value, slope, rate, slack, span = book.narrow(value, slope, rate, slack, span)

    must = grid.falls[:, 1:] & grid.falls[:, :-1]
    drop = -rate / span.clamp(min=tiny)[..., None]
    idle = ((drop <= settings.fall_share) | (rate >= -slack)) & must
    book.enter_points(Fault.FLAT, idle, drop)
    value, slope, rate, slack, span = book.narrow(value, slope, rate, slack, span)
    for a, b in grid.mirrored:
        apart = (value[:, a] - value[:, b]).abs()
        allowed = settings.sign_tolerance * span[:, a, None] + 16 * eps * value[:, a].abs()
        odd = torch.zeros_like(value, dtype=torch.bool)
        odd[:, a] = apart > allowed
        book.enter_points(Fault.NOT_EVEN, odd, value)
    if grid.resolving.any():
        slope, rate, slack, span = book.narrow(slope, rate, slack, span)
        _judge_resolution(book, slope, rate, slack, span, grid)


def _interleave(at_points: Tensor, at_steps: Tensor) -> Tensor:
    """(b, K, P) and (b, K, P-1) to (b, K, 2P-1): point 0, step 0, point 1, ..."""
    batch, curves, points = at_points.shape
    out = at_points.new_empty(batch, curves, 2 * points - 1)
    out[..., ::2] = at_points
    out[..., 1::2] = at_steps
    return out


def _turns(wrong: Tensor, right: Tensor) -> Tensor:
    """(b, K): how often the loss turns from falling to rising or back; flat stretches are passed over."""
    sign = wrong.to(torch.int8) - right.to(torch.int8)
    index = torch.arange(sign.shape[2], device=sign.device, dtype=torch.int16).expand_as(sign)
    latest = index.masked_fill(sign == 0, -1).cummax(2).values
    held = torch.where(latest >= 0, sign.gather(2, latest.clamp(min=0).long()), 0)
    change = (held[..., 1:] != held[..., :-1]) & (held[..., :-1] != 0)
    return change.sum(2)
