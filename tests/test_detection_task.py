"""The facade: losses in, a score out; seeds, splits, divergence, folders in COCO's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cse_autoloss.detectors.boxes import iou_parts
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.errors import AutoLossError
from cse_autoloss.settings.load import changed
from cse_autoloss.settings.tasks.detection import DetectionSettings, SceneSettings
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule, SplitName, TaskScore


def bce_sum(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    one_hot = F.one_hot(target, logits.shape[1] + 1)[:, :-1].to(logits)
    return F.binary_cross_entropy_with_logits(logits, one_hot, reduction="sum")


def giou_sum(pred: Tensor, target: Tensor) -> Tensor:
    i, u, e = iou_parts(pred, target)
    return (2 - i / u - u / e).sum()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DetectionSettings:
    easy = SceneSettings(
        counts=(96, 24, 32), digits=(1, 2), clutter=0, contrast=(1.0, 1.0), class_exponent=0.0
    )
    return DetectionSettings(data="digits", scenes=easy, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def task(settings: DetectionSettings) -> DetectionTask:
    return DetectionTask(settings)


def scored(
    task: DetectionTask, cls: Any, *, seed: int = 0, epochs: float, split: SplitName = "val"
) -> TaskScore:
    losses = {"cls": cls, "reg": giou_sum}
    return task.train(losses, seed=seed, schedule=Schedule(epochs), settings={}, split=split)


def trained(task: DetectionTask, cls: Any, epochs: float, train_limit: int | None = None) -> Detector:
    run = task.training(
        {"cls": cls, "reg": giou_sum}, seed=0, epochs=epochs, settings={}, train_limit=train_limit
    )
    run.advance(run.steps)
    return run.model


def test_what_it_says_of_the_data(task: DetectionTask) -> None:
    assert task.num_classes == 10
    assert task.class_names == tuple("0123456789")
    assert task.check() == ()
    assert len(task.split("train")) == 96


def test_learns_real_handwriting(task: DetectionTask) -> None:
    score = scored(task, bce_sum, epochs=20)
    assert score.status == "ok"
    assert score.detail == ""
    assert score.metrics["ap50"] > 0.2
    assert score.metrics["ap50"] >= score.metrics["ap"] > 0.1
    assert score.seconds_train > 0
    assert score.seconds_score > 0


def test_the_seed_decides(task: DetectionTask) -> None:
    first, again, other = (scored(task, bce_sum, seed=seed, epochs=4).metrics["ap"] for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_callers_generator_is_left_alone(task: DetectionTask) -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    trained(task, bce_sum, 0.2)
    assert torch.equal(torch.rand(1), expected)


def test_divergence_is_a_result(task: DetectionTask) -> None:
    def broken(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        return (-logits).exp().exp().sum()

    score = scored(task, broken, epochs=1)
    assert (score.status, score.metrics) == ("diverged", {})
    assert "at step 1 of 6" in score.detail


def test_the_limit_trains_on_fewer(task: DetectionTask) -> None:
    seen = []

    def spy(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        seen.append(len(target))
        return bce_sum(logits, target, iou)

    trained(task, spy, 2, train_limit=16)
    assert seen == [16 * 64] * 2


def test_predictions_of_a_split_and_of_images_agree(task: DetectionTask) -> None:
    model = trained(task, bce_sum, 2)
    by_name = task.predict(model, "val")
    by_image = task.predict(model, torch.from_numpy(task.split("val").images[:3]))
    assert torch.equal(by_name.labels[:3], by_image.labels)
    assert torch.allclose(by_name.boxes[:3], by_image.boxes, atol=1e-4)


def test_test_scenes_are_touched_on_demand_only(
    settings: DetectionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = DetectionTask(settings)
    asked: list[str] = []
    original = task._split_images

    def spy(name: str) -> Tensor:
        asked.append(name)
        return original(name)

    monkeypatch.setattr(task, "_split_images", spy)
    scored(task, bce_sum, epochs=0.2)
    assert set(asked) == {"train", "val"}
    scored(task, bce_sum, epochs=0.2, split="test")
    assert set(asked) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": "digit"}, "digit: no such folder; did you mean digits"),
        (
            {"data": "csv:here"},
            "expected 'careless-digits', 'digits', a folder, 'coco:DIR', 'yolo:DIR' or 'voc:DIR'",
        ),
        ({"scenes": SceneSettings(canvas=60)}, "scenes.canvas: expected a multiple of 8"),
        ({"detector": "two_stage"}, "unknown detector 'two_stage'; did you mean 'two-stage'"),
    ],
)
def test_impossible_settings_are_refused(settings: DetectionSettings, change: dict, expected: str) -> None:
    with pytest.raises(AutoLossError, match=expected):
        DetectionTask(changed(settings, change)).check()


@pytest.mark.parametrize("detector", ["two-stage", "FILE"])
def test_other_detectors_train_and_score(detector: str, settings: DetectionSettings, tmp_path: Path) -> None:
    if detector == "FILE":
        path = tmp_path / "mine.py"
        path.write_text("from cse_autoloss.detectors.two_stage import TwoStageDetector", encoding="utf-8")
        detector = f"{path}:TwoStageDetector"
    task = DetectionTask(changed(settings, {"detector": detector}))
    assert task.slots["cls"].name == "cls-multiclass"

    def cross_entropy(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        assert logits.shape[1] == 11
        return F.cross_entropy(logits, target, reduction="sum")

    score = scored(task, cross_entropy, epochs=8)
    assert score.status == "ok"
    assert score.metrics["ap50"] > 0.1
    again = scored(task, cross_entropy, epochs=8)
    assert again.metrics == score.metrics


def test_a_folder_in_cocos_format(tmp_path: Path) -> None:
    """Squares, bright or dark, that a proxy finds after a few steps."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 48), ("val", 16)):
        images, annotations = [], []
        for number in range(1, count + 1):
            pixels = rng.integers(100, 150, (48, 64, 3), dtype=np.uint8)
            x, y, side = rng.integers(0, 36), rng.integers(0, 20), rng.integers(16, 28)
            bright = bool(rng.random() < 0.5)
            pixels[y : y + side, x : x + side] = 255 if bright else 0
            file_name = f"{name}{number}.png"
            Image.fromarray(pixels).save(tmp_path / file_name)
            images.append({"id": number, "file_name": file_name, "width": 64, "height": 48})
            box = [int(x), int(y), int(side), int(side)]
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1 + bright, "bbox": box, "iscrowd": 0}
            )
        categories = [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    task = DetectionTask(DetectionSettings(data=f"coco:{tmp_path}", image_size=64))
    assert task.class_names == ("bright", "dark")
    assert "split in two halves" in task.check()[0]
    assert scored(task, bce_sum, epochs=20).metrics["ap50"] > 0.6
