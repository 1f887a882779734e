"""The probe grids that candidates are judged on, made once for each signature, look, precision and place."""

from __future__ import annotations

from functools import lru_cache

import torch

from cse_autoloss.graph import Signature
from cse_autoloss.settings.filters import THRESHOLDS, VerifySettings
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.curves import Look, ProbeGrid

Stage = tuple[Look, torch.dtype]


def stages(signature: Signature, coupled: bool, settings: VerifySettings = THRESHOLDS) -> tuple[Stage, ...]:
    """The looks that a candidate passes: coarse, fine in float64 and float32, then by number of classes.

    Args:
        signature: of the candidates.
        coupled: whether they hold a Softmax, which lets the classes of a sample see each other.
        settings: the jitter's seed and the range of boxes.
    """
    return _stages(signature, coupled, settings.seed or 0, settings.pixels)


@lru_cache(maxsize=64)
def _stages(signature: Signature, coupled: bool, seed: int, pixels: tuple[float, float]) -> tuple[Stage, ...]:
    fine = Look(True, coupled, 0, seed, pixels)
    counts = form_of(signature).class_counts(coupled)
    return (
        (Look(False, coupled, 0, seed, pixels), torch.float32),
        (fine, torch.float64),
        (fine, torch.float32),
        *((Look(True, coupled, count, seed, pixels), torch.float32) for count in counts),
    )


@lru_cache(maxsize=64)
def probe_grid(signature: Signature, look: Look, dtype: torch.dtype, device: str = "cpu") -> ProbeGrid:
    """The grid of a look, its inputs in that precision and place."""
    return form_of(signature).grid(look).to(dtype, device)
