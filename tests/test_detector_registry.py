"""Detectors by name, the conformance suite on each, and the suite's own bite."""

from __future__ import annotations

import re
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cse_autoloss import plugins
from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.one_stage import OneStageDetector, OneStagePyramid
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.detectors.registry import DETECTORS, detector_builder
from cse_autoloss.detectors.selection import Detections
from cse_autoloss.detectors.two_stage import TwoStageDetector, TwoStagePyramid
from cse_autoloss.errors import AutoLossError, ConfigError, UnknownNameError
from cse_autoloss.testing.detectors import DetectorConformance, make_rectangles

OWN = ("one-stage", "two-stage", "one-stage-pyramid", "two-stage-pyramid")
GUIDE = Path(__file__).parents[1] / "docs" / "plugin_detector.md"


def guide_example() -> str:
    """The detector that the user's guide shows."""
    found = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


class TestOneStage(DetectorConformance):
    detector = "one-stage"


class TestTwoStage(DetectorConformance):
    detector = "two-stage"


class TestOneStagePyramid(DetectorConformance):
    detector = "one-stage-pyramid"


class TestTwoStagePyramid(DetectorConformance):
    detector = "two-stage-pyramid"


class TestTheGuidesExample(DetectorConformance):
    @pytest.fixture(autouse=True)
    def _written(self, tmp_path: Path) -> None:
        path = tmp_path / "my_detector.py"
        path.write_text(guide_example(), encoding="utf-8")
        self.detector = f"{path}:DenseSoftmax"  # type: ignore[misc]

    def test_it_is_short(self) -> None:
        assert len(guide_example().splitlines()) < 60


# -- names ---------------------------------------------------------------------------------------------------


def test_names_give_builders() -> None:
    assert DETECTORS.names()[:4] == OWN
    assert detector_builder("one-stage") is OneStageDetector
    assert detector_builder("two-stage") is TwoStageDetector
    assert detector_builder("one-stage-pyramid") is OneStagePyramid
    assert detector_builder("two-stage-pyramid") is TwoStagePyramid


def test_an_entry_point_gives_a_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", "cse_autoloss.detectors.two_stage:TwoStageDetector", DETECTORS.group),
        EntryPoint("broken", "no_such_package:Nothing", DETECTORS.group),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == DETECTORS.group else [])
    assert detector_builder("theirs") is TwoStageDetector
    assert DETECTORS.names() == (*OWN, "broken", "theirs")
    with pytest.raises(ConfigError, match="detector 'broken': no_such_package:Nothing: ModuleNotFoundError"):
        detector_builder("broken")
    with pytest.raises(UnknownNameError, match="did you mean 'theirs'"):
        detector_builder("their")


def test_a_file_is_run_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(guide_example(), encoding="utf-8")
    first = detector_builder(f"{path}:DenseSoftmax")
    assert detector_builder(f"{path}:DenseSoftmax") is first
    assert first(1, 2).num_classes == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("one_stage", None, "unknown detector 'one_stage'; did you mean 'one-stage'"),
        ("yolo:9", None, "unknown detector 'yolo:9'"),
        ("", None, "unknown detector ''"),
        ("FILE:Mine", None, "no such file"),
        ("FILE:Mine", "raise SystemExit(3)", "SystemExit: 3"),
        ("FILE:Mine", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("FILE:Mine", "class Mine(:", "SyntaxError"),
        ("FILE:Mine", "raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("FILE:Mine", "class Mina:\n    signature = 'cls-binary'", "did you mean 'Mina'"),
        ("FILE:", "class Mine:\n    signature = 'cls-binary'", "unknown name in"),
        ("FILE:Mine", "class Mine: pass", "with signature = None"),
        ("FILE:Mine", "class Mine:\n    signature = 'reg'", "with signature = 'reg'"),
        ("FILE:mine", "mine = 3", "got int"),
    ],
)
def test_mistakes_are_told_in_one_line(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(AutoLossError, match=re.escape(message)) as error:
        detector_builder(name.replace("FILE", str(path)))
    assert "\n" not in str(error.value)


def test_a_detector_that_states_its_signature_as_branch_is_still_taken(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("class Old:\n    branch = 'cls-binary'", encoding="utf-8")
    assert detector_builder(f"{path}:Old").signature == "cls-binary"


def test_a_file_mended_after_an_error_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import nothing_of_that_name", encoding="utf-8")
    with pytest.raises(ConfigError):
        detector_builder(f"{path}:Mine")
    path.write_text(textwrap.dedent(guide_example()), encoding="utf-8")
    assert detector_builder(f"{path}:DenseSoftmax").signature == "cls-multiclass"


# -- the suite bites -----------------------------------------------------------------------------------------


class MeanOfCells(OneStageDetector):
    """Divides by all cells."""

    def loss(self, prediction: Any, assigned: Assignment, *losses: Any) -> Tensor:
        positive = (assigned.label < self.num_classes).sum()
        return super().loss(prediction, assigned, *losses) * positive / assigned.label.numel()


class NoIou(OneStageDetector):
    """Hands the classification loss an IoU of 1."""

    def loss(self, prediction: Any, assigned: Assignment, cls: Any, *rest: Any) -> Tensor:
        return super().loss(prediction, assigned, lambda x, t, w: cls(x, t, torch.ones_like(w)), *rest)


class ShiftedClasses(OneStageDetector):
    """Takes class 0 for the background."""

    def targets(self, boxes: Tensor, labels: Tensor, image_size: tuple[int, int]) -> Assignment:
        made = super().targets(boxes, labels, image_size)
        return Assignment((made.label + 1) % (self.num_classes + 1), made.box)


class LeavesObjectsOut(OneStageDetector):
    """Learns the first object of an image only."""

    def targets(self, boxes: Tensor, labels: Tensor, image_size: tuple[int, int]) -> Assignment:
        return super().targets(boxes[:, :1], labels[:, :1], image_size)


class Unsorted(OneStageDetector):
    """Gives the worst detection first."""

    def decode(self, prediction: Any, image_size: tuple[int, int]) -> Detections:
        return Detections(*(part.flip(1) for part in super().decode(prediction, image_size)))


class NotClipped(OneStageDetector):
    """Lets boxes reach out of the image."""

    def decode(self, prediction: Any, image_size: tuple[int, int]) -> Detections:
        return super().decode(prediction, (10_000, 10_000))


class Unseeded(OneStageDetector):
    """Draws its weights from a generator of its own."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes)
        torch.nn.init.normal_(self.to_box.weight, std=0.01, generator=_OWN)


_OWN = torch.Generator().manual_seed(0)


class IdleWeight(OneStageDetector):
    """Has a weight without a part in the loss."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, num_classes)
        self.idle = torch.nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (MeanOfCells, "test_both_losses_are_divided_by_the_positives"),
        (NoIou, "test_each_loss_is_called_once_with_what_was_promised"),
        (ShiftedClasses, "test_the_boxes_to_learn_are_the_objects"),
        (LeavesObjectsOut, "test_the_boxes_to_learn_are_the_objects"),
        (Unsorted, "test_detections_are_sorted_padded_and_on_the_image"),
        (NotClipped, "test_detections_are_sorted_padded_and_on_the_image"),
        (Unseeded, "test_the_same_seed_gives_the_same_weights"),
        (IdleWeight, "test_every_weight_learns"),
    ],
)
def test_the_suite_finds(broken: type[Detector], test: str) -> None:
    suite = DetectorConformance()
    suite.detector = broken  # type: ignore[misc]
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_rectangles_are_where_they_say() -> None:
    images, boxes, labels = make_rectangles(6, (32, 48))
    assert images.shape == (6, 1, 32, 48)
    assert (labels >= 0).sum(dim=1).tolist() == [1, 2, 1, 2, 1, 2]
    for image, own, kinds in zip(images, boxes, labels, strict=True):
        for (x0, y0, x1, y1), kind in zip(own.int().tolist(), kinds.tolist(), strict=True):
            if kind >= 0:
                assert image[0, y0:y1, x0:x1].mean() == pytest.approx((-2, 1, 3)[kind], abs=0.1)
