"""COCO's table of a detector: AP, AP50, AP75 and AP by size."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from cse_autoloss.fullsize.data import CocoImages

FIGURES = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")


@torch.no_grad()
def coco_table(
    network: nn.Module,
    data: CocoImages,
    first_label: int,
    device: torch.device,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """COCO's figures in [0, 1]; NaN where the data has no object of that size.

    Small, medium and large are told by the area of the box, not of the segment, which not all data has.

    Args:
        network: torchvision's detector; left in evaluation mode.
        data: the images to detect on.
        first_label: the network's label of class index 0.
        device: where the network is.
        on_image: called after each image with how many are done, and of how many.
    """
    network.eval()
    found: list[dict[str, Any]] = []
    for index, number in enumerate(data.image_ids):
        image, _ = data[index, False]
        detections = network([image.to(device)])[0]
        corners = detections["boxes"].double().cpu()
        sizes = corners[:, 2:] - corners[:, :2]
        for box, size, score, label in zip(
            corners.tolist(),
            sizes.tolist(),
            detections["scores"].tolist(),
            (detections["labels"] - first_label).tolist(),
            strict=True,
        ):
            found.append(
                {
                    "image_id": number,
                    "category_id": data.categories[label],
                    "bbox": [*box[:2], *size],
                    "score": score,
                }
            )
        on_image(index + 1, len(data))
    if not found:
        return dict.fromkeys(FIGURES, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _truth(data)
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.catIds = data.categories
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: float(value) if value > -1 else float("nan")
        for name, value in zip(FIGURES, evaluation.stats[: len(FIGURES)], strict=True)
    }


def _truth(data: CocoImages) -> COCO:
    """The objects as they were checked and clipped, not as the file has them."""
    annotations: list[dict[str, Any]] = []
    for number in data.image_ids:
        own = data._objects[number]
        for (x0, y0, x1, y1), category, crowd in zip(own.boxes, own.categories, own.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes an id of 0 for "unmatched"
                    "image_id": number,
                    "category_id": category,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(crowd),
                }
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in data.image_ids],
        "categories": [{"id": number} for number in data.categories],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth
