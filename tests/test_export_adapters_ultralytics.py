"""Ultralytics' YOLO with our losses: the library's own numbers where the losses are the same."""

from __future__ import annotations

import copy
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.export.adapters.elements import elements_of
from cse_autoloss.export.adapters.ultralytics import _Boxes, _Classification, trainer_with, with_losses

INSTALLED = importlib.util.find_spec("ultralytics") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="ultralytics is not installed")
# The library asks for things of torch and of multiprocessing that these find old.
pytestmark = [pytest.mark.torchvision, pytest.mark.filterwarnings("default")]


class SoftBce(nn.Module):
    """What the library has: cross-entropy whose soft target is w in the class's column."""

    reduction = "mean"

    def forward(self, logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        soft = iou[:, None] * F.one_hot(target, logits.shape[1] + 1)[:, :-1]
        return F.binary_cross_entropy_with_logits(logits, soft, reduction="none")


class Ciou(nn.Module):
    """1 − CIoU by the library's own function."""

    reduction = "mean"

    def forward(self, pred: Tensor, true: Tensor) -> Tensor:
        from ultralytics.utils.metrics import bbox_iou

        return 1 - bbox_iou(pred, true, xywh=False, CIoU=True).squeeze(-1)


def model_of(name: str) -> Any:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(name, nc=3, verbose=False)
    model.args = get_cfg()
    return model


def losses_of(model: Any) -> Tensor:
    torch.manual_seed(1)
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "cls": torch.tensor([[0.0], [2.0], [1.0]]),
        "bboxes": torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.7, 0.6, 0.3, 0.5], [0.5, 0.5, 0.8, 0.6]]),
    }
    found: Tensor = model.loss(batch)[0]
    return found


@needs_library
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_the_librarys_own_losses_give_its_own_numbers_and_ours_train(name: str) -> None:
    model = model_of(name).train()
    theirs, ours = (
        losses_of(copy.deepcopy(model)),
        losses_of(with_losses(copy.deepcopy(model), SoftBce(), Ciou())),
    )
    torch.testing.assert_close(ours, theirs)
    twice = losses_of(with_losses(copy.deepcopy(model), SoftBce(), Ciou(), cls_weight=2.0, box_weight=3.0))
    torch.testing.assert_close(twice, theirs * torch.tensor([3.0, 2.0, 1.0]))
    found = losses_of(with_losses(model, "cse-autoloss-b-cls", "cse-autoloss-b-reg"))
    found.sum().backward()
    assert found.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert (found[:2] != theirs[:2]).all()


def test_an_anchors_class_and_score_are_read_from_the_soft_targets() -> None:
    target = torch.zeros(1, 3, 4)
    target[0, 1, 2] = 0.7
    logits = torch.randn(1, 3, 4)
    found = _Classification(elements_of("quality-focal", "cls-binary"), 2.0)(logits, target)
    label, iou = torch.tensor([4, 2, 4]), torch.tensor([0.0, 0.7, 0.0])
    assert torch.equal(found[0], 2 * elements_of("quality-focal", "cls-binary")(logits[0], label, iou))


@needs_library
def test_another_model_and_a_loss_of_another_branch_are_refused() -> None:
    with pytest.raises(AutoLossError, match=r"expected a YOLO detector.*got a Linear"):
        with_losses(nn.Linear(1, 1), "focal")
    with pytest.raises(AutoLossError, match="expected a loss of reg"):
        with_losses(model_of("yolo11n.yaml"), box_loss="focal")


@needs_library
def test_a_trainer_reads_losses_at_once_and_a_resumed_one_keeps_them() -> None:
    with pytest.raises(AutoLossError, match="unknown loss 'fokal'"):
        trainer_with("fokal")
    kind = trainer_with("focal", "giou", cls_weight=2.0)
    trainer = kind.__new__(kind)
    trainer.model = model_of("yolo26n.yaml")
    trainer.args, trainer.data = trainer.model.args, {"nc": 3, "names": dict(enumerate("abc"))}
    trainer.resume, trainer.epochs, trainer._load_checkpoint_state = True, 10, lambda ckpt: None
    trainer.set_model_attributes()
    trainer.resume_training({"epoch": 3})
    criterion = trainer.model.criterion
    assert criterion.updates == 4
    for part in (criterion.one2many, criterion.one2one):
        assert (part.bce.loss.formula, part.bce.weight) == (elements_of("focal", "cls-binary").formula, 2.0)
        assert isinstance(part.bbox_loss, _Boxes)
        assert not isinstance(part.bbox_loss.theirs, _Boxes)


@pytest.mark.skipif(INSTALLED, reason="ultralytics is installed")
def test_without_the_library_it_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match="pip install ultralytics"):
        trainer_with("focal")


@needs_library
def test_the_example_takes_ten_steps() -> None:
    script = Path(__file__).parent.parent / "examples" / "libraries" / "ultralytics_yolo.py"
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    losses = [float(line.split()[3]) for line in ran.stdout.splitlines() if line.startswith("step ")]
    assert len(losses) == 10
    assert all(map(math.isfinite, losses))
    assert len(set(losses)) == 10
