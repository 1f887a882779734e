"""Detections as data: of each picture, and all of them as a file of COCO's results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cse_autoloss.predict.photographs import Picture
from cse_autoloss.tasks.matching import Found


def detections(picture: Picture, found: Found, class_names: Sequence[str]) -> dict[str, Any]:
    """`image`, and `boxes`, best first: `class`, `score`, `bbox` [x, y, width, height] in pixels of the photograph,
    clipped to it; what lies outside is left out."""
    width, height = picture.size
    corners = np.clip(found.boxes.astype(np.float64) * picture.original, 0, (width, height) * 2)
    rows = zip(corners.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return {
        "image": picture.name,
        "boxes": [
            {
                "class": class_names[label],
                "score": score,
                "bbox": [round(one, 2) for one in (x0, y0, x1 - x0, y1 - y0)],
            }
            for (x0, y0, x1, y1), label, score in rows
            if x1 > x0 and y1 > y0
        ],
    }


def write_results(path: Path, told: Sequence[dict[str, Any]], class_names: Sequence[str]) -> None:
    """COCO's results, with what its numbers mean: `images`, `categories` (ids from 1) and `annotations` with scores,
    which is the list that pycocotools' `loadRes` takes."""
    number = {name: at for at, name in enumerate(class_names, 1)}
    content = {
        "images": [{"id": at, "file_name": one["image"]} for at, one in enumerate(told, 1)],
        "categories": [{"id": at, "name": name} for name, at in number.items()],
        "annotations": [
            {
                "image_id": at,
                "category_id": number[box["class"]],
                "bbox": box["bbox"],
                "score": box["score"],
            }
            for at, one in enumerate(told, 1)
            for box in one["boxes"]
        ],
    }
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
