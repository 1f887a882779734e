"""COCO average precision by pycocotools, without its output and without its files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cse_autoloss.tasks.splits import Split


class AveragePrecision(NamedTuple):
    """COCO's figures, in [0, 1], mean over the classes that the split holds."""

    ap: float
    """AP@[.50:.95]."""
    ap50: float
    ap75: float


class PrecisionRecall(NamedTuple):
    """Where precision is lost. Classes and sizes that have no objects are left out.

    Attributes:
        precision: class index -> 101 precisions at IoU 0.5, at recalls 0, 0.01, ..., 1.
        classes: class index -> AP@[.50:.95].
        sizes: "small" (below 32² pixels of the network's input), "medium", "large" (from 96²) -> AP@[.50:.95].
        recall: AR@[.50:.95] of the best 100 detections an image.
    """

    precision: dict[int, list[float]]
    classes: dict[int, float]
    sizes: dict[str, float]
    recall: float

    def figures(self, names: Sequence[str]) -> dict[str, float]:
        """AR, AP by size and AP by class, under what a table calls them; `names` are the classes'."""
        return {
            "AR": self.recall,
            **{f"AP, {size}": value for size, value in self.sizes.items()},
            **{f"AP of {names[index]}": value for index, value in self.classes.items()},
        }


_AREAS = {"all": [0, 1e10], "small": [0, 32**2], "medium": [32**2, 96**2], "large": [96**2, 1e10]}


class AveragePrecisionMetric:
    """Scores detections against one split; the ground truth is indexed once and used for every call."""

    def __init__(self, truth: Split, num_classes: int) -> None:
        self._num_classes = num_classes
        self._images = [{"id": row} for row in range(len(truth))]
        self._categories = [{"id": index} for index in range(num_classes)]
        row, column = np.nonzero(truth.labels >= 0)
        self._truth = self._index(
            row, truth.boxes[row, column], truth.labels[row, column], crowd=truth.crowd[row, column]
        )

    def __call__(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.floating],
        labels: NDArray[np.int64],
    ) -> AveragePrecision:
        """Score the detections of all images.

        Args:
            boxes: (N, K, 4) xyxy pixels, N the split's images in its order.
            scores: (N, K) any real number that rises with confidence.
            labels: (N, K) class index, -1 where there is no detection.
        """
        if not (labels >= 0).any():
            return AveragePrecision(0.0, 0.0, 0.0)
        precision, _ = self._counted(boxes, scores, labels, ("all",))
        return AveragePrecision(
            *(_mean_where_defined(one[..., 0]) for one in (precision, precision[0], precision[5]))
        )

    def detail(
        self, boxes: NDArray[np.float32], scores: NDArray[np.floating], labels: NDArray[np.int64]
    ) -> PrecisionRecall:
        """Curves and AP by class and size; arguments as of a call."""
        precision, recall = self._counted(boxes, scores, labels, tuple(_AREAS))
        there = [index for index in range(self._num_classes) if (precision[0, :, index, 0] > -1).all()]
        sizes = [name for place, name in enumerate(_AREAS) if place and (precision[..., place] > -1).any()]
        return PrecisionRecall(
            {index: precision[0, :, index, 0].tolist() for index in there},
            {index: _mean_where_defined(precision[:, :, index, 0]) for index in there},
            {name: _mean_where_defined(precision[..., list(_AREAS).index(name)]) for name in sizes},
            _mean_where_defined(recall[..., 0]),
        )

    def _counted(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.floating],
        labels: NDArray[np.int64],
        areas: tuple[str, ...],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Precision (IoU thresholds, 101 recalls, classes, areas) and recall, the same without the second; -1 where
        there are no objects."""
        row, column = np.nonzero(labels >= 0)
        found = self._index(row, boxes[row, column], labels[row, column], scores=scores[row, column])
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, found, "bbox")
            evaluation.params.areaRng = [_AREAS[name] for name in areas]
            evaluation.params.areaRngLbl = list(areas)
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]

    def _index(
        self,
        row: NDArray[np.intp],
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        scores: NDArray[np.floating] | None = None,
        crowd: NDArray[np.bool_] | None = None,
    ) -> COCO:
        size = boxes[:, 2:] - boxes[:, :2]
        columns = zip(
            row.tolist(),
            labels.tolist(),
            np.concatenate((boxes[:, :2], size), axis=1).tolist(),
            size.prod(axis=1).tolist(),
            [0] * len(row) if crowd is None else crowd.astype(int).tolist(),
            [0.0] * len(row) if scores is None else scores.tolist(),
            strict=True,
        )
        coco = COCO()
        coco.dataset = {
            "images": self._images,
            "categories": self._categories,
            # pycocotools takes an id of 0 for "unmatched"
            "annotations": [
                {
                    "id": number,
                    "image_id": i,
                    "category_id": c,
                    "bbox": b,
                    "area": a,
                    "iscrowd": w,
                    "score": s,
                }
                for number, (i, c, b, a, w, s) in enumerate(columns, start=1)
            ],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco


def _mean_where_defined(precision: NDArray[np.float64]) -> float:
    """Mean over what pycocotools did not mark with -1 (a class without ground truth), else 0."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else 0.0
