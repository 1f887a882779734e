"""Geometry of boxes against arithmetic done by hand and against a raster."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cse_autoloss.detectors.boxes import area, iou_parts, paired_iou, pairwise_iou

corner = st.integers(0, 11)
side = st.integers(1, 6)
box = st.tuples(corner, corner, side, side).map(lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]])


def _raster(xyxy: list[int]) -> torch.Tensor:
    """The box as filled pixels: boxes with whole corners have exact areas so."""
    grid = torch.zeros(20, 20, dtype=torch.bool)
    grid[xyxy[1] : xyxy[3], xyxy[0] : xyxy[2]] = True
    return grid


@given(box, box)
def test_parts_are_pixel_counts(a: list[int], b: list[int]) -> None:
    parts = iou_parts(torch.tensor([a]).double(), torch.tensor([b]).double())
    in_a, in_b = _raster(a), _raster(b)
    assert parts.intersection.item() == (in_a & in_b).sum()
    assert parts.union.item() == pytest.approx((in_a | in_b).sum().item())
    enclosing = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    assert parts.enclosing.item() == pytest.approx(enclosing)
    iou = paired_iou(torch.tensor([a]).double(), torch.tensor([b]).double()).item()
    assert iou == pytest.approx((parts.intersection / parts.union).item())


def test_golden() -> None:
    pred, target = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 1.0, 6.0, 5.0]])
    intersection, union, enclosing = iou_parts(pred, target)
    assert (intersection.item(), union.item(), enclosing.item()) == (2.0, 22.0, 30.0)


def test_coincident_touching_and_empty_boxes() -> None:
    one = torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert paired_iou(one, one).item() == pytest.approx(1.0)
    assert paired_iou(one, torch.tensor([3.0, 1.0, 5.0, 3.0])).item() == 0.0
    empty = torch.zeros(4)
    assert paired_iou(empty, empty).item() == 0.0
    assert area(torch.tensor([3.0, 3.0, 1.0, 1.0])).item() == 0.0


def test_pairwise_is_paired_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, n, 4, generator=generator).cumsum(-1)[..., [0, 1, 2, 3]] for n in (3, 5))
    found = pairwise_iou(a, b)
    assert found.shape == (2, 3, 5)
    assert torch.equal(found[1, 2, 4], paired_iou(a[1, 2], b[1, 4]))


def test_gradients() -> None:
    pred = torch.tensor([[0.0, 0.0, 4.0, 2.5]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[2.0, 1.0, 6.0, 5.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: tuple(iou_parts(p, target)), (pred,))
