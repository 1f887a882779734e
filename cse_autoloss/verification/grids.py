"""The probe grids that candidates are judged on, made once for each signature, precision and place."""

from __future__ import annotations

from functools import lru_cache

import torch

from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.curves import ProbeGrid


@lru_cache(maxsize=64)
def probe_grid(
    signature: Signature, coupled: bool, fine: bool, dtype: torch.dtype, device: str = "cpu"
) -> ProbeGrid:
    """The grid for a kind of candidate.

    Args:
        signature: of the candidates.
        coupled: whether they hold a Softmax, which lets the classes of a sample see each other.
        fine: the grid that decides, of some 1,000 points; else the coarse one of 64, which throws away
            what is plainly wrong.
        dtype, device: of the inputs.
    """
    return form_of(signature).grid(fine=fine, coupled=coupled).to(dtype, device)
