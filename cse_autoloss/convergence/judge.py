"""The judge: reads a loss's values and slopes on a probe grid and finds the first property that it violates.

All candidates of a batch are judged at once; a single one is a batch of one, so both get the same verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from cse_autoloss.convergence.curves import ProbeGrid
from cse_autoloss.convergence.settings import VerifySettings


class Fault(IntEnum):
    """What a loss does wrong, in the order in which it is looked for."""

    NONE = 0
    IGNORES_LOGIT = 1
    IGNORES_TARGET = 2
    IGNORES_INTERSECTION = 3
    NOT_FINITE = 4
    CONSTANT = 5
    WRONG_DIRECTION = 6
    OSCILLATES = 7
    LEAST_ELSEWHERE = 8
    RISES = 9
    FLAT = 10
    IGNORES_ROLE = 11
    DOES_NOT_VANISH = 12
    AIM_NOT_SINGLE = 13
    AIM_DOES_NOT_RISE = 14


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
    """Findings in the making: a candidate keeps the first fault that is entered for it."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.fault = torch.zeros(batch, dtype=torch.int64, device=device)
        self.figure = torch.zeros(batch, dtype=torch.float64, device=device)
        self.curve = torch.zeros(batch, dtype=torch.int64, device=device)
        self.first = torch.zeros(batch, dtype=torch.int64, device=device)
        self.last = torch.zeros(batch, dtype=torch.int64, device=device)

    def enter(
        self, fault: Fault, hit: Tensor, figure: Tensor, curve: Tensor, first: Tensor, last: Tensor
    ) -> None:
        """Note the fault for the candidates in `hit` (B,) that have none yet; the rest is read there
        alone."""
        new = (hit & (self.fault == 0)).nonzero().squeeze(1)
        if new.numel() == 0:
            return
        self.fault[new] = int(fault)
        self.figure[new] = figure[new].double()
        self.curve[new] = curve[new]
        self.first[new] = first[new]
        self.last[new] = last[new]

    def enter_points(self, fault: Fault, wrong: Tensor, figure: Tensor) -> None:
        """Note the fault where `wrong` (B, K, P) has any: at its first curve, from the first point to the
        run's last.

        The figure is that of `figure` (B, K, P) which is largest in the run.
        """
        hit = wrong.flatten(1).any(1) & (self.fault == 0)
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
        self.fault[new] = int(fault)
        self.figure[new] = size.double()
        self.curve[new] = curve
        self.first[new] = first
        self.last[new] = last


def judge(value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings) -> Findings:
    """Find the first fault of each candidate.

    Args:
        value: (B, K, P) losses on the grid.
        slope: (B, K, P) their derivatives along the curves.
        grid: in the dtype of `value`.
        settings: the thresholds.
    """
    book = _Book(value.shape[0], value.device)
    finite = torch.isfinite(value) & torch.isfinite(slope)
    book.enter_points(Fault.NOT_FINITE, ~finite, torch.where(torch.isfinite(value), slope, value))
    if grid.branch == "reg":
        _judge_boxes(book, value, slope, grid, settings)
    else:
        _judge_logits(book, value, slope, grid, settings)
    return Findings(book.fault, book.figure, book.curve, book.first, book.last)


def _rate(value: Tensor, grid: ProbeGrid) -> tuple[Tensor, Tensor]:
    """(B, K, P-1) mean slope of each step, and how much of it may be rounding."""
    rounding = 8 * torch.finfo(value.dtype).eps
    magnitude = value.abs()
    slack = (magnitude[..., 1:] + magnitude[..., :-1]) * rounding / grid.step
    return value.diff(dim=2) / grid.step, slack


def _judge_logits(
    book: _Book, value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings
) -> None:
    judged = torch.tensor([c.judged for c in grid.curves], device=value.device)
    size = slope.abs()
    scale = size.masked_fill(~grid.scale_mask, 0).amax(2)
    zeros = torch.zeros(value.shape[0], dtype=torch.int64, device=value.device)
    last_point = zeros + grid.shape[1] - 1

    largest = scale.amax(1)
    book.enter(Fault.CONSTANT, largest <= settings.flat, largest, zeros, zeros, last_point)
    for a, b in grid.mirrors:
        gap = (slope[:, a] + slope[:, b].flip(1)).masked_fill(~grid.scale_mask[a], 0).abs().amax(1)
        book.enter(
            Fault.IGNORES_TARGET, (gap <= 1e-6 * scale[:, a]) & (scale[:, a] > settings.flat),
            gap, zeros + a, zeros, last_point,
        )  # fmt: skip

    limit = (settings.sign_tolerance * scale)[..., None]
    rate, slack = _rate(value, grid)
    wrong_step, right_step = rate > limit + slack, rate < -(limit + slack)
    # Slopes and steps interleaved: point, step, point, ... A pole between two points shows in the step alone.
    wrong = _interleave(slope > limit, wrong_step)
    right = _interleave(slope < -limit, right_step)
    strict = torch.tensor([c.judged and not c.may_aim for c in grid.curves], device=value.device)
    bad = wrong & strict[:, None]
    relative = slope / scale.clamp(min=torch.finfo(value.dtype).tiny)[..., None]
    steepest = _interleave(relative, rate / scale.clamp(min=torch.finfo(value.dtype).tiny)[..., None])

    turns = _turns(wrong, right) * judged
    waves = turns.masked_fill(~strict, 0)
    at = waves.argmax(1)
    many = waves.amax(1)
    never_right = bad.any(2) & ~right.any(2)
    book.enter(
        Fault.WRONG_DIRECTION, never_right.any(1), (steepest.amax(2) * never_right).amax(1),
        never_right.byte().argmax(1), zeros, last_point,
    )  # fmt: skip
    book.enter(Fault.OSCILLATES, many >= 2, many.to(value.dtype), at, zeros, last_point)
    _enter_interleaved(book, Fault.RISES, bad, steepest)

    still = (scale <= settings.flat) & strict
    book.enter(
        Fault.IGNORES_ROLE, still.any(1), scale.masked_fill(~still, 0).amax(1),
        still.byte().argmax(1), zeros, last_point,
    )  # fmt: skip
    aims = wrong.any(2) & ~strict & judged
    lingering = (relative.abs() > settings.vanish_share) & grid.end_mask & ~aims[..., None]
    book.enter_points(Fault.DOES_NOT_VANISH, lingering, relative.abs())

    # One minimum: no fall after a rise, and some fall before it.
    late = right & (wrong.cumsum(2) > 0)
    twice = late.any(2) & aims
    only_up = aims & ~right.any(2)
    broken = (late & twice[..., None]) | (wrong & only_up[..., None])
    _enter_interleaved(book, Fault.AIM_NOT_SINGLE, broken, steepest)
    first_rise = torch.where(aims, wrong.byte().argmax(2), wrong.shape[2])
    for family in grid.families:
        places = first_rise[:, list(family)]
        falls = places.diff(dim=1) < 0
        fixed = (places[:, 0] < wrong.shape[2]) & (places[:, -1] <= places[:, 0])
        which = torch.tensor(family, device=value.device)
        step_at = falls.byte().argmax(1)
        curve = torch.where(falls.any(1), which[step_at + 1], which[-1])
        book.enter(
            Fault.AIM_DOES_NOT_RISE, falls.any(1) | fixed, torch.zeros_like(largest), curve,
            _point_of(first_rise.gather(1, curve[:, None])[:, 0], grid), last_point,
        )  # fmt: skip


def _judge_boxes(
    book: _Book, value: Tensor, slope: Tensor, grid: ProbeGrid, settings: VerifySettings
) -> None:
    high, low = value.amax(2), value.amin(2)
    span = high - low
    zeros = torch.zeros(value.shape[0], dtype=torch.int64, device=value.device)
    last_point = zeros + grid.shape[1] - 1
    largest = span.amax(1)
    book.enter(Fault.CONSTANT, largest <= settings.flat, largest, zeros, zeros, last_point)

    rate, slack = _rate(value, grid)
    limit = (settings.sign_tolerance * span)[..., None]
    rise = torch.zeros_like(value, dtype=torch.bool)
    rise[..., :-1] = rate > limit + slack
    rise |= (slope > limit) & grid.slope_mask
    tiny = torch.finfo(value.dtype).tiny
    relative = slope.masked_fill(~grid.slope_mask, -torch.inf)
    relative[..., :-1] = torch.maximum(relative[..., :-1], rate)
    relative = relative / span.clamp(min=tiny)[..., None]

    both = grid.overlap[:, 1:] & grid.overlap[:, :-1]
    rising_share = (rise[..., :-1] & both).sum((1, 2)) / both.sum().clamp(min=1)
    first_rising = rise.any(2).byte().argmax(1)
    book.enter(Fault.WRONG_DIRECTION, rising_share > 0.5, rising_share, first_rising, zeros, last_point)
    above = value[..., -1] - low
    tolerance = settings.sign_tolerance * span + 8 * torch.finfo(value.dtype).eps * (high.abs() + low.abs())
    elsewhere = (above > tolerance) & rise.any(2)
    at = elsewhere.byte().argmax(1)
    rows = torch.arange(value.shape[0], device=value.device)
    lowest = value[rows, at].argmin(1)
    book.enter(
        Fault.LEAST_ELSEWHERE, elsewhere.any(1), (above / span.clamp(min=tiny))[rows, at], at, lowest, lowest
    )
    book.enter_points(Fault.RISES, rise, relative)

    drop = -rate / span.clamp(min=tiny)[..., None]
    idle = torch.zeros_like(rise)
    idle[..., :-1] = ((drop <= settings.fall_share) | (rate >= -slack)) & both
    fall = torch.zeros_like(value)
    fall[..., :-1] = drop
    book.enter_points(Fault.FLAT, idle, -fall)


def _interleave(at_points: Tensor, at_steps: Tensor) -> Tensor:
    """(B, K, P) and (B, K, P-1) to (B, K, 2P-1): point 0, step 0, point 1, ..."""
    batch, curves, points = at_points.shape
    out = at_points.new_empty(batch, curves, 2 * points - 1)
    out[..., ::2] = at_points
    out[..., 1::2] = at_steps
    return out


def _turns(wrong: Tensor, right: Tensor) -> Tensor:
    """(B, K): how often the loss turns from falling to rising or back; flat stretches are passed over."""
    sign = wrong.to(torch.int8) - right.to(torch.int8)
    length = sign.shape[2]
    index = torch.arange(length, device=sign.device, dtype=torch.int16).expand_as(sign)
    latest = index.masked_fill(sign == 0, -1).cummax(2).values
    held = torch.where(latest >= 0, sign.gather(2, latest.clamp(min=0).long()), 0)
    change = (held[..., 1:] != held[..., :-1]) & (held[..., :-1] != 0)
    return change.sum(2)


def _point_of(interleaved: Tensor, grid: ProbeGrid) -> Tensor:
    return (interleaved // 2).clamp(max=grid.shape[1] - 1)


def _enter_interleaved(book: _Book, fault: Fault, wrong: Tensor, figure: Tensor) -> None:
    before = book.fault.clone()
    book.enter_points(fault, wrong, figure)
    new = book.fault != before
    book.first = torch.where(new, book.first // 2, book.first)
    book.last = torch.where(new, (book.last + 1) // 2, book.last)
