"""What the tests of full-size training share: a small data set, and whether torchvision is here."""

from __future__ import annotations

import importlib.util
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.settings.load import parse

SMALL = "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"


def write_data(root: Path, count: int = 6) -> None:
    """Dark and bright rectangles with outlines on images of two sizes; the last image is empty."""
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
                        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    }
                )
            Image.fromarray(pixels).save(root / f"{name}{number}.png")
            images.append(
                {"id": 10 + number, "file_name": f"{name}{number}.png", "width": width, "height": height}
            )
        categories = [{"id": 3, "name": "dark"}, {"id": 7, "name": "bright"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def edit(path: Path, change: Any) -> None:
    """Change what a JSON file holds, in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def small_settings(root: Path, **changes: Any) -> TrainSettings:
    """Two steps of the smallest detector on such data."""
    values: dict[str, Any] = {
        "detector": SMALL,
        "data": f"coco:{root}",
        "loss": "cse-autoloss-a-cls",
        "loss_reg": "giou",
        "weights": "none",
        "image_size": 64,
        "batch": 2,
        "warmup": 2,
        "workers": 0,
        "max_steps": 2,
        "tensorboard": False,
    }
    return parse(TrainSettings, {**values, **changes})


def torchvision_fits() -> bool:
    """Whether torchvision is installed and fits the installed torch."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


needs_torchvision = pytest.mark.skipif(
    not torchvision_fits(), reason="torchvision is not installed beside this torch"
)


def tiny_faster_rcnn(
    name: str, *, weights: None, weights_backbone: None, num_classes: int, min_size: int, max_size: int
) -> Any:
    """In place of torchvision's `get_model`: its Faster R-CNN, with or without its masks, on a few layers."""
    from torch import nn
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

    body = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1))
    backbone = nn.Sequential(OrderedDict(body=body))
    backbone.out_channels = 16
    masks: dict[str, Any] = {}
    if name.startswith("mask"):
        masks = {"mask_head": nn.Conv2d(16, 16, 3, 1, 1)}
        masks["mask_predictor"] = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 2, 2), nn.Conv2d(16, num_classes, 1)
        )
    kind = MaskRCNN if masks else FasterRCNN
    return kind(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0, 2.0),)),
        box_head=TwoMLPHead(16 * 7 * 7, 32),
        box_predictor=FastRCNNPredictor(32, num_classes),
        min_size=min_size,
        max_size=max_size,
        **masks,
    )
