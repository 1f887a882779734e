"""Batched suppression against the sequential walk that it stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cse_autoloss.detectors.boxes import paired_iou
from cse_autoloss.detectors.nms import batched_nms


def _sequential(boxes: torch.Tensor, labels: torch.Tensor, threshold: float) -> list[bool]:
    kept: list[int] = []
    for i in range(len(boxes)):
        rivals = [j for j in kept if labels[j] == labels[i] and paired_iou(boxes[i], boxes[j]) > threshold]
        if labels[i] >= 0 and not rivals:
            kept.append(i)
    return [i in kept for i in range(len(boxes))]


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 14), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_equals_the_sequential_walk(seed: int, count: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(3, count, 2, generator=generator) * 8
    boxes = torch.cat((start, start + 1 + torch.rand(3, count, 2, generator=generator) * 8), dim=-1)
    labels = torch.randint(-1, 2, (3, count), generator=generator)
    found = batched_nms(boxes, labels, threshold)
    for row in range(3):
        assert found[row].tolist() == _sequential(boxes[row], labels[row], threshold)


def test_a_chain_keeps_every_second_box() -> None:
    """Each box overlaps its neighbours alone: the worst case for a fixed point."""
    x = torch.arange(9.0)
    boxes = torch.stack((x * 4, torch.zeros(9), x * 4 + 8, torch.full((9,), 8.0)), dim=-1)[None]
    labels = torch.zeros(1, 9, dtype=torch.int64)
    assert batched_nms(boxes, labels, 0.3)[0].tolist() == [i % 2 == 0 for i in range(9)]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0]] * 3])
    assert batched_nms(boxes, torch.tensor([[0, 1, 0]]), 0.5).tolist() == [[True, True, False]]


def test_images_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(5, 30, 2, generator=generator) * 20
    boxes = torch.cat((low, low + 5 + 10 * torch.rand(5, 30, 2, generator=generator)), dim=-1)
    labels = torch.randint(-1, 2, (5, 30), generator=generator)
    whole = batched_nms(boxes, labels, 0.4)
    monkeypatch.setattr("cse_autoloss.detectors.nms.PART", 2 * 30 * 30)
    assert torch.equal(batched_nms(boxes, labels, 0.4), whole)
    assert batched_nms(boxes[:0], labels[:0], 0.4).shape == (0, 30)
