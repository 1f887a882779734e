"""A scene: a loss on a tape over a domain, one variable of which moves; what is proved is a statement about a scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cse_autoloss.certify.bisect import Array, Axis, Ranges, scattered
from cse_autoloss.certify.enclose import enclose
from cse_autoloss.certify.tape import Tape

TOLERANCE = 1e-6
"""A slope of the wrong sign counts from this share of the scene's scale on; below, ε and rounding decide."""

Point = Mapping[str, float]
Evaluated = tuple[float, dict[str, Any]]
"""What the loss itself comes to at a point: its slope along the motion, and the inputs as people read them."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A loss, or its sum over the classes, with something that moves.

    Attributes:
        tape: its steps.
        loss: the step that is the loss.
        axes: the domain.
        moved: at what rate variables move.
        sign: 1 where the loss must not rise along the motion, −1 where it must not fall.
        place: the scene in words.
        domain: the domain in words.
        evaluate: the slope along the motion of the loss itself, by autograd in float64, and the inputs there.
        near: where the largest slope sets the scale: some axes' range, in place of the whole.
    """

    tape: Tape
    loss: int
    axes: tuple[Axis, ...]
    moved: Mapping[str, int]
    sign: int
    place: str
    domain: str
    evaluate: Callable[[Point], Evaluated]
    near: Mapping[str, tuple[float, float]]

    @cached_property
    def slope(self) -> int:
        """The step that is the slope along the motion, times `sign`: at most 0 where the loss is right."""
        found = self.tape.slope(self.loss, self.moved)
        return found if self.sign > 0 else self.tape.apply("Neg", found)

    def where_read(self, step: int) -> Scene:
        """The same scene without the axes that a step does not read, but for the first."""
        read = self.tape.reads(step)
        return replace(self, axes=(self.axes[0], *(one for one in self.axes[1:] if one.name in read)))

    def ranges(self, step: int, boxes: Ranges) -> tuple[Array, Array]:
        """The range of a step over boxes, (N,) each end."""
        return self.all_ranges([step], boxes)[0]

    def all_ranges(self, steps: Sequence[int], boxes: Ranges) -> list[tuple[Array, Array]]:
        """The ranges of several steps, what they share computed once."""
        count = max(np.size(low) for low, _ in boxes.values())
        found = enclose(self.tape, steps, boxes)
        return [(np.broadcast_to(low, count), np.broadcast_to(high, count)) for low, high in found]

    @cached_property
    def scale(self) -> float:
        """A slope that is surely reached: the largest at points of the domain, most of them where `near` says."""
        points = scattered(self.axes, self.near)
        ranges = {axis.name: (points[:, place],) * 2 for place, axis in enumerate(self.axes)}
        low, high = self.ranges(self.slope, ranges)
        reached = np.where(np.isnan(low), 0.0, np.maximum(np.maximum(low, -high), 0.0))
        finite = reached[np.isfinite(reached)]
        return float(finite.max()) if len(finite) else 0.0
