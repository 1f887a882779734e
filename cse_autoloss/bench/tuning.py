"""What the tuning of a contestant tries next, from what it has tried: its tunables, and its losses' inner parameters.

A try is a point: losses with inner parameters, and a value for each of the task's tunables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.losses import variants

Setting = tuple[tuple[str, float], ...]
"""(name, value) of each tunable."""


class Try(NamedTuple):
    """Losses, without settings, and the values of the tunables."""

    losses: LossSet
    setting: Setting

    def at(self, name: str, value: float) -> Try:
        """The same with another value of a tunable."""
        return self._replace(setting=tuple({**dict(self.setting), name: value}.items()))


Next = Callable[[Try, Sequence[Try]], list[Try]]
"""From the best try so far and all of them, what to try next; empty where nothing is left."""


def beyond(grid: Mapping[str, Sequence[float]], open_: Sequence[str]) -> Next:
    """One step past the end of an open tunable's values, for whoever is best at an end: twice the value, or half."""

    def step(best: Try, tried: Sequence[Try]) -> list[Try]:
        for name in open_:
            values = [dict(one.setting)[name] for one in tried]
            value = dict(best.setting)[name]
            if len(set(grid[name])) > 1 and value in (max(values), min(values)):
                return [best.at(name, 2 * value if value == max(values) else value / 2)]
        return []

    return step


def inner(base: LossSet) -> Next:
    """Two other values of one inner parameter at a time, of the one first that fewest values were tried of.

    Args:
        base: the losses as they were named: what they state of their parameters is held.
    """

    def step(best: Try, tried: Sequence[Try]) -> list[Try]:
        axes = []
        for slot, text in base.slots:
            for along in variants(best.losses[slot], text):
                axis = [best._replace(losses=best.losses.with_loss(slot, other)) for other in along]
                fresh = [one for one in axis if one not in tried]
                if fresh:
                    axes.append((len(axis) - len(fresh), fresh))
        return min(axes, key=lambda axis: axis[0])[1][:2] if axes else []

    return step


def finer(best: Try, tried: Sequence[Try]) -> list[Try]:
    """Halfway, in the logarithm, from the best value of each tunable to its neighbours; where it has none, √2 on."""
    found = []
    for name, value in best.setting:
        values = {dict(one.setting)[name] for one in tried}
        below = max((v for v in values if v < value), default=value / 2)
        above = min((v for v in values if v > value), default=value * 2)
        found += [best.at(name, math.sqrt(value * other)) for other in (above, below)]
    return [one for one in found if one not in tried]
