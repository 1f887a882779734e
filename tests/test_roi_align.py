"""RoIAlign against values worked by hand, against a plain loop, and against torchvision's."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor

from cse_autoloss.detectors.roi_align import roi_align


def ramp(height: int, width: int) -> Tensor:
    """(1, 2, H, W): channel 0 holds the x of a cell's centre, channel 1 its y, in cells."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack((x, y))[None]


def box(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 4)


def sample(plane: Tensor, y: float, x: float) -> float:
    """Bilinear interpolation of (H, W) at a point in cells, cell centres at whole numbers."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    return float(
        (plane[top, left] * (1 - dx) + plane[top, right] * dx) * (1 - dy)
        + (plane[bottom, left] * (1 - dx) + plane[bottom, right] * dx) * dy
    )


def by_loops(features: Tensor, boxes: Tensor, bins: tuple[int, int], scale: float, samples: int) -> Tensor:
    """The definition, sample by sample."""
    batch, channels = features.shape[:2]
    out = torch.zeros(batch, boxes.shape[1], channels, *bins, dtype=torch.float64)
    for b in range(batch):
        for r, (x0, y0, x1, y1) in enumerate((boxes[b] * scale - 0.5).tolist()):
            for c in range(channels):
                for i in range(bins[0]):
                    for j in range(bins[1]):
                        total = 0.0
                        for k in range(samples):
                            for m in range(samples):
                                y = y0 + (y1 - y0) * (i + (k + 0.5) / samples) / bins[0]
                                x = x0 + (x1 - x0) * (j + (m + 0.5) / samples) / bins[1]
                                total += sample(features[b, c], y, x)
                        out[b, r, c, i, j] = total / samples**2
    return out


def test_a_box_on_one_cell_reads_that_cell() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    assert roi_align(features, box(1, 0, 2, 1), 1, sampling_ratio=1).item() == 2.0
    # Samples at x = 0.75 and 1.25, y = -0.25 and 0.25 cells; 1.25 is held to 1 and -0.25 to 0, the edges.
    assert roi_align(features, box(1, 0, 2, 1), 1).item() == pytest.approx((1.75 + 2 + 2.25 + 2.5) / 4)


def test_the_whole_map_is_its_mean() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    assert roi_align(features, box(0, 0, 2, 2), 1, sampling_ratio=2).item() == pytest.approx(2.5)


def test_a_linear_map_gives_the_centres_of_the_bins() -> None:
    pooled = roi_align(ramp(8, 10), box(8, 4, 32, 20), (2, 3), spatial_scale=1 / 4)
    x, y = pooled[0, 0]
    assert torch.allclose(x, torch.tensor([3.0, 5.0, 7.0]).expand(2, 3))
    assert torch.allclose(y, torch.tensor([2.0, 4.0]).reshape(2, 1).expand(2, 3))


def test_beyond_the_edge() -> None:
    features = torch.full((1, 1, 2, 2), 6.0)
    # Sample at x = -1.5 cells: more than a cell out. At -0.5: the value at the edge.
    assert roi_align(features, box(-1.5, 0, -0.5, 2), 1, sampling_ratio=1).item() == 0.0
    assert roi_align(features, box(-0.5, 0, 0.5, 2), 1, sampling_ratio=1).item() == 6.0
    # Two of four samples out.
    assert roi_align(features, box(-2.5, 0, 1.5, 2), 1).item() == pytest.approx(3.0)


def random_case(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 5, 7, dtype=dtype, generator=generator)
    corner = torch.rand(2, 6, 2, dtype=dtype, generator=generator) * 80 - 16
    boxes = torch.cat((corner, corner + torch.rand(2, 6, 2, dtype=dtype, generator=generator) * 60), dim=-1)
    boxes[0, 0] = 0
    boxes[0, 1] = torch.tensor([0.0, 0.0, 56.0, 40.0])
    boxes[0, 2] = torch.tensor([300.0, 300.0, 310.0, 310.0])
    return features, boxes


@pytest.mark.parametrize(("bins", "samples"), [((1, 1), 1), ((4, 4), 2), ((2, 3), 3)])
def test_equals_the_definition(bins: tuple[int, int], samples: int) -> None:
    features, boxes = random_case(samples)
    fast = roi_align(features, boxes, bins, spatial_scale=1 / 8, sampling_ratio=samples)
    assert torch.allclose(fast, by_loops(features, boxes, bins, 1 / 8, samples), atol=1e-12)


def test_gradient_in_the_features() -> None:
    features, boxes = random_case(3)
    assert torch.autograd.gradcheck(
        lambda values: roi_align(values, boxes[:, :3], 2, spatial_scale=1 / 8),
        features.requires_grad_(),
    )


def test_memory_format_does_not_matter() -> None:
    features, boxes = random_case(4, torch.float32)
    other = features.to(memory_format=torch.channels_last)
    assert torch.allclose(
        roi_align(features, boxes, 4, spatial_scale=1 / 8), roi_align(other, boxes, 4, spatial_scale=1 / 8)
    )


def test_any_number_of_boxes() -> None:
    features, boxes = random_case(5, torch.float32)
    assert roi_align(features, boxes[:, :0], 4).shape == (2, 0, 3, 4, 4)


@pytest.mark.parametrize(
    ("features", "boxes", "bins"),
    [
        ((2, 3, 5, 7), (1, 6, 4), 4),
        ((2, 3, 5), (2, 6, 4), 4),
        ((2, 3, 5, 7), (2, 6, 5), 4),
        ((2, 3, 5, 7), (2, 6, 4), 0),
    ],
)
def test_shapes_that_do_not_fit(features: tuple[int, ...], boxes: tuple[int, ...], bins: int) -> None:
    with pytest.raises(ValueError, match=r"expected features|at least 1"):
        roi_align(torch.zeros(features), torch.zeros(boxes), bins)


@pytest.mark.torchvision
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_equals_torchvision(samples: int) -> None:
    from torchvision.ops import roi_align as reference

    features, boxes = random_case(samples, torch.float32)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    pooled = roi_align(ours, boxes, (3, 4), spatial_scale=1 / 8, sampling_ratio=samples).flatten(0, 1)
    expected = reference(theirs, list(boxes), (3, 4), 1 / 8, samples, aligned=True)
    assert torch.allclose(pooled, expected, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)
