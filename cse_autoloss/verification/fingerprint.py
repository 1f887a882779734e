"""Gradient fingerprints: losses with the same slopes at fixed points, other than the filter's, count as one loss."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

FINE = 1e-4
"""Gradients below this are told apart in steps of 1e-8, larger ones in steps of 1e-4 of themselves."""


def digest_of_slopes(slope: Tensor, kind: str) -> str:
    """32 hex digits for slopes (…) at points of that kind.

    The slopes are rounded on the scale asinh(g / 1e-4): far coarser than float64's rounding, so that x + y
    and y + x agree, and far finer than any difference that training would notice. Slopes that are not finite
    count as equal.
    """
    rounded = torch.asinh(slope / FINE).div(FINE).nan_to_num(nan=9e9, posinf=9e9, neginf=9e9).round()
    data = rounded.to(torch.int64).numpy().astype("<i8", copy=False)
    return hashlib.sha256(kind.encode() + np.ascontiguousarray(data).tobytes()).hexdigest()[:32]
