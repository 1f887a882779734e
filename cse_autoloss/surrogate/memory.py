"""What earlier runs tell of losses: shipped with the package, as formulas and what their trainings were worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.spaces.wide import fitting
from cse_autoloss.surrogate.slopes import slope_features

SHIPPED = "known_scores.jsonl"


@dataclass(frozen=True)
class Remembered:
    """A loss that an earlier run trained.

    Attributes:
        task: that it was trained on, by its name.
        data: that it was trained on, as the task's settings name them.
        signature: of the loss, by its name.
        formula: prefix notation.
        place: normal quantile of its rank among the run's trainings, scored on validation data.
        worths: of its trainings, None for one that failed; only where they can be held beside those of the run that
            remembers: the same data, model, schedule and metric, beside the same losses in the other slots.
    """

    task: str
    data: str
    signature: str
    formula: str
    place: float
    worths: tuple[float | None, ...] = ()


@lru_cache(maxsize=1)
def shipped() -> tuple[Remembered, ...]:
    """What comes with the package; `benchmarks/surrogate.py memory` wrote it."""
    text = files(__package__).joinpath(SHIPPED).read_text(encoding="utf-8")
    return tuple(Remembered(**json.loads(line)) for line in text.splitlines())


def remembered(
    memory: Sequence[Remembered], task: str, signature: Signature
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Features (m, D) and places (m,) of what was trained on a task with losses of a signature; None for nothing."""
    told = [one.name for one in fitting(signature)]
    own = [one for one in memory if one.task == task and one.signature in told]
    if not own:
        return None
    graphs = [parse_formula(one.formula, signature) for one in own]
    return slope_features(graphs), np.array([one.place for one in own])
