"""Mean and deviation of pixels do not depend on the images' order or number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cse_autoloss.tasks.pixel_spread import AT_ONCE, pixel_spread, summed_spread


def _sorted_by_brightness(count: int) -> np.ndarray:
    """Dark images first, as a folder sorted by class may have them: (count, 2, 2, 3)."""
    source = np.random.default_rng(0)
    levels = np.linspace(0, 200, count).astype(np.uint8)[:, None, None, None]
    return levels + source.integers(0, 50, (count, 2, 2, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [AT_ONCE - 200, AT_ONCE + 200])
@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_it_is_that_of_all_images(count: int, unit: float) -> None:
    images = _sorted_by_brightness(count)
    expected = torch.from_numpy(images).double() / unit
    mean, deviation = summed_spread(images, unit)
    torch.testing.assert_close(mean.double(), expected.mean((0, 2, 3), keepdim=True), rtol=1e-5, atol=0)
    torch.testing.assert_close(deviation.double(), expected.std((0, 2, 3), keepdim=True), rtol=1e-5, atol=0)


def test_order_can_not_matter() -> None:
    images = _sorted_by_brightness(40)
    shuffled = images[np.random.default_rng(1).permutation(40)]
    for one, other in zip(pixel_spread(images), pixel_spread(shuffled), strict=True):
        assert torch.equal(one, other)
