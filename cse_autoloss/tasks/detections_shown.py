"""What is to be seen of a detector: precision over recall, and what it finds on the first images, right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cse_autoloss.detectors.selection import Detections
from cse_autoloss.tasks.average_precision import PrecisionRecall
from cse_autoloss.tasks.matching import IOU, found_on, match, objects_on
from cse_autoloss.tasks.pictures import (
    MOST_BOXES,
    MOST_LINES,
    MOST_PHOTOGRAPHS,
    Box,
    Lines,
    Photograph,
    Photographs,
    encoded,
)
from cse_autoloss.tasks.splits import Split


def curves(detail: PrecisionRecall, names: Sequence[str]) -> Lines:
    """Precision over recall of the classes, of many those with the highest AP."""
    best = sorted(sorted(detail.precision, key=lambda index: -detail.classes[index])[:MOST_LINES])
    lines = {
        names[index]: [(at / 100, round(value, 4)) for at, value in enumerate(detail.precision[index])]
        for index in best
    }
    return Lines(f"Precision and recall at IoU {IOU:g}", "recall", "precision", lines)


def photographs(split: Split, found: Detections, least: float, names: Sequence[str]) -> Photographs:
    """The split's first images with the detections of a score of at least `least`."""
    words = (
        f"The first images, none chosen; detections with a score of {least:.2g} or more, by the best F1 on validation. "
        f"Right: an object of the class overlaps by an IoU of {IOU:g} or more, and has no better detection."
    )
    shown = [_photograph(split, row, found, least, names) for row in range(min(MOST_PHOTOGRAPHS, len(split)))]
    return Photographs("Detections", words, shown)


def _photograph(split: Split, row: int, found: Detections, least: float, names: Sequence[str]) -> Photograph:
    seen, truth = found_on(found, row, least), objects_on(split, row)
    owner = match(seen, truth)
    missed = np.setdiff1d(np.arange(len(truth.labels)), owner)
    boxes = [
        Box(_corners(corners), "right" if own >= 0 else "wrong", f"{names[label]} {score:.2f}")
        for corners, label, score, own in zip(seen.boxes, seen.labels, seen.scores, owner, strict=True)
    ]
    boxes += [Box(_corners(truth.boxes[i]), "missed", names[truth.labels[i]]) for i in missed]
    height, width = split.images.shape[2:]
    return Photograph(encoded(split.images[row]), width, height, boxes[:MOST_BOXES])


def _corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(float(value), 1) for value in box)
    return x0, y0, x1, y1
