"""torchvision's detectors with our losses: the same as torchvision's own where the losses are the same."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.export.adapters.torchvision import with_losses
from cse_autoloss.losses import load_loss


def _fits() -> bool:
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


needs_torchvision = pytest.mark.skipif(not _fits(), reason="torchvision is not installed beside this torch")
pytestmark = pytest.mark.torchvision


class Backbone(nn.Module):
    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, 8, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def model_of(kind: str) -> Any:
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    torch.manual_seed(0)
    size = {"min_size": 64, "max_size": 64, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    if kind == "retinanet":
        return RetinaNet(
            Backbone(), 4, anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)), **size
        )
    if kind == "fcos":
        return FCOS(Backbone(), 4, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), **size)
    from torchvision.ops import MultiScaleRoIAlign

    return FasterRCNN(
        Backbone(), 4, rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2), box_batch_size_per_image=32, **size,
    )  # fmt: skip


def data() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    torch.manual_seed(1)
    images = [torch.rand(3, 64, 64) for _ in range(3)]
    boxes = torch.tensor([[4.0, 4, 30, 28], [20, 22, 60, 60], [30, 2, 50, 20]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 2, 3])},
        {"boxes": boxes[:1], "labels": torch.tensor([2])},
        {"boxes": boxes[:0], "labels": torch.tensor([], dtype=torch.int64)},
    ]
    return images, targets


def losses_of(model: Any) -> dict[str, Tensor]:
    torch.manual_seed(2)  # Faster R-CNN draws its proposals
    model.train()
    return model(*data())


FOCAL = load_loss("focal", alpha=0.25)

CASES = [
    ("retinanet", FOCAL, None, "classification"),
    ("retinanet", None, "giou", "bbox_regression"),
    ("fcos", FOCAL, None, "classification"),
    ("fcos", None, "giou", "bbox_regression"),
    ("faster-rcnn", "cross-entropy", None, "loss_classifier"),
    ("faster-rcnn", None, "giou", "loss_box_reg"),
]


@needs_torchvision
@pytest.mark.parametrize(("kind", "cls_loss", "box_loss", "key"), CASES)
def test_the_same_loss_gives_the_same_number(kind: str, cls_loss: Any, box_loss: Any, key: str) -> None:
    model = model_of(kind)
    if kind == "retinanet" and box_loss:
        model.head.regression_head._loss_type = "giou"
    expected = losses_of(model)
    weights = [parameter.data_ptr() for parameter in model.parameters()]
    found = losses_of(with_losses(model, cls_loss, box_loss))
    assert [parameter.data_ptr() for parameter in model.parameters()] == weights
    assert found.keys() == expected.keys()
    for name in expected:
        if name == "loss_box_reg" and box_loss:  # torchvision offers smooth L1 alone
            continue
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
    if kind == "faster-rcnn" and box_loss:
        reference = faster_rcnn_giou(model)
        torch.testing.assert_close(found[key], reference, rtol=1e-4, atol=1e-6)


def faster_rcnn_giou(model: Any) -> Tensor:
    """The same by torchvision's own pieces: decode, GIoU, divide by the number of proposals."""
    from torchvision.models.detection import roi_heads
    from torchvision.ops import generalized_box_iou_loss

    plain = copy.deepcopy(model)
    plain.roi_heads.__class__ = roi_heads.RoIHeads
    caught: dict[str, Any] = {}
    original_select, original_loss = plain.roi_heads.select_training_samples, roi_heads.fastrcnn_loss

    def select(proposals: Any, targets: Any) -> Any:
        caught["proposals"] = original_select(proposals, targets)
        return caught["proposals"]

    def loss(*arguments: Any) -> Any:
        caught["arguments"] = arguments
        return original_loss(*arguments)

    plain.roi_heads.select_training_samples = select
    roi_heads.fastrcnn_loss = loss
    try:
        losses_of(plain)
    finally:
        roi_heads.fastrcnn_loss = original_loss
    _, regression, labels, codes = caught["arguments"]
    labels, codes, rows = torch.cat(labels), torch.cat(codes), torch.cat(caught["proposals"][0])
    at = labels > 0
    pred = plain.roi_heads.box_coder.decode_single(
        regression.reshape(len(labels), -1, 4)[at, labels[at]], rows[at]
    )
    true = plain.roi_heads.box_coder.decode_single(codes[at], rows[at])
    return generalized_box_iou_loss(pred, true, reduction="sum") / labels.numel()


@needs_torchvision
@pytest.mark.parametrize(
    ("kind", "cls_loss"),
    [
        ("retinanet", "cse-autoloss-b-cls"),
        ("fcos", "cse-autoloss-b-cls"),
        ("faster-rcnn", "cse-autoloss-a-cls"),
    ],
)
def test_published_losses_train(kind: str, cls_loss: str) -> None:
    model = with_losses(model_of(kind), cls_loss, "cse-autoloss-b-reg", box_weight=2.0, centerness="iou")
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    history = []
    for _ in range(8):
        losses = losses_of(model)
        total = sum(losses.values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append(float(total.detach()))
    assert all(value == value for value in history)
    assert history[-1] < history[0]
    model.eval()
    with torch.no_grad():
        (detections,) = model(data()[0][:1])
    assert detections["boxes"].shape[-1] == 4


@needs_torchvision
def test_positives_are_told_their_iou() -> None:
    """Replacing IoU by 1 changes the loss: the IoU does reach it."""
    for kind, name in (
        ("retinanet", "quality-focal"),
        ("fcos", "quality-focal"),
        ("faster-rcnn", "cse-autoloss-a-cls"),
    ):
        model = model_of(kind)
        first = losses_of(with_losses(model, name))
        head = model.roi_heads if kind == "faster-rcnn" else model.head
        inner = head.losses.cls
        head.losses.cls = lambda logits, labels, iou, inner=inner: inner(logits, labels, None)
        second = losses_of(model)
        key = "loss_classifier" if kind == "faster-rcnn" else "classification"
        assert not torch.isclose(first[key], second[key])


@needs_torchvision
def test_weights_and_repeated_calls() -> None:
    model = with_losses(model_of("retinanet"), FOCAL, "giou")
    once = losses_of(model)
    twice = losses_of(with_losses(model, FOCAL, "giou", cls_weight=2.0, box_weight=3.0))
    assert torch.allclose(twice["classification"], 2 * once["classification"])
    assert torch.allclose(twice["bbox_regression"], 3 * once["bbox_regression"])
    again = copy.deepcopy(model)
    assert torch.allclose(losses_of(again)["classification"], twice["classification"])


@needs_torchvision
def test_mistakes_are_told() -> None:
    with pytest.raises(AutoLossError, match="expected a RetinaNet, an FCOS or a Faster R-CNN, got a Linear"):
        with_losses(nn.Linear(1, 1), "bce")
    with pytest.raises(AutoLossError, match="cls-binary"):
        with_losses(model_of("retinanet"), "cross-entropy")
    with pytest.raises(AutoLossError, match="centerness is"):
        with_losses(model_of("fcos"), centerness="middle")  # type: ignore[arg-type]
    model = model_of("retinanet")
    model.head.__class__ = type("MyHead", (type(model.head),), {})
    with pytest.raises(AutoLossError, match="a changed RetinaNetHead"):
        with_losses(model, FOCAL)


@pytest.mark.skipif(_fits(), reason="torchvision is installed")
def test_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"cse-autoloss\[torchvision\]"):
        with_losses(nn.Linear(1, 1), "bce")
