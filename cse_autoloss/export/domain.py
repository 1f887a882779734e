"""Places where two forms of a loss are compared: the signature's inputs, over what training can meet."""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of


def sample_domain(
    signature: Signature, count: int = 512, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The signature's inputs at `count` random places, the corners among them; see `Form.sample`.

    Args:
        signature: whose inputs.
        count: number of samples (rows of logits, or pairs of boxes).
        seed: of the places.
        dtype: of the answer; the draw is the same for each.
    """
    chance = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance, dtype=torch.float64)

    return form_of(signature).sample(count, uniform, dtype)
