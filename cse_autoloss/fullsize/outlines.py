"""Outlines of objects as COCO's files have them: polygons, or runs of pixels, plain or packed as text.

They come from outside: all is checked before pycocotools' C code sees it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from cse_autoloss.errors import DataError, shorten
from cse_autoloss.tasks.photographs.annotations import Annotations


def check_outlines(file: Annotations) -> None:
    """DataError where an object that is no crowd has no outline."""
    objects = missing = 0
    first = ""
    for number, own in file.objects.items():
        for row, crowd in enumerate(own.crowd):
            objects += not crowd
            if not crowd and not (own.segments and own.segments[row]):
                missing += 1
                first = first or f"one in image {file.images[number].name} (id {number})"
    if missing:
        raise DataError(
            f"{file.path}: {missing} of {objects} objects have no 'segmentation', the first: {first}; Mask R-CNN "
            "learns from outlines: take a detector that learns from boxes, as torchvision:fasterrcnn_resnet50_fpn"
        )


def filled(outline: Any, height: int, width: int, where: str) -> NDArray[np.uint8]:
    """(H, W) uint8: 1 inside the outline.

    Args:
        outline: [[x, y, x, y, …], …] in pixels, or {"size": [H, W], "counts": runs of 0, 1, 0, … down the columns},
            the runs as numbers or as COCO's text.
        height, width: of the image.
        where: names the object in errors.

    Raises:
        DataError: it is neither, or leaves the image's size.
    """
    if isinstance(outline, dict):
        return _of_runs(outline, height, width, where)
    polygons = outline if isinstance(outline, list) else None
    if not polygons or not all(_is_polygon(polygon) for polygon in polygons):
        raise DataError(
            f"{where}: segmentation: expected polygons of 3 or more corners, or runs, got {_show(outline)}"
        )
    limits = np.tile([width, height], max(map(len, polygons)) // 2)
    inside = [np.clip(polygon, 0, limits[: len(polygon)]).tolist() for polygon in polygons]
    merged = coco_mask.merge(coco_mask.frPyObjects(inside, height, width))
    return _of_runs({**merged, "counts": merged["counts"].decode("ascii")}, height, width, where)


def packed(shape: NDArray[np.uint8]) -> dict[str, Any]:
    """A filled outline (H, W) as pycocotools takes it."""
    answer: dict[str, Any] = coco_mask.encode(np.asfortranarray(shape))
    return answer


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(v, int | float) and math.isfinite(v) for v in polygon)
    )


def _of_runs(outline: dict[str, Any], height: int, width: int, where: str) -> NDArray[np.uint8]:
    if outline.get("size") != [height, width]:
        raise DataError(
            f"{where}: segmentation: expected size [{height}, {width}], got {_show(outline.get('size'))}"
        )
    counts = outline.get("counts")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    good = isinstance(runs, list) and all(type(run) is int and 0 <= run <= height * width for run in runs)
    if not good or sum(runs) != height * width:  # type: ignore[arg-type]
        raise DataError(f"{where}: segmentation: its runs are not those of {height} x {width} pixels")
    values = np.arange(len(runs), dtype=np.uint8) % 2  # type: ignore[arg-type]
    return np.repeat(values, runs).reshape(width, height).T  # type: ignore[arg-type]


def _unpacked(text: str) -> list[int]:
    """Runs from COCO's text: characters of 5 bits, low ones first, from the third run on the difference to the
    run two before; empty where it is no such text."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return [] if shift else runs


def _show(value: Any) -> str:
    return shorten(repr(value))
