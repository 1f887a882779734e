"""Odd data and wrong files: a training takes them as they are, or says in one line what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fullsize_samples import edit, needs_torchvision, small_settings, tiny_faster_rcnn, write_data
from PIL import Image

from cse_autoloss.errors import AutoLossError, DataError, RunError
from cse_autoloss.fullsize.data import load_files
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.settings.load import changed

pytestmark = [pytest.mark.torchvision, needs_torchvision]
DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
)


@pytest.fixture
def settings(tmp_path: Path) -> TrainSettings:
    write_data(tmp_path)
    return small_settings(tmp_path)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    from cse_autoloss.fullsize import models

    monkeypatch.setattr(models.models, "get_model", tiny_faster_rcnn)


def add_image(root: Path, name: str, width: int, height: int, boxes: list[list[float]]) -> None:
    """One more training image."""
    Image.new("RGB", (width, height), (90, 120, 90)).save(root / f"{name}.png")

    def change(content: dict[str, Any]) -> None:
        content["images"].append({"id": 99, "file_name": f"{name}.png", "width": width, "height": height})
        for number, (x, y, w, h) in enumerate(boxes):
            content["annotations"].append(
                {
                    "id": 1000 + number,
                    "image_id": 99,
                    "category_id": 3,
                    "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )

    edit(root / "train.json", change)


# -- images and boxes ----------------------------------------------------------------------------------------


def small_head(kind: str) -> tuple[Any, str, str]:
    """A detector of that kind on a few layers, with our losses in its head."""
    from torch import nn
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    from cse_autoloss.export.adapters.torchvision import with_losses

    torch.manual_seed(0)
    if kind in ("fasterrcnn", "maskrcnn"):
        model = tiny_faster_rcnn(
            kind, weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=107
        )
        return with_losses(model, "cse-autoloss-a-cls", "cse-autoloss-a-reg")
    backbone = nn.Sequential(nn.Conv2d(3, 32, 3, 4, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1))
    backbone.out_channels = 32
    if kind == "fcos":
        model = FCOS(backbone, 2, 64, 107, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)))
    else:
        model = RetinaNet(backbone, 2, 64, 107, anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0),)))
    return with_losses(model, "cse-autoloss-b-cls", "cse-autoloss-b-reg")


def boxes_in(count: int, width: int, height: int) -> dict[str, torch.Tensor]:
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * 0.7
    scale = torch.tensor([width, height, width, height])
    boxes = torch.cat((corners, corners + 0.3), 1) * scale
    masks = torch.ones(count, height, width, dtype=torch.uint8)
    return {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64), "masks": masks}


@pytest.mark.parametrize("kind", ["fasterrcnn", "maskrcnn", "retinanet", "fcos"])
@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([(1, 1, 1), (3, 40, 50)], id="1x1"),
        pytest.param([(0, 1, 1)], id="1x1-empty"),
        pytest.param([(0, 30, 20), (0, 20, 30)], id="no-boxes"),
        pytest.param([(2, 400, 6), (1, 6, 400), (1, 64, 64)], id="mixed"),
    ],
)
def test_odd_images(kind: str, shapes: list[tuple[int, int, int]]) -> None:
    model = small_head(kind)
    images = [torch.rand(3, height, width) for _, width, height in shapes]
    targets = [boxes_in(*shape) for shape in shapes]
    total = sum(model(images, targets).values())
    assert torch.isfinite(total)
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    # Every parameter takes part in every step, or several processes would wait for each other for ever.
    assert all(gradient is not None for gradient in gradients)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kind", ["fasterrcnn", "maskrcnn", "retinanet", "fcos"])
def test_half_precision_comes_near(kind: str) -> None:
    model, image = small_head(kind), torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    totals = []
    for amp in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            losses = model([image], [boxes_in(3, 64, 64)])
        totals.append(sum(value.float() for value in losses.values()))
    totals[1].backward()
    assert totals[1].item() == pytest.approx(totals[0].item(), rel=0.05)


@pytest.mark.usefixtures("tiny")
def test_boxes_too_small_to_have_an_area_are_left_out(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.data import CocoImages
    from cse_autoloss.fullsize.training import train

    small = [[40.0001, 3.0, 1e-6, 9.0], [30.0, 3.0, 9.0, 1e-9], [2.0, 3.0, 9.0, 9.0]]
    add_image(tmp_path, "thin", 64, 48, small)
    files = load_files(settings)
    assert len(CocoImages(files.train, files.categories, 1)[0, True][1]["boxes"]) == 1
    assert train(changed(settings, {"batch": 7, "max_steps": 1}), tmp_path / "out")


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_10000_boxes_in_one_image(kind: str) -> None:
    model = small_head(kind)
    total = sum(model([torch.rand(3, 64, 64)], [boxes_in(10_000, 64, 64)]).values())
    assert torch.isfinite(total)
    total.backward()


@pytest.mark.usefixtures("tiny")
def test_a_training_on_odd_images(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    rng = np.random.default_rng(0)
    add_image(tmp_path, "dot", 1, 1, [[0, 0, 1, 1]])
    tables = train(changed(settings, {"max_steps": 3, "batch": 7}), tmp_path / "out")
    assert "AP" in tables["val"]
    write_data(tmp_path)
    corners = rng.uniform(0, 40, (10_000, 2)).tolist()
    add_image(tmp_path, "crowd", 64, 64, [[x, y, 12.5, 9.25] for x, y in corners])
    tables = train(changed(settings, {"max_steps": 1, "batch": 7}), tmp_path / "many")
    assert "AP" in tables["val"]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, float("nan"), 4], r"bbox \[1, 2, NaN, 4\] is not finite"),
        ([1, 2, 0, 4], "has no area"),
        ([1, 2, 3], r"expected \[x, y, width, height\]"),
        ([3000, 2, 30, 4], "lies outside its image"),
    ],
)
def test_boxes_that_are_wrong(
    box: list[float], message: str, settings: TrainSettings, tmp_path: Path
) -> None:
    from cse_autoloss.fullsize.training import train

    edit(tmp_path / "train.json", lambda content: content["annotations"][1].update(bbox=box))
    with pytest.raises(DataError, match=r"train\.json: annotations\[1\] \(id 1\): .*" + message) as error:
        train(settings, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    files = load_files(changed(settings, {"skip_bad": True}))
    assert [len(own.boxes) for own in files.train.objects.values()] == [1, 1, 1, 1, 0]


# -- checkpoints ---------------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    state = torch.load(path, weights_only=True)
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"model": 1}))
    elif how == "classes":
        torch.save({**state, "classes": ["dark"]}, path)
    elif how == "detector":
        torch.save({**state, "detector": "torchvision:fcos_resnet50_fpn"}, path)
    elif how == "shape":
        state["model"]["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(7)
        torch.save(state, path)
    elif how == "optimiser":
        torch.save({**state, "optimiser": {"state": {}, "param_groups": []}}, path)


@pytest.mark.usefixtures("tiny")
def test_checkpoints_that_a_training_can_not_go_on_from(settings: TrainSettings, tmp_path: Path) -> None:
    from cse_autoloss.fullsize.training import train

    out = tmp_path / "out"
    train(changed(settings, {"max_steps": 1}), out)
    whole = (out / "checkpoint.pt").read_bytes()
    for how, message in (
        ("truncated", "damaged or cut short"),
        ("pickle", "a pickle that is no checkpoint"),
        ("classes", "the checkpoint has 1 classes, the data has 2"),
        ("detector", "a checkpoint of torchvision:fcos_resnet50_fpn, not of torchvision:fasterrcnn"),
        ("shape", "does not fit the detector: .*cls_score"),
        ("optimiser", "does not fit the detector: "),
    ):
        spoil(out / "checkpoint.pt", how)
        with pytest.raises(RunError, match=message) as error:
            train(settings, out)
        assert str(error.value).startswith(str(out / "checkpoint.pt"))
        assert "\n" not in str(error.value)
        if how == "optimiser":  # of which only a resumed training has a use
            (out / "checkpoint.pt").write_bytes(whole)
            continue
        with pytest.raises(AutoLossError, match=r"checkpoint\.pt: "):
            train(changed(settings, {"weights": str(out / "checkpoint.pt")}), tmp_path / "other")
        (out / "checkpoint.pt").write_bytes(whole)
    # Data with another class since then:
    edit(tmp_path / "train.json", lambda content: content["annotations"][1].update(category_id=3))
    edit(tmp_path / "train.json", lambda content: content["annotations"][3].update(category_id=3))
    edit(tmp_path / "train.json", lambda content: content["categories"].pop())
    edit(tmp_path / "val.json", lambda content: content["categories"].pop())
    edit(tmp_path / "val.json", lambda content: [content["annotations"].pop(n) for n in (3, 1)])
    with pytest.raises(RunError, match="the checkpoint has 2 classes, the data has 1"):
        train(settings, out)
    assert json.loads((out / "table.json").read_text(encoding="utf-8"))["val"]
