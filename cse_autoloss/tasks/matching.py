"""Which detections are right: matched to the objects as COCO's AP does it, at one IoU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cse_autoloss.detectors.boxes import pairwise_iou
from cse_autoloss.detectors.selection import Detections
from cse_autoloss.tasks.splits import Split

IOU = 0.5
"""From which overlap on a detection has found an object."""


class Objects(NamedTuple):
    """Boxes (K, 4) xyxy and their class indices (K,) of one image."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class Found(NamedTuple):
    """Detections of one image, best first."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


def found_on(detections: Detections, row: int, least: float = 0.0) -> Found:
    """One image's detections with a score of at least `least`."""
    scores = detections.log_scores[row].double().exp().cpu().numpy()
    labels = detections.labels[row].cpu().numpy()
    keep = (labels >= 0) & (scores >= least)
    return Found(detections.boxes[row].cpu().numpy()[keep], labels[keep], scores[keep])


def objects_on(split: Split, row: int) -> Objects:
    """One image's objects; crowds are none."""
    there = (split.labels[row] >= 0) & ~split.crowd[row]
    return Objects(split.boxes[row][there], split.labels[row][there])


def match(found: Found, truth: Objects, iou: float = IOU) -> NDArray[np.int64]:
    """For each detection the index of its object, -1 where it has none.

    From the best score down, a detection takes the object of its class that it overlaps most, among those that
    are not taken yet, if the IoU is at least `iou`.
    """
    owner = np.full(len(found.labels), -1, dtype=np.int64)
    if not len(truth.labels) or not len(found.labels):
        return owner
    overlap = pairwise_iou(torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes)).numpy()
    overlap[found.labels[:, None] != truth.labels[None]] = -1.0
    for row in range(len(owner)):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= iou:
            owner[row] = best
            overlap[:, best] = -1.0
    return owner


def best_threshold(detections: Detections, split: Split) -> float:
    """The score from which on detections are best kept: F1 is highest there, over the images looked at:
    the split's first.

    Losses differ in what their scores mean, so that no fixed score suits all. Choose on validation data.
    """
    scores, right, objects = [], [], 0
    for row in range(len(detections.labels)):
        found, truth = found_on(detections, row), objects_on(split, row)
        scores.append(found.scores)
        right.append(match(found, truth) >= 0)
        objects += len(truth.labels)
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    if not order.size:
        return 0.5
    hits = np.concatenate(right)[order].cumsum()
    f1 = 2 * hits / (np.arange(1, hits.size + 1) + objects)
    return float(every[order][int(f1.argmax())])
