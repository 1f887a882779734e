"""Odd data through every proxy, end to end: it trains and scores, or says in one line what is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cse_autoloss.detectors.assign import IGNORED, assign, grid_of
from cse_autoloss.detectors.registry import DETECTORS, detector_builder
from cse_autoloss.errors import DataError
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule, TaskScore

Boxes = list[tuple[int, tuple[float, float, float, float]]]
"""Category id and [x, y, width, height] of the objects of an image."""
PROXIES = tuple(DETECTORS.built_in)


def folder(
    path: Path, images: list[tuple[tuple[int, int], Boxes]], classes: int = 2, val: list[int] | None = None
) -> Path:
    """A folder in COCO's format; the images (size, objects) are for training, those of the rows `val` for the rest."""
    path.mkdir()
    generator = np.random.default_rng(0)
    for row, ((width, height), _) in enumerate(images):
        pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{row}.png")
    rows = list(range(len(images)))
    for name, own in (("train", rows), ("val", rows if val is None else val)):
        annotations = [
            {"image_id": row, "category_id": number, "bbox": list(box)}
            for row in own
            for number, box in images[row][1]
        ]
        content = {
            "images": [
                {
                    "id": row,
                    "file_name": f"{row}.png",
                    "width": images[row][0][0],
                    "height": images[row][0][1],
                }
                for row in own
            ],
            "annotations": [{"id": i, **one} for i, one in enumerate(annotations)],
            "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(classes)],
        }
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def trained(path: Path, detector: str, **settings: Any) -> tuple[DetectionTask, TaskScore]:
    task = DetectionTask(
        DetectionSettings(data=f"coco:{path}", detector=detector, image_size=64, batch=4, **settings)
    )
    losses = {slot: load_loss(name, task.slots[slot].name, "sum") for slot, name in task.baselines[0].items()}
    return task, task.train(losses, seed=0, schedule=Schedule(1), settings={}, split="val")


ONE: Boxes = [(1, (2.0, 2.0, 24.0, 20.0))]
TWO: Boxes = [(1, (2.0, 2.0, 24.0, 20.0)), (2, (30.0, 10.0, 20.0, 20.0))]


@pytest.mark.parametrize("detector", PROXIES)
def test_mixed_sizes_a_single_pixel_and_images_without_boxes(detector: str, tmp_path: Path) -> None:
    path = folder(
        tmp_path / "data",
        [
            ((64, 48), TWO),
            ((200, 31), TWO),
            ((33, 97), ONE),
            ((1, 1), [(2, (0.0, 0.0, 1.0, 1.0))]),
            ((300, 2), []),
            ((64, 64), []),
        ],
    )
    task, score = trained(path, detector)
    assert score.status == "ok"
    assert len(task.split("train")) == 6
    assert task.split("train").images.shape[-2:] == (64, 64)


def test_no_validation_image_has_a_box(tmp_path: Path) -> None:
    path = folder(tmp_path / "data", [((64, 48), TWO)] * 4 + [((64, 48), [])] * 2, val=[4, 5])
    with pytest.raises(DataError, match=r"val\.json: no box, so nothing can be scored on val"):
        trained(path, "one-stage")


@pytest.mark.parametrize("detector", PROXIES)
def test_one_class_only(detector: str, tmp_path: Path) -> None:
    task, score = trained(folder(tmp_path / "data", [((64, 48), ONE)] * 4, classes=1), detector)
    assert task.num_classes == 1
    assert score.status == "ok"


@pytest.mark.parametrize("detector", PROXIES)
def test_ten_thousand_boxes_in_one_image(detector: str, tmp_path: Path) -> None:
    crowd: Boxes = [(1 + i % 2, (i % 100 * 0.5, i // 100 * 0.3, 10.0, 12.0)) for i in range(10_000)]
    path = folder(tmp_path / "data", [((64, 48), crowd)] + [((64, 48), TWO)] * 3)
    task, score = trained(path, detector)
    assert task.split("train").labels.shape[1] == 10_000
    assert score.status == "ok"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_box_that_is_not_finite(value: float, tmp_path: Path) -> None:
    path = folder(tmp_path / "data", [((64, 48), TWO)] * 3 + [((64, 48), [(1, (2.0, value, 24.0, 20.0))])])
    with pytest.raises(DataError, match=r"train\.json: annotations\[6\] .*is not finite"):
        trained(path, "one-stage")
    assert trained(path, "one-stage", skip_bad=True)[1].status == "ok"


def test_a_class_without_a_box_to_learn_from(tmp_path: Path) -> None:
    path = folder(tmp_path / "data", [((64, 48), TWO)] * 4, classes=3)
    task, score = trained(path, "two-stage")
    assert (task.num_classes, score.status) == (2, "ok")
    assert "train: no box has the category 'class 3': left out" in task.check()


@pytest.mark.parametrize("detector", PROXIES)
def test_a_crowd_is_neither_an_object_nor_background(detector: str) -> None:
    torch.manual_seed(0)
    model = detector_builder(detector)(3, 2)
    boxes = torch.tensor([[[4.0, 4.0, 30.0, 30.0], [40.0, 8.0, 60.0, 60.0]]])
    cls = "focal" if model.signature == "cls-binary" else "cross-entropy"
    losses = load_loss(cls, model.signature, "sum"), load_loss("giou", "reg", "sum")
    images = torch.rand(1, 3, 64, 64)
    seen = []
    for label in (-1, IGNORED, 1):
        targets = model.targets(boxes, torch.tensor([[0, label]]), (64, 64))
        seen.append((targets.label == 1).sum().item())
        background = (targets.label == 2).sum().item()
        seen.append(background)
        assert torch.isfinite(model.loss(model(images), targets, *losses))
    assert seen[0] == seen[2] == 0 < seen[4]
    assert (
        seen[3] < seen[5] < seen[1] + 1
    )  # all of the crowd's cells, not its centre's alone, are no background


def test_parts_do_not_change_what_is_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(7, 20, 2, generator=generator) * 60
    boxes = torch.cat((low, low + 4 + 60 * torch.rand(7, 20, 2, generator=generator)), dim=-1)
    labels = torch.randint(-1, 3, (7, 20), generator=generator)
    labels[3] = -1
    grid = grid_of((96, 128), (8, 16, 32), boxes)
    whole = assign(grid.points, boxes, labels, num_classes=3, stride=grid.strides)
    monkeypatch.setattr("cse_autoloss.detectors.assign.PART", 2 * 20 * len(grid.points))
    parts = assign(grid.points, boxes, labels, num_classes=3, stride=grid.strides)
    assert torch.equal(whole.label, parts.label)
    assert torch.equal(whole.box, parts.box)
    assert (whole.label[3] == 3).all()


def test_maps_share_the_objects_out_by_size() -> None:
    # Squares of 12, 39 and 41, 79 and 81 pixels, and a long one whose shorter side the coarse maps would miss.
    sides = ((12, 12), (39, 39), (41, 41), (79, 79), (81, 81), (400, 9))
    expected = (8, 8, 16, 16, 32, 8)
    for (width, height), stride in zip(sides, expected, strict=True):
        boxes = torch.tensor([[[50.0, 50.0, 50.0 + width, 50.0 + height]]])
        grid = grid_of((512, 512), (8, 16, 32), boxes)
        found = assign(
            grid.points, boxes, torch.zeros(1, 1, dtype=torch.int64), num_classes=1, stride=grid.strides
        )
        assert set(grid.strides[found.label[0] == 0].tolist()) == {stride}
