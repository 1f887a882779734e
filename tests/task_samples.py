"""A search that is as small as can be, on any task; and photographs of people."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TINY: dict[str, Any] = {
    "generations": 2,
    "executor": "inprocess",
    "device": "cpu",
    "evolution__population": 6,
    "evolution__offspring": 3,
    "evolution__batch": 40,
    "evolution__scouts": 400,
    "evolution__attempts": 3,
    "evolution__tournament": 2,
    "evolution__elite": 1,
    "evolution__combine": 1,
    "proxy__epochs": 2,
    "audit__finalists": 1,
    "audit__baselines": 2,
    "audit__tune_epochs": 2,
    "audit__epochs": 2,
    "audit__seeds": 2,
    "audit__tuning": 2,
    "audit__resamples": 1000,
}


def portraits(people: int, each: int) -> NDArray[np.uint8]:
    """(people, each, 16, 16): a mixture of four patterns tells the person, four stronger ones tell nothing."""
    source = np.random.default_rng(0)
    patterns = source.normal(0, 1, (2, 4, 16, 16))
    who = np.einsum("pk,kyx->pyx", source.normal(0, 1, (people, 4)), patterns[0])
    noise = np.einsum("pek,kyx->peyx", source.normal(0, 1.5, (people, each, 4)), patterns[1])
    return np.clip(128 + 25 * (who[:, None] + noise), 0, 255).astype(np.uint8)
