"""Findings in words: what a loss does wrong, where, and by how much."""

from __future__ import annotations

import math

import torch

from cse_autoloss.graph import Signature
from cse_autoloss.settings.filters import VerifySettings
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.curves import Curve, ProbeGrid
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification.grids import probe_grid, stages
from cse_autoloss.verification.judge import Fault


def accepted(signature: Signature, coupled: bool, settings: VerifySettings, seconds: float) -> Verdict:
    """The verdict on a loss without fault: what was looked at, and what was seen there."""
    looks = dict.fromkeys(look for look, _ in stages(signature, coupled, settings) if look.fine)
    points = sum(math.prod(probe_grid(signature, look, torch.float64).shape) for look in looks)
    low, high = settings.pixels
    reason = form_of(signature).accepted.format(points=points, low=low, high=high)
    return Verdict("verify", True, reason, None, seconds)


def unread(signature: Signature, need: int, seconds: float) -> Verdict:
    """The verdict on a formula that lacks an input without which no loss can be right."""
    missed = form_of(signature).needs[need]
    return Verdict("verify", False, missed.reason, None, seconds, "formula", missed.code)


def rejected(
    fault: Fault, figure: float, curve: int, first: int, last: int, grid: ProbeGrid, seconds: float
) -> Verdict:
    """The verdict on a loss with a fault found on a grid."""
    span = _span(grid, curve, first, last)
    code, reason = _words(fault, figure, grid.curves[curve], span)
    place = grid.curves[curve].place
    where = place if fault in _WHOLE_CURVE else f"{place}, {span}"
    return Verdict("verify", False, reason, figure, seconds, where, code)


_WHOLE_CURVE = frozenset(
    {Fault.CONSTANT, Fault.WRONG_DIRECTION, Fault.OSCILLATES, Fault.RESTS, Fault.IGNORES_TARGET}
)


def _number(name: str, place: float) -> str:
    if name != "i/u":
        return f"{place:.3g}"
    return f"{place:.4f}" if 0.995 <= place < 1 else f"{place:.2f}"


def _span(grid: ProbeGrid, curve: int, first: int, last: int) -> str:
    name = grid.coordinate_name
    a, b = float(grid.coordinate[curve, first]), float(grid.coordinate[curve, last])
    text_a, text_b = (_number(name, place) for place in (a, b))
    return f"{name} = {text_a}" if text_a == text_b else f"between {name} = {text_a} and {text_b}"


def _words(fault: Fault, figure: float, curve: Curve, span: str) -> tuple[str, str]:
    """Code and reason."""
    words = curve.words
    if fault is Fault.NOT_FINITE:
        return "not-finite", f"loss or its gradient is not finite at {span}{words.on}"
    if fault is Fault.CONSTANT:
        return "constant", f"loss never moves: {words.constant}"
    if fault is Fault.IGNORES_TARGET:
        return "ignores-target", "loss is the same whether y is 1 or 0"
    if fault is Fault.WRONG_DIRECTION:
        return words.rises[0], words.rises[1] + words.everywhere.format(figure=figure)
    if fault is Fault.OSCILLATES:
        return "oscillates", f"loss turns {figure:.0f} times between falling and rising as the logit moves"
    if fault is Fault.JUMPS:
        return "jumps", f"loss jumps the wrong way {span}: it has a pole or a step there{words.on}"
    if fault is Fault.UNRESOLVED:
        return (
            "unresolved",
            f"loss changes too sharply ({span}): between neighbouring points its slope and its values disagree"
            f" {figure:.2g}-fold{words.on}",
        )
    if fault is Fault.LEAST_ELSEWHERE:
        return "least-elsewhere", f"loss is least at {span}, not where {words.end}{words.on}"
    if fault is Fault.RISES:
        return words.rises[0], f"{words.rises[1]} {span}{words.amount.format(figure=figure)}"
    if fault is Fault.FLAT:
        return words.flat[0], f"{words.flat[1]}, {span}"
    if fault is Fault.RESTS:
        return words.rests
    if fault is Fault.NOT_EVEN:
        return "not-even", f"loss is not even: it differs from that at the opposite place, {span}{words.on}"
    if fault is Fault.DOES_NOT_VANISH:
        return (
            "gradient-does-not-vanish",
            f"gradient is still {figure:.2g} of its largest towards the right answer, {span}",
        )
    if fault is Fault.AIM_NOT_SINGLE:
        return "aim-not-single", f"for {curve.place} the loss has no single minimum: it turns {span}"
    return "aim-does-not-rise", f"the logit that the loss aims at does not rise with w, {curve.place}, {span}"
