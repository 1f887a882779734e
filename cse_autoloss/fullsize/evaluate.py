"""COCO's table of a detector: AP, AP50, AP75 and AP by size, of boxes and, where it finds them, of masks."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any, Literal

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from cse_autoloss.fullsize.data import CocoImages
from cse_autoloss.fullsize.outlines import packed

FIGURES = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")
Kind = Literal["bbox", "segm"]


@torch.no_grad()
def coco_table(
    network: nn.Module,
    data: CocoImages,
    first_label: int,
    device: torch.device,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """COCO's figures in [0, 1]; NaN where the data has no object of that size.

    Small, medium and large boxes are told by the area of the box, not of the outline, which not all data has.
    With `data.masks`, "mask AP" and its kin follow, of the outlines.

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
        found += _as_coco(network([image.to(device)])[0], number, data, first_label)
        on_image(index + 1, len(data))
    table = _figures(found, data, "bbox")
    if data.masks:
        table |= {f"mask {name}": value for name, value in _figures(found, data, "segm").items()}
    return table


def _as_coco(
    detections: dict[str, torch.Tensor], number: int, data: CocoImages, first_label: int
) -> list[dict[str, Any]]:
    corners = detections["boxes"].double().cpu()
    sizes = corners[:, 2:] - corners[:, :2]
    answers = [
        {
            "image_id": number,
            "category_id": data.categories[label],
            "bbox": [*box[:2], *size],
            "score": score,
        }
        for box, size, score, label in zip(
            corners.tolist(),
            sizes.tolist(),
            detections["scores"].tolist(),
            (detections["labels"] - first_label).tolist(),
            strict=True,
        )
    ]
    if data.masks:
        for answer, mask in zip(answers, detections["masks"], strict=True):
            answer["segmentation"] = packed((mask[0] > 0.5).to(torch.uint8).cpu().numpy())
    return answers


def _figures(found: list[dict[str, Any]], data: CocoImages, kind: Kind) -> dict[str, float]:
    if not found:
        return dict.fromkeys(FIGURES, 0.0)
    if kind == "bbox":  # with an outline in it, pycocotools would take sizes from there
        found = [{key: value for key, value in one.items() if key != "segmentation"} for one in found]
    else:
        found = [{key: value for key, value in one.items() if key != "bbox"} for one in found]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _truth(data, kind)
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.params.catIds = data.categories
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        name: float(value) if value > -1 else float("nan")
        for name, value in zip(FIGURES, evaluation.stats[: len(FIGURES)], strict=True)
    }


def _truth(data: CocoImages, kind: Kind) -> COCO:
    """The objects as they were checked and clipped, not as the file has them."""
    annotations: list[dict[str, Any]] = []
    for number in data.image_ids:
        own = data.objects[number]
        for row, ((x0, y0, x1, y1), category, crowd) in enumerate(
            zip(own.boxes, own.categories, own.crowd, strict=True)
        ):
            item: dict[str, Any] = {
                "id": len(annotations) + 1,  # pycocotools takes an id of 0 for "unmatched"
                "image_id": number,
                "category_id": category,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": int(crowd),
            }
            if kind == "segm":
                if crowd and not own.segments[row]:
                    continue
                shape = data.outline(number, row)
                item |= {"segmentation": packed(shape), "area": int(shape.sum())}
            annotations.append(item)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [
            {"id": number, "height": data.images[number].height, "width": data.images[number].width}
            for number in data.image_ids
        ],
        "categories": [{"id": number} for number in data.categories],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth
