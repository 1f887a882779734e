"""The triplet loss with the hardest partners of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

MARGIN = 0.3
_TINY = 1e-6
"""Under the root of a squared distance, whose slope would have no end at 0."""


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over the anchors of max(0, margin + d⁺ − d⁻), a scalar; 0 where no image is an anchor.

    d⁺ is the distance to the farthest other image of the anchor's class, d⁻ to the nearest one of another class, both
    Euclidean between features of length 1. An anchor is an image that has both in the batch.

    Source: Hermans, Beyer and Leibe, In Defense of the Triplet Loss for Person Re-Identification, 2017.

    Args:
        features: (N, D).
        labels: (N,) int64.
        margin: at least 0; of at most 2, the greatest distance.
    """
    own = normalize(features, dim=-1)
    distance = ((2 - 2 * own @ own.T).clamp(min=0) + _TINY).sqrt()
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distance.masked_fill(~same | itself, 0.0).amax(1)
    nearest = distance.masked_fill(same, 3.0).amin(1)
    anchor = (same & ~itself).any(1) & (~same).any(1)
    found = (margin + farthest - nearest).clamp(min=0) * anchor
    return found.sum() / anchor.sum().clamp(min=1)
