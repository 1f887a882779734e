"""What an audit or a comparison says in words: seeds, gains, how all were tuned, and whom it left untested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cse_autoloss.bench.statistics import Interval
from cse_autoloss.tasks.protocol import Metric

if TYPE_CHECKING:
    from cse_autoloss.bench.audit import Contestant


def seeds_text(seeds: int, draws: int) -> str:
    """What a comparison rests on, for example "5 paired seeds on 5 fresh draws of the data"."""
    told = "one seed" if seeds == 1 else f"{seeds} paired seeds"
    if not draws:
        return told
    return f"{told} on {'one fresh draw' if draws == 1 else f'{draws} fresh draws'} of the data"


def gain_text(metric: Metric, gain: Interval) -> str:
    """The gain with its interval, where one is known: "+1.03 AP [+0.41, +1.47]".

    Of what is better when it is lower, "+0.03 less MAE [+0.01, +0.05]", and a loss is "+0.03 more MAE [+0.01, +0.05]".
    """
    bounds, word = (gain.low, gain.mean, gain.high), ""
    if not metric.higher:
        word = "less " if gain.mean >= 0 else "more "
        bounds = bounds if gain.mean >= 0 else (-gain.high, -gain.mean, -gain.low)
    low, mean, high = (metric.text(value, sign="+") for value in bounds)
    span = f" [{low}, {high}]" if math.isfinite(gain.low) and math.isfinite(gain.high) else ""
    return f"{mean} {word}{metric.label}{span}"


def tuned(contestants: Sequence[Contestant]) -> str:
    """ "tuned alike" where all had the same number of trainings; and how many."""
    counts = {one.trainings for one in contestants}
    if counts == {0}:
        return "none tuned"
    if len(counts) > 1:
        return f"tuned by {min(counts)} to {max(counts)} trainings"
    return f"tuned alike, {counts.pop()} trainings each"


def untested(finalists: Sequence[Contestant], metric: Metric) -> list[str]:
    """A note on those that were tuned like the winner and did worse; none where there is none."""
    if not finalists:
        return []
    told = ", ".join(f"{one.name} ({metric.label} {metric.text(one.val)} there)" for one in finalists)
    return [f"of the finalists, the best on validation after tuning was tested, and not {told}"]
