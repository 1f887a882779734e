"""Full-size training: its parts alone, and, where torchvision is installed, the whole at toy size."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cse_autoloss.errors import AutoLossError, ConfigError, DataError, RunError
from cse_autoloss.fullsize.checkpoint import check_same_settings, load_checkpoint, save_checkpoint
from cse_autoloss.fullsize.data import CocoImages, StepBatches, load_images
from cse_autoloss.fullsize.evaluate import coco_table
from cse_autoloss.fullsize.settings import TrainSettings, rate_at


def write_data(root: Path, count: int = 6) -> None:
    """Dark and bright rectangles on images of two sizes; the last image is empty."""
    rng = np.random.default_rng(0)
    for name in ("train", "val"):
        images, annotations = [], []
        for number in range(count):
            width, height = ((64, 48), (48, 64))[number % 2]
            pixels = rng.integers(100, 140, (height, width, 3), dtype=np.uint8)
            x, y, w, h = (int(v) for v in rng.integers((4, 4, 16, 16), (20, 20, 28, 28)))
            if number < count - 1:
                pixels[y : y + h, x : x + w] = (20, 230)[number % 2]
                annotations.append(
                    {
                        "id": number,
                        "image_id": 10 + number,
                        "category_id": (3, 7)[number % 2],
                        "bbox": [x, y, w, h],
                    }
                )
            Image.fromarray(pixels).save(root / f"{name}{number}.png")
            images.append(
                {"id": 10 + number, "file_name": f"{name}{number}.png", "width": width, "height": height}
            )
        categories = [{"id": 3, "name": "dark"}, {"id": 7, "name": "bright"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    write_data(tmp_path)
    return TrainSettings(
        detector="torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
        root=tmp_path,
        cls_loss="cse-autoloss-a-cls",
        box_loss="giou",
        weights="none",
        min_size=64,
        max_size=96,
        batch=2,
        warmup=2,
        workers=0,
        max_steps=2,
    )


# -- settings and schedule -----------------------------------------------------------------------------------


def test_the_1x_schedule() -> None:
    own = TrainSettings("torchvision:fcos_resnet50_fpn", Path())
    assert rate_at(0, 7000, own, 0.01) == pytest.approx(1e-5)
    assert rate_at(250, 7000, own, 0.01) == pytest.approx(0.01 * (0.001 + 0.999 / 2))
    assert rate_at(500, 7000, own, 0.01) == 0.01
    assert rate_at(8 * 7000 - 1, 7000, own, 0.01) == 0.01
    assert rate_at(8 * 7000, 7000, own, 0.01) == pytest.approx(1e-3)
    assert rate_at(11 * 7000, 7000, own, 0.01) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch: expected at least 1, got 0"),
        ({"min_size": 900, "max_size": 800}, "expected 1 <= min <= max, got 900 and 800"),
        ({"lr": 0.0}, "lr: expected a number above 0"),
        ({"weights": "imagenet"}, "weights: expected 'none' or 'backbone'"),
    ],
)
def test_impossible_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainSettings(**{"detector": "x", "root": Path(), **change})


# -- data ----------------------------------------------------------------------------------------------------


def test_images_boxes_and_labels(settings: TrainSettings) -> None:
    train, _, categories = load_images(settings)
    data = CocoImages(train, categories, first_label=1)
    assert data.class_names == ["dark", "bright"]
    image, target = data[1, False]
    assert image.shape == (3, 64, 48)
    assert target["labels"].tolist() == [2]
    x0, y0, x1, y1 = target["boxes"][0].int().tolist()
    assert (image[:, y0:y1, x0:x1] == 230 / 255).all()

    mirrored, other = data[1, True]
    x0, y0, x1, y1 = other["boxes"][0].int().tolist()
    assert (mirrored[:, y0:y1, x0:x1] == 230 / 255).all()
    assert torch.equal(mirrored.flip(-1), image)
    empty = data[5, True][1]
    assert empty["boxes"].shape == (0, 4)
    assert empty["labels"].dtype == torch.int64


def test_crowds_are_not_learned(settings: TrainSettings) -> None:
    path = settings.root / "train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["annotations"].append({**content["annotations"][1], "id": 99, "iscrowd": 1})
    path.write_text(json.dumps(content), encoding="utf-8")
    train, _, categories = load_images(settings)
    assert len(CocoImages(train, categories, 0)[1, False][1]["boxes"]) == 1


def test_damaged_images_are_named(settings: TrainSettings) -> None:
    train, _, categories = load_images(settings)
    data = CocoImages(train, categories, first_label=1)
    (settings.root / "train0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train0\.png: can not be read"):
        data[0, False]
    Image.new("RGB", (5, 5)).save(settings.root / "train0.png")
    with pytest.raises(DataError, match=r"train0\.png: is 5x5 pixels, but 64x48 by its entry"):
        data[0, False]


def test_a_folder_that_is_none(settings: TrainSettings) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_images(replace(settings, root=settings.root / "nowhere"))


def test_batches_can_be_taken_up_anywhere_and_shared() -> None:
    whole = list(StepBatches(11, 4, seed=1, epoch=2))
    assert [len(batch) for batch in whole] == [4, 4]
    assert max(Counter(index for batch in whole for index, _ in batch).values()) == 1
    assert list(StepBatches(11, 4, seed=1, epoch=2, first=1)) == whole[1:]
    shares = [list(StepBatches(11, 4, seed=1, epoch=2, rank=rank, world=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]
    assert list(StepBatches(11, 4, seed=1, epoch=3)) != whole
    assert len(StepBatches(3, 16, seed=0, epoch=0)) == 1


# -- checkpoints ---------------------------------------------------------------------------------------------


STATE: dict[str, Any] = {
    "detector": "torchvision:fcos_resnet50_fpn",
    "classes": ["a", "b"],
    "step": 3,
    "settings": {"lr": 0.1},
    "model": {"weight": torch.ones(2)},
    "optimiser": {},
}


def test_checkpoints_come_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path, detector=STATE["detector"], classes=["a", "b"])
    assert state["step"] == 3
    assert torch.equal(state["model"]["weight"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_checkpoint(path, {**STATE, "model": lambda: None})
    assert load_checkpoint(path)["step"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_wrong_checkpoints_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(RunError, match="no such checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, STATE)
    for wanted, message in (
        ({"detector": "torchvision:retinanet_resnet50_fpn"}, "a checkpoint of torchvision:fcos_resnet50_fpn"),
        ({"classes": ["a"]}, "has 2 classes, the data has 1"),
        ({"classes": ["a", "c"]}, "has other classes than the data"),
    ):
        with pytest.raises(RunError, match=message) as error:
            load_checkpoint(path, **wanted)
        assert "\n" not in str(error.value)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="not a checkpoint, or cut short") as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)
    torch.save([1, 2], path)
    with pytest.raises(RunError, match="not a checkpoint of"):
        load_checkpoint(path)


class Evil:
    """What a checkpoint must not be able to do."""

    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Evil, "ran", True))


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({**STATE, "format": 1, "model": Evil()}, path)
    with pytest.raises(RunError):
        load_checkpoint(path)
    assert not Evil.ran


def test_other_settings_are_refused() -> None:
    check_same_settings(Path("c.pt"), {"lr": 0.1, "old": 1}, {"lr": 0.1})
    with pytest.raises(RunError, match=r"made with lr = 0\.1, asked to go on with 0\.2"):
        check_same_settings(Path("c.pt"), {"lr": 0.1}, {"lr": 0.2})


# -- scores --------------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Says what the data says, moved to the right."""

    def __init__(self, data: CocoImages, shift: float = 0.0, found: bool = True) -> None:
        super().__init__()
        self._answers = [data[index, False][1] for index in range(len(data))]
        self._shift, self._found, self._next = shift, found, 0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        answer = self._answers[self._next]
        self._next += 1
        count = len(answer["labels"]) if self._found else 0
        boxes = answer["boxes"][:count] + torch.tensor([self._shift, 0, self._shift, 0])
        return [{"boxes": boxes, "labels": answer["labels"][:count], "scores": torch.full((count,), 0.9)}]


def test_cocos_table(settings: TrainSettings) -> None:
    _, val, categories = load_images(settings)
    data = CocoImages(val, categories, first_label=1)
    cpu = torch.device("cpu")
    table = coco_table(Oracle(data), data, 1, cpu)
    assert table["AP"] == table["AP50"] == table["AP small"] == pytest.approx(1.0)
    assert np.isnan(table["AP large"])
    moved = coco_table(Oracle(data, shift=3.0), data, 1, cpu)
    assert moved["AP50"] == pytest.approx(1.0)
    assert 0 < moved["AP"] < 1
    assert set(coco_table(Oracle(data, found=False), data, 1, cpu).values()) == {0.0}


# -- the whole -----------------------------------------------------------------------------------------------


def _fits() -> bool:
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


needs_torchvision = pytest.mark.skipif(not _fits(), reason="torchvision is not installed beside this torch")


@needs_torchvision
@pytest.mark.torchvision
def test_a_training_goes_on_as_if_it_had_not_stopped(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    seen: list[int] = []
    through = replace(settings, max_steps=4, epochs=2)
    table = train(through, tmp_path / "a", on_step=lambda report: seen.append(report.step))
    assert seen == [1, 2, 3, 4]
    assert set(table) == {"AP", "AP50", "AP75", "AP small", "AP medium", "AP large"}
    assert json.loads((tmp_path / "a" / "table.json").read_text(encoding="utf-8"))["AP"] == table["AP"]

    train(replace(through, max_steps=2), tmp_path / "b")
    train(through, tmp_path / "b", on_step=lambda report: seen.append(report.step))
    assert seen[4:] == [3, 4]
    one, other = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in "ab")
    assert one["step"] == other["step"] == 4
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    lines = (tmp_path / "b" / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]

    with pytest.raises(RunError, match="made with box_weight"):
        train(replace(through, box_weight=2.0), tmp_path / "b")
    with pytest.raises(RunError, match=r"checkpoint.pt exists"):
        train(through, tmp_path / "b", resume=False)


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize(
    ("detector", "change"),
    [
        ("torchvision:fcos_resnet50_fpn", {"cls_loss": "cse-autoloss-b-cls", "centerness": "iou"}),
        (
            "torchvision:retinanet_resnet50_fpn",
            {"cls_loss": None, "box_loss": None, "amp": True, "clip": 1.0},
        ),
    ],
)
def test_dense_detectors_train(
    detector: str, change: dict[str, Any], settings: TrainSettings, tmp_path: Path
) -> None:
    from cse_autoloss.fullsize.training import train

    own = replace(settings, detector=detector, max_steps=1, **change)
    seen: list[dict[str, float]] = []
    train(own, tmp_path / "out", on_step=lambda report: seen.append(report.losses))
    assert "classification" in seen[0]


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector": "torchvision:fcos_resnet50"}, "did you mean 'torchvision:fcos_resnet50_fpn'"),
        ({"detector": "fcos_resnet50_fpn"}, "did you mean 'torchvision:fcos_resnet50_fpn'"),
        ({"detector": "torchvision:maskrcnn_resnet50_fpn"}, "needs more than boxes"),
        ({"cls_loss": "focal"}, "focal"),
    ],
)
def test_mistakes_end_before_the_training(
    change: dict[str, Any], message: str, settings: TrainSettings, tmp_path: Path
) -> None:
    from cse_autoloss.fullsize.training import train

    with pytest.raises(AutoLossError, match=message):
        train(replace(settings, **change), tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


@needs_torchvision
@pytest.mark.torchvision
def test_a_loss_that_is_not_finite_ends_the_training(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    with pytest.raises(RunError, match="the loss is not finite at step 1 of 2"):
        train(replace(settings, box_weight=float("inf")), tmp_path / "out")


@needs_torchvision
@pytest.mark.torchvision
def test_a_damaged_image_is_named_by_a_reading_process(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    for path in tmp_path.glob("train*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^[^\n]*train\d\.png: can not be read[^\n]*$"):
        train(replace(settings, workers=1), tmp_path / "out")
