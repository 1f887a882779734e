"""Aliases by meaning: which losses of the catalogue a formula is, whatever it looks like.

Two losses are alike when their gradients on a fixed probe batch differ by one positive factor, since training
then differs by the loss's weight alone. Of sigmoid heads' losses positives and the rest may have a factor
each: that is the α weighting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from cse_autoloss.graph import Signature
from cse_autoloss.losses.catalogue import CATALOGUE, list_losses
from cse_autoloss.losses.entry import Entry
from cse_autoloss.losses.family import Family, Parameter
from cse_autoloss.losses.load import load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.losses.reduction import ReducedLoss
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.standing import cases

NEAREST_FAMILIES = 3
"""So many of the losses with inner parameters are fitted, the nearest at their usual numbers."""

NEAR = 0.5
"""Cosine of gradients, at the usual numbers, of a family that is worth fitting."""

ROUNDS = 3
"""Times that each of several inner parameters is fitted, one after another."""

TOLERANCE = 1e-7
"""Largest difference between gradients that count as equal, relative to the largest gradient."""


@dataclass(frozen=True)
class Match:
    """A loss of the catalogue that a formula is.

    Attributes:
        entry: the catalogue's loss.
        scale: the formula's gradient is this many times the entry's.
        alpha: class weighting α·y + (1 − α)(1 − y) on top of the scale, None for none.
        overlapping: it holds only where the boxes overlap (reg).
        offset: what the formula adds to scale × entry; None where that is no single number, but a term
            without a gradient.
    """

    entry: Entry
    scale: float
    alpha: float | None
    overlapping: bool
    offset: float | None

    def __str__(self) -> str:
        text = f"this is {self.entry.title}"
        if self.alpha is not None:
            text += f" with α = {_number(self.alpha)}"
        if _differs(self.scale, 1.0):
            text += f" times {_number(self.scale)}"
        if self.offset is None:
            text += " plus a term that has no gradient"
        elif _differs(self.offset, 0.0):
            text += f" {'plus' if self.offset > 0 else 'minus'} {_number(abs(self.offset))}"
        return text + (" where the boxes overlap" if self.overlapping else "")


def find_alike(formula: str, signature: str | Signature | None = None) -> list[Match]:
    """The losses of the catalogue that `formula` is, up to a positive factor and what has no gradient.

    Where it is none at its usual numbers: the one that it is at other numbers of its inner parameters.

    Args:
        formula: prefix notation, a catalogue name or the path of a loss.json.
        signature: as for `load_loss`; the losses of a user's are compared with its default.

    Returns:
        Matches, the plainest first (factor 1, nothing added); empty where there is none.

    Raises:
        AutoLossError: as `load_loss` does.
    """
    loss = load_loss(formula, signature, "none", alpha=None)
    mine = _profiles(loss)
    found = []
    for entry in list_losses(loss.signature):
        if not entry.whole:
            first, *others = (_match(entry, one) for one in mine)
            # What changes with the progress of a training is a known loss only where it is the same one all through.
            if first is not None and all(str(other) == str(first) for other in others):
                found.append(first)
    if not found and len(mine) == 1 and mine[0].usable:
        points = (point for point, _ in _near_points(loss.signature, mine[0]))
        found = [match for point in points if (match := _match(point, mine[0])) is not None][:1]
    return sorted(found, key=_plainness)


def nearest(formula: str, signature: str | Signature | None = None) -> tuple[Entry, float] | None:
    """The loss whose gradients on the probe batch point most nearly the same way, and their cosine.

    None where the formula has no gradient or one that is not finite.
    """
    loss = load_loss(formula, signature, "none", alpha=None)
    mine = _profiles(loss)
    if not all(one.usable for one in mine):
        return None
    own = torch.stack([one.gradient for one in mine])
    known = [entry for entry in list_losses(loss.signature) if not entry.whole]
    scored = [(entry, _closeness(own, entry)) for entry in known]
    if len(mine) == 1:
        scored += _near_points(loss.signature, mine[0])
    return max(scored, key=lambda pair: pair[1])


def _near_points(signature: Signature, mine: _Profile) -> list[tuple[Entry, float]]:
    """Of the nearest families, the point whose gradients point most nearly the same way, and the cosine; best first.

    Its numbers are those of a search, so a short fraction where one is as good.
    """
    families = CATALOGUE.families
    entries = [one for one in list_losses(signature) if one.name in families and not one.whole]
    usual = sorted(((_closeness(mine.gradient, one), one.name) for one in entries), reverse=True)
    found = []
    for entry in (families[name].default for near, name in usual[:NEAREST_FAMILIES] if near > NEAR):
        family = families[entry.name]
        given = {one.name: one.default for one in family.parameters}
        fitted = [one for one in family.parameters if not one.whole]
        for parameter in fitted * (1 if len(fitted) == 1 else ROUNDS):
            given[parameter.name] = _best_number(family, parameter, given, mine.gradient)
        if fitted:
            point = family.at(given)
            found.append((point, _closeness(mine.gradient, point)))
    return sorted(found, key=lambda pair: -pair[1])


def _best_number(family: Family, parameter: Parameter, given: Mapping[str, float], own: Tensor) -> float:
    from scipy.optimize import minimize_scalar  # takes a while, and few who load a loss ask what it is

    def apart(place: float) -> float:
        value = math.exp(place) if parameter.log else place
        return -_closeness(own, family.at({**given, parameter.name: value}))

    ends = [math.log(end) if parameter.log else end for end in parameter.span]
    place = minimize_scalar(apart, bounds=ends, method="bounded", options={"xatol": 1e-5}).x
    value = math.exp(place) if parameter.log else float(place)
    short = float(Fraction(value).limit_denominator(12))
    near = abs(short - value) <= 1e-4 * abs(value) and parameter.span[0] <= short <= parameter.span[1]
    return short if near else value


def _closeness(own: Tensor, entry: Entry) -> float:
    """Cosine of gradients; −1 for an entry that has none."""
    other = _Profile(entry.make("none", alpha=None))
    return _cosine(own, other.gradient.expand_as(own)) if other.usable else -1.0


def _profiles(loss: ReducedLoss) -> list[_Profile]:
    """A loss's profile: of one that reads what stands still, as the progress of a training, at its ends and between."""
    return [_Profile(loss, **case) for case in (cases(loss.graph) if isinstance(loss, GraphLoss) else [{}])]


class _Profile:
    """Values and gradients of a loss on its signature's batch."""

    def __init__(self, loss: ReducedLoss, **standing: float) -> None:
        self.batch = form_of(loss.signature).batch(_uniform())
        args = list(self.batch.args)
        moving = []
        for place in self.batch.moving:
            args[place] = args[place].clone().requires_grad_()
            moving.append(args[place])
        values = loss(*args, **standing)
        self.values = values.detach()
        found: Sequence[Tensor | None] = [None] * len(moving)
        if values.requires_grad:
            found = torch.autograd.grad(values.sum(), moving, allow_unused=True)
        slopes = [torch.zeros_like(m) if g is None else g for m, g in zip(moving, found, strict=True)]
        self.gradient = slopes[0] if len(slopes) == 1 else torch.cat([slope.flatten() for slope in slopes])
        self.usable = bool(
            self.gradient.isfinite().all() and self.values.isfinite().all() and self.gradient.abs().max() > 0
        )


def _match(entry: Entry, mine: _Profile) -> Match | None:
    theirs = _Profile(entry.make("none", alpha=None))
    if not mine.usable or not theirs.usable:
        return None
    scale = _factor(mine.gradient, theirs.gradient)
    if scale is not None:
        return Match(entry, scale, None, False, _offset(mine.values - scale * theirs.values))
    on = mine.batch.split
    if on is None:
        return None
    scale = _factor(mine.gradient[on], theirs.gradient[on])
    if scale is None:
        return None
    if mine.batch.alone:
        return Match(entry, scale, None, True, _offset((mine.values - scale * theirs.values)[on]))
    down = _factor(mine.gradient[~on], theirs.gradient[~on])
    if down is None:
        return None
    weight = torch.where(on, scale, down)
    offset = _offset(mine.values - weight * theirs.values)
    return Match(entry, scale + down, scale / (scale + down), False, offset)


def _factor(mine: Tensor, theirs: Tensor) -> float | None:
    """a > 0 with mine = a·theirs, or None where there is none."""
    norm = (theirs * theirs).sum()
    if norm == 0:
        return None
    factor = (mine * theirs).sum() / norm
    error = (mine - factor * theirs).abs().max()
    return factor.item() if factor > 0 and error <= TOLERANCE * mine.abs().max() else None


def _offset(rest: Tensor) -> float | None:
    """The number that all of `rest` is, or None."""
    middle = rest.mean().item()
    return middle if (rest - middle).abs().max() <= 1e-6 * max(1.0, abs(middle)) else None


def _plainness(match: Match) -> tuple[bool, bool, bool, bool, bool]:
    return (
        match.overlapping,
        match.offset is None,
        match.alpha is not None,
        _differs(match.scale, 1.0),
        match.offset is not None and _differs(match.offset, 0.0),
    )


def _cosine(mine: Tensor, theirs: Tensor) -> float:
    return torch.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0).item()


def _uniform() -> Callable[..., Tensor]:
    """Draws that are always the same."""
    generator = torch.Generator().manual_seed(20210301)

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=generator)

    return uniform


def _differs(number: float, other: float) -> bool:
    return abs(number - other) > 1e-6


def _number(number: float) -> str:
    return f"{round(number, 6):g}"
