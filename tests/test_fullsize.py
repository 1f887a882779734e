"""Full-size training: its parts alone, and, where torchvision is installed, the whole at toy size."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fullsize_samples import edit, needs_torchvision, small_settings, tiny_faster_rcnn, write_data
from PIL import Image
from torch import Tensor, nn

from cse_autoloss.errors import AutoLossError, ConfigError, DataError, RunError
from cse_autoloss.fullsize.checkpoint import load_checkpoint
from cse_autoloss.fullsize.data import CocoImages, StepBatches, load_files
from cse_autoloss.fullsize.evaluate import coco_table
from cse_autoloss.fullsize.settings import TrainSettings, rate_at
from cse_autoloss.fullsize.watch import Silent, StepReport
from cse_autoloss.settings.load import changed, parse


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's Faster R-CNN on a few layers: checkpoints of real ones take longer than their steps."""
    from cse_autoloss.fullsize import models

    monkeypatch.setattr(models.models, "get_model", tiny_faster_rcnn)


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    write_data(tmp_path)
    return small_settings(tmp_path)


class Seen(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.lines: list[str] = []

    def stepped(self, report: StepReport) -> None:
        self.reports.append(report)

    def say(self, text: str) -> None:
        self.lines.append(text)


# -- settings and schedule -----------------------------------------------------------------------------------


def test_the_1x_schedule() -> None:
    own = parse(TrainSettings, {"detector": "torchvision:fcos_resnet50_fpn", "data": "coco:x"})
    assert rate_at(0, 7000, own, 0.01) == pytest.approx(1e-5)
    assert rate_at(250, 7000, own, 0.01) == pytest.approx(0.01 * (0.001 + 0.999 / 2))
    assert rate_at(500, 7000, own, 0.01) == 0.01
    assert rate_at(8 * 7000 - 1, 7000, own, 0.01) == 0.01
    assert rate_at(8 * 7000, 7000, own, 0.01) == pytest.approx(1e-3)
    assert rate_at(11 * 7000, 7000, own, 0.01) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "settings: batch: expected a number of at least 1, got 0"),
        ({"max_size": 700}, "settings: max_size: expected at least image_size = 800, got 700"),
        ({"lr": 0.0}, "settings: lr: expected a number above 0, got 0.0"),
        ({"lr": True}, "settings: lr: expected a number, got true"),
        ({"seed": 1.5}, "settings: seed: expected a whole number, got 1.5"),
        (
            {"data": "csv:DIR"},
            "settings: data: expected a folder, coco:DIR, yolo:DIR or voc:DIR, got 'csv:DIR'",
        ),
        (
            {"centerness": "IoU"},
            "settings: centerness: expected 'centerness' or 'iou', got 'IoU'; did you mean 'iou'?",
        ),
        ({"alpha": 2}, "settings: alpha: expected a number from 0 to 1, 'default' or null, got 2"),
        ({"milestones": 8}, "settings: milestones: expected a list, got 8"),
        ({"amp": "maybe"}, "settings: amp: expected true or false, got 'maybe'"),
    ],
)
def test_impossible_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(TrainSettings, {"detector": "x", "data": "coco:x", **change}, "settings")
    assert str(error.value) == message


# -- data ----------------------------------------------------------------------------------------------------


def test_images_boxes_and_labels(settings: TrainSettings) -> None:
    train, _, _, categories, *_ = load_files(settings)
    data = CocoImages(train, categories, first_label=1)
    assert data.class_names == ["bright", "dark"]
    image, target = data[1, False]
    assert image.shape == (3, 64, 48)
    assert target["labels"].tolist() == [1]
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
    path = Path(settings.data.removeprefix("coco:")) / "train.json"
    edit(path, lambda c: c["annotations"].append({**c["annotations"][1], "id": 99, "iscrowd": 1}))
    train, _, _, categories, *_ = load_files(settings)
    assert len(CocoImages(train, categories, 0)[1, False][1]["boxes"]) == 1


def test_damaged_images_are_named(settings: TrainSettings) -> None:
    train, _, _, categories, *_ = load_files(settings)
    data = CocoImages(train, categories, first_label=1)
    (Path(settings.data.removeprefix("coco:")) / "train0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train0\.png does not decode"):
        data[0, False]
    Image.new("RGB", (5, 5)).save(Path(settings.data.removeprefix("coco:")) / "train0.png")
    with pytest.raises(DataError, match=r"train0\.png: was 64x48 pixels when the training began"):
        data[0, False]


def test_a_folder_that_is_none(settings: TrainSettings) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_files(changed(settings, {"data": "coco:nowhere"}))


def test_batches_can_be_taken_up_anywhere_and_shared() -> None:
    whole = list(StepBatches(11, 4, seed=1, epoch=2))
    assert [len(batch) for batch in whole] == [4, 4]
    assert max(Counter(index for batch in whole for index, _ in batch).values()) == 1
    assert list(StepBatches(11, 4, seed=1, epoch=2, first=1)) == whole[1:]
    shares = [list(StepBatches(11, 4, seed=1, epoch=2, rank=rank, world=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]
    assert list(StepBatches(11, 4, seed=1, epoch=3)) != whole
    assert len(StepBatches(3, 16, seed=0, epoch=0)) == 1


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
    _, val, _, categories, *_ = load_files(settings)
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


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.usefixtures("tiny")
def test_a_training_goes_on_as_if_it_had_not_stopped(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    seen = Seen()
    through = changed(settings, {"max_steps": 4, "epochs": 2})
    tables = train(through, tmp_path / "a", watcher=seen)
    assert [report.step for report in seen.reports] == [1, 2, 3, 4]
    assert list(tables) == ["val"]
    assert set(tables["val"]) == {"AP", "AP50", "AP75", "AP small", "AP medium", "AP large"}
    kept = json.loads((tmp_path / "a" / "table.json").read_text(encoding="utf-8"))
    assert kept["val"]["AP"] == tables["val"]["AP"]
    assert kept["val"]["AP large"] is None

    train(changed(settings, {"max_steps": 2, "epochs": 2}), tmp_path / "b")
    # A data set that moved, and other reading processes, change nothing.
    train(changed(through, {"workers": 1}), tmp_path / "b", watcher=seen)
    assert [report.step for report in seen.reports[4:]] == [3, 4]
    assert "goes on after step 2 of 4" in seen.lines
    one, other = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in "ab")
    assert one["step"] == other["step"] == 4
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    lines = (tmp_path / "b" / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]

    with pytest.raises(RunError, match="made with box_weight"):
        train(changed(through, {"box_weight": 2.0}), tmp_path / "b")
    with pytest.raises(RunError, match=r"checkpoint.pt exists"):
        train(through, tmp_path / "b", resume=False)
    (tmp_path / "b" / "table.json").rename(tmp_path / "precious")
    (tmp_path / "b" / "table.json").symlink_to("../precious")
    with pytest.raises(RunError, match=r"table\.json: a link; what is written there"):
        train(through, tmp_path / "b")


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize(
    ("detector", "change"),
    [
        ("torchvision:fcos_resnet50_fpn", {"loss": "cse-autoloss-b", "loss_reg": None, "centerness": "iou"}),
        ("torchvision:retinanet_resnet50_fpn", {"loss": None, "loss_reg": None, "amp": True, "clip": 1.0}),
    ],
)
def test_dense_detectors_train(
    detector: str,
    change: dict[str, Any],
    settings: TrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cse_autoloss.fullsize import training

    # Checkpoints and scores of large networks take longer than the step, and are tested with a small one.
    monkeypatch.setattr(training.checkpoint, "save_checkpoint", lambda path, state: None)
    monkeypatch.setattr(training, "coco_table", lambda *given: {})
    seen = Seen()
    training.train(
        changed(settings, {"detector": detector, "max_steps": 1, **change}), tmp_path / "out", watcher=seen
    )
    assert "classification" in seen.reports[0].losses
    assert seen.lines[-1] == "starts from random weights"


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"detector": "torchvision:fcos_resnet50", "loss": None},
            "did you mean 'torchvision:fcos_resnet50_fpn'",
        ),
        ({"detector": "fcos_resnet50_fpn"}, "did you mean 'torchvision:fcos_resnet50_fpn'"),
        ({"detector": "torchvision:keypointrcnn_resnet50_fpn"}, "it learns from key points"),
        ({"loss": "focal"}, "'focal' is a cls-binary loss, for one-stage detectors"),
        ({"data": "coco:nowhere"}, "nowhere: no such folder"),
        ({"test": True}, "no test split"),
    ],
)
def test_mistakes_end_before_the_training(
    change: dict[str, Any], message: str, settings: TrainSettings, tmp_path: Path
) -> None:
    from cse_autoloss.fullsize.training import train

    with pytest.raises(AutoLossError, match=message):
        train(changed(settings, change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_torchvision
@pytest.mark.torchvision
def test_a_loss_that_is_not_finite_ends_the_training(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    with pytest.raises(RunError, match=r"the loss is not finite at step 1 of 2 \(loss_classifier"):
        train(changed(settings, {"box_weight": 1e300, "cls_weight": 1e300}), tmp_path / "out")


@needs_torchvision
@pytest.mark.torchvision
def test_a_damaged_image_is_named_before_the_training(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    for path in tmp_path.glob("train*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^[^\n]*train\d\.png does not decode[^\n]*$"):
        train(changed(settings, {"workers": 1}), tmp_path / "out")


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.usefixtures("tiny")
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(settings: TrainSettings, tmp_path: Path) -> None:
    import signal

    from cse_autoloss.fullsize.training import train

    class Impatient(Seen):
        def stepped(self, report: StepReport) -> None:
            signal.raise_signal(signal.SIGINT)

    watcher, before = Impatient(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "out", watcher=watcher)
    assert load_checkpoint(tmp_path / "out" / "checkpoint.pt")["step"] == 1
    assert watcher.lines[-1] == f"stopped after step 1; go on by --resume {tmp_path / 'out'}"
    assert signal.getsignal(signal.SIGINT) is before


@needs_torchvision
@pytest.mark.torchvision
def test_memory_that_is_too_small_is_told(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models.detection.rpn import RegionProposalNetwork

    from cse_autoloss.fullsize.training import train

    def too_much(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    monkeypatch.setattr(RegionProposalNetwork, "forward", too_much)
    with pytest.raises(
        RunError, match=r"memory of cpu is too small at step 1: 2 images a process, .* boxes in one"
    ):
        train(settings, tmp_path / "out")
