"""The assignment against a loop that spells the rule out, and its edge cases."""

from __future__ import annotations

import torch

from cse_autoloss.detectors.assign import assign, grid_points

CLASSES = 3


def _by_loop(
    points: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, stride: int, radius: float
) -> tuple[list[list[int]], list[list[list[float]]]]:
    all_labels, all_boxes = [], []
    for own_boxes, own_labels in zip(boxes.tolist(), labels.tolist(), strict=True):
        row_labels, row_boxes = [], []
        for x, y in points.tolist():
            best, label, target = float("inf"), CLASSES, [0.0] * 4
            for (x0, y0, x1, y1), own in zip(own_boxes, own_labels, strict=True):
                near = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) <= radius * stride
                if own >= 0 and near and x0 < x < x1 and y0 < y < y1 and (x1 - x0) * (y1 - y0) < best:
                    best, label, target = (x1 - x0) * (y1 - y0), own, [x0, y0, x1, y1]
            row_labels.append(label)
            row_boxes.append(target)
        all_labels.append(row_labels)
        all_boxes.append(row_boxes)
    return all_labels, all_boxes


def test_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    points = grid_points(6, 8, 8)
    start = torch.rand(5, 4, 2, generator=generator) * 40
    boxes = torch.cat((start, start + 1 + torch.rand(5, 4, 2, generator=generator) * 24), dim=-1)
    labels = torch.randint(-1, CLASSES, (5, 4), generator=generator)
    found = assign(points, boxes, labels, num_classes=CLASSES, stride=8)
    expected_labels, expected_boxes = _by_loop(points, boxes, labels, 8, 1.5)
    assert found.label.tolist() == expected_labels
    assert torch.equal(found.box, torch.tensor(expected_boxes))
    assert (found.label < CLASSES).any()


def test_grid_points_are_cell_centres_row_by_row() -> None:
    assert grid_points(2, 3, 8).tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def test_the_smaller_object_wins_a_shared_point() -> None:
    points = torch.tensor([[12.0, 12.0]])
    boxes = torch.tensor([[[0.0, 0.0, 24.0, 24.0], [8.0, 8.0, 16.0, 16.0]]])
    found = assign(points, boxes, torch.tensor([[0, 1]]), num_classes=2, stride=8)
    assert found.label.item() == 1
    assert found.box[0, 0].tolist() == [8.0, 8.0, 16.0, 16.0]


def test_only_the_middle_of_a_large_object_is_positive() -> None:
    points = grid_points(8, 8, 8)
    found = assign(
        points, torch.tensor([[[0.0, 0.0, 64.0, 64.0]]]), torch.tensor([[0]]), num_classes=1, stride=8
    )
    positive = points[found.label[0] < 1]
    assert len(positive) == 16
    assert (positive - 32).abs().max() == 12


def test_an_object_between_the_points_gets_none() -> None:
    boxes = torch.tensor([[[5.0, 5.0, 11.0, 11.0]]])
    found = assign(grid_points(2, 2, 8), boxes, torch.tensor([[0]]), num_classes=1, stride=8)
    assert (found.label == 1).all()


def test_images_without_objects() -> None:
    points = grid_points(2, 2, 8)
    padded = assign(points, torch.zeros(1, 2, 4), torch.full((1, 2), -1), num_classes=1, stride=8)
    none = assign(points, torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), num_classes=1, stride=8)
    for found in (padded, none):
        assert found.label.tolist() == [[1] * 4]
        assert found.box.shape == (1, 4, 4)
        assert not found.box.any()
