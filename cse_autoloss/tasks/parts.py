"""What a task's reader made of the user's files, to be counted and looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Part:
    """A split, or one side of it, as a model is given it.

    Attributes:
        count: images or rows.
        pixels: (N, channels, H, W) uint8; None of rows.
        labels: class or person of each, in words; empty where there is none.
        masks: (N, H, W) bool, foreground; None where there is none.
        facts: what else its line of the table says: column -> text.
    """

    count: int
    pixels: NDArray[np.uint8] | None = None
    labels: Sequence[str] = ()
    masks: NDArray[np.bool_] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def spread(values: Sequence[float] | NDArray[np.float64], form: str = "{:,.4g}") -> str:
    """ "least < median < most"."""
    return " < ".join(form.format(one) for one in np.quantile(values, (0, 0.5, 1)).tolist())
