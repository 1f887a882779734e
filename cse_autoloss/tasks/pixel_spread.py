"""Mean and deviation of all pixels of a set of images, whatever their order and number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE = 1000
"""So many images are summed as floats, as scores of earlier versions were; more are counted."""


def pixel_spread(images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Mean and sample deviation of each channel, values 0 to 255 taken as 0 to 1.

    The 256 values are counted, so that the images' order can't matter and none is held as floats.

    Args:
        images: (N, channels, H, W).

    Returns:
        Both (1, channels, 1, 1) float32.
    """
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in images.swapaxes(0, 1)])
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / np.maximum(total - 1, 1)
    as_tensor = [torch.from_numpy(one).float().view(1, -1, 1, 1) for one in (mean, variance**0.5)]
    return as_tensor[0], as_tensor[1]


def summed_spread(images: NDArray[np.uint8], unit: float = 1.0) -> tuple[Tensor, Tensor]:
    """`pixel_spread` in units of so many grey levels, of up to `AT_ONCE` images by a sum of floats."""
    if len(images) > AT_ONCE:
        mean, deviation = pixel_spread(images)
        return mean * 255 / unit, deviation * 255 / unit
    floats = torch.from_numpy(images).float() / unit
    return floats.mean((0, 2, 3), keepdim=True), floats.std((0, 2, 3), keepdim=True)
