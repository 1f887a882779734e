"""Places where two forms of a loss are compared: the branch's variables, over what training can meet."""

from __future__ import annotations

import torch
from torch import Tensor

from cse_autoloss.graph import Signature
from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs

FAR_LOGIT = 30.0
"""Largest logit at which forms are compared; beyond it the S-curves are flat to float64's last digits."""

LARGEST_BOX = 1333.0
"""Longest side of an image that detectors are trained on, in pixels."""

_CLASSES = 4


def sample_domain(
    signature: Signature, count: int = 512, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """The branch's variables at `count` random places, the corners among them.

    Logits lie within ±30, half of them within ±3; IoUs are 0, 1 and between; one sample in three is
    background. Boxes have sides of 1 to 1333 pixels, from disjoint to equal.

    Args:
        signature: the branch.
        count: number of samples (rows of logits, or pairs of boxes).
        seed: of the places.
        dtype: of the answer; the draw is the same for each.
    """
    chance = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance, dtype=torch.float64)

    if signature.name == "reg":
        return {
            name: value.to(dtype) for name, value in box_inputs(*_boxes(count, uniform(count, 9))).items()
        }
    columns = _CLASSES + (signature.name == "cls-multiclass")
    reach = torch.where(uniform(count, 1) < 0.5, 3.0, FAR_LOGIT)
    logits = ((2 * uniform(count, columns) - 1) * reach).to(dtype)
    target = torch.arange(count) % 6
    target = torch.where(target < _CLASSES, target, _CLASSES)
    iou = (1.4 * uniform(count) - 0.2).clamp(0, 1).to(dtype)
    make = binary_inputs if signature.name == "cls-binary" else multiclass_inputs
    return make(logits, target, iou)


def _boxes(count: int, chance: Tensor) -> tuple[Tensor, Tensor]:
    size = LARGEST_BOX ** chance[:, 0:2]
    low = chance[:, 2:4] * LARGEST_BOX
    # From equal (0) through overlapping to disjoint (beyond 1): shifts and stretches relative to the size.
    far = (1.5 * chance[:, 8:9] - 0.1).clamp(min=0)
    shift = (2 * chance[:, 4:6] - 1) * far
    stretch = torch.exp((2 * chance[:, 6:8] - 1) * far.clamp(max=1))
    pred_low = low + shift * size
    return torch.cat([pred_low, pred_low + size * stretch], -1), torch.cat([low, low + size], -1)
