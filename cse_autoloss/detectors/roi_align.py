"""RoIAlign (He et al., ICCV 2017): features of boxes, cut out of a feature map by bilinear interpolation.

Bilinear interpolation is separable, and so is an average over a regular grid of samples. Pooling a box is
therefore two small matrix products, A_y F A_xᵀ, where a row of A_y holds the weights of the map's rows in one
bin. All boxes of all images are done at once, and the gradient is a product too: no scatter, the same on
every device, deterministic.

The values are torchvision's with `aligned=True`. Cost: R · p · H · W · C multiplications an image for R
boxes, p bins a side and a map of C channels, H x W. That is fast on the maps of a proxy (some thousand
cells); on maps of full size, where a box covers few of the cells, a kernel that gathers its samples is the
better choice.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(
    features: Tensor,
    boxes: Tensor,
    output_size: int | tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
) -> Tensor:
    """Average of bilinear samples in each bin of each box, differentiable in the features.

    A box is cut into p_h x p_w equal bins, and each bin is sampled at the centres of s x s equal parts. A
    sample beyond the map's edge by less than a cell takes the value at the edge; one further out counts as 0.

    Args:
        features: (B, C, H, W); cell (r, c) has its centre at ((c + 0.5) / scale, (r + 0.5) / scale) pixels.
        boxes: (B, R, 4) xyxy pixels, R >= 0 boxes of each image. A box without area reads one point or line;
            pad with zeros where images differ in number.
        output_size: p, or (p_h, p_w).
        spatial_scale: cells a pixel, 1 / stride of the map.
        sampling_ratio: s, samples a bin and axis.

    Returns:
        (B, R, C, p_h, p_w), of the features' dtype.

    Raises:
        ValueError: for shapes that do not fit, or no bins or samples.
    """
    if features.dim() != 4 or boxes.dim() != 3 or boxes.shape[2] != 4 or boxes.shape[0] != features.shape[0]:
        raise ValueError(
            "expected features (B, C, H, W) and boxes (B, R, 4), "
            f"got {tuple(features.shape)} and {tuple(boxes.shape)}"
        )
    bins_y, bins_x = (output_size, output_size) if isinstance(output_size, int) else output_size
    if min(bins_y, bins_x, sampling_ratio) < 1:
        raise ValueError(f"bins and samples must be at least 1, got {output_size} and {sampling_ratio}")
    batch, channels, height, width = features.shape
    count = boxes.shape[1]
    edges = boxes * spatial_scale - 0.5
    rows = _axis_weights(edges[..., 1], edges[..., 3], bins_y, sampling_ratio, height).to(features.dtype)
    columns = _axis_weights(edges[..., 0], edges[..., 2], bins_x, sampling_ratio, width).to(features.dtype)

    # (B, R·p_h, H) x (B, H, W·C): channels last, so that both products read memory in order.
    by_row = rows.reshape(batch, count * bins_y, height) @ features.permute(0, 2, 3, 1).reshape(
        batch, height, width * channels
    )
    # (B·R, 1, p_x, W) x (B·R, p_h, W, C)
    pooled = columns.reshape(batch * count, 1, bins_x, width) @ by_row.reshape(
        batch * count, bins_y, width, channels
    )
    return pooled.reshape(batch, count, bins_y, bins_x, channels).permute(0, 1, 4, 2, 3)


def _axis_weights(low: Tensor, high: Tensor, bins: int, samples: int, length: int) -> Tensor:
    """Weight of each cell in each bin along one axis: low, high (B, R) in cells to (B, R, bins, length).

    Bilinear interpolation at t weighs cell k by max(0, 1 − |t − k|).
    """
    share = (torch.arange(bins * samples, device=low.device, dtype=low.dtype) + 0.5) / (bins * samples)
    at = low[..., None] + (high - low)[..., None] * share
    on_map = (at >= -1) & (at <= length)
    cell = torch.arange(length, device=low.device, dtype=low.dtype)
    weight = (1 - (at.clamp(0, length - 1)[..., None] - cell).abs()).clamp(min=0) * on_map[..., None]
    return weight.unflatten(-2, (bins, samples)).mean(dim=-2)
