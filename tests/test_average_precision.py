"""AP through pycocotools: exact cases, an independent computation, silence."""

from __future__ import annotations

import numpy as np
import pytest

from cse_autoloss.tasks.average_precision import AveragePrecision, AveragePrecisionMetric
from cse_autoloss.tasks.splits import Split, pad_objects


def _split(
    boxes: list[list[list[float]]], labels: list[list[int]], crowd: list[list[bool]] | None = None
) -> Split:
    padded = pad_objects(
        [np.array(own, dtype=np.float32).reshape(-1, 4) for own in boxes],
        [np.array(own, dtype=np.int64) for own in labels],
    )
    flags = np.zeros(padded[1].shape, dtype=bool)
    for row, own in enumerate(crowd or []):
        flags[row, : len(own)] = own
    return Split(np.zeros((len(boxes), 1, 8, 8), dtype=np.uint8), *padded, flags)


def _score(metric: AveragePrecisionMetric, boxes: list, scores: list, labels: list) -> AveragePrecision:
    return metric(np.array(boxes, dtype=np.float32), np.array(scores, dtype=float), np.array(labels))


A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0]
EMPTY = [0.0] * 4


def test_perfect_detections_score_one() -> None:
    truth = _split([[A, B], [B]], [[0, 1], [0]])
    metric = AveragePrecisionMetric(truth, 2)
    found = _score(metric, [[A, B], [B, EMPTY]], [[-0.1, -0.2], [-3.0, -np.inf]], [[0, 1], [0, -1]])
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_the_threshold_decides() -> None:
    """IoU 0.8 is right at seven of the ten thresholds, .50 to .80."""
    truth = _split([[A]], [[0]])
    found = _score(AveragePrecisionMetric(truth, 1), [[[0.0, 0.0, 10.0, 8.0]]], [[0.0]], [[0]])
    assert found == pytest.approx((0.7, 1.0, 1.0))


def test_a_better_scored_false_positive_halves_it() -> None:
    truth = _split([[A]], [[0]])
    found = _score(AveragePrecisionMetric(truth, 1), [[B, A]], [[0.9, 0.8]], [[0, 0]])
    assert found == pytest.approx((0.5, 0.5, 0.5))
    found = _score(AveragePrecisionMetric(truth, 1), [[B, A]], [[0.8, 0.9]], [[0, 0]])
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_classes_absent_from_the_truth_do_not_count() -> None:
    truth = _split([[A]], [[0]])
    found = _score(AveragePrecisionMetric(truth, 3), [[A, B]], [[0.9, 0.8]], [[0, 2]])
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_a_crowd_region_neither_counts_nor_penalises() -> None:
    truth = _split([[A, B]], [[0, 0]], [[False, True]])
    found = _score(AveragePrecisionMetric(truth, 1), [[B, A]], [[0.9, 0.8]], [[0, 0]])
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_no_detection_and_no_truth_score_zero() -> None:
    assert _score(AveragePrecisionMetric(_split([[A]], [[0]]), 1), [[A]], [[0.0]], [[-1]]) == (0, 0, 0)
    assert _score(AveragePrecisionMetric(_split([[]], [[]]), 1), [[A]], [[0.0]], [[0]]) == (0, 0, 0)


def test_the_same_metric_scores_many_times(capsys: pytest.CaptureFixture[str]) -> None:
    metric = AveragePrecisionMetric(_split([[A], [B]], [[0], [0]]), 1)
    first = _score(metric, [[A], [B]], [[0.9], [0.8]], [[0], [0]])
    _score(metric, [[B], [A]], [[0.9], [0.8]], [[0], [0]])
    assert _score(metric, [[A], [B]], [[0.9], [0.8]], [[0], [0]]) == first
    assert capsys.readouterr().out == ""


def _by_hand(
    truth: Split, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float, classes: int
) -> float:
    """AP at one IoU threshold, 101 recall points, written without pycocotools."""
    results = []
    for label in range(classes):
        total = int((truth.labels == label).sum())
        if total == 0:
            continue
        rows, columns = np.nonzero(labels == label)
        order = np.argsort(-scores[rows, columns], kind="mergesort")
        taken: set[tuple[int, int]] = set()
        hits = []
        for row, column in zip(rows[order], columns[order], strict=True):
            best, best_iou = None, threshold
            for other in np.flatnonzero(truth.labels[row] == label):
                a, b = boxes[row, column], truth.boxes[row, other]
                width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
                height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
                union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - width * height
                iou = width * height / union
                if (row, other) not in taken and iou >= best_iou:
                    best, best_iou = (int(row), int(other)), iou
            hits.append(best is not None)
            if best is not None:
                taken.add(best)
        true = np.cumsum(hits)
        recall = true / total
        precision = np.maximum.accumulate((true / np.arange(1, len(hits) + 1))[::-1])[::-1]
        points = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        results.append(sum(precision[p] for p in points if p < len(precision)) / 101)
    return float(np.mean(results))


def test_against_an_independent_computation() -> None:
    rng = np.random.default_rng(5)
    truth_boxes, truth_labels = [], []
    for _ in range(12):
        count = rng.integers(0, 4)
        start = rng.uniform(0, 40, (count, 2))
        truth_boxes.append(np.concatenate((start, start + rng.uniform(8, 20, (count, 2))), axis=1).tolist())
        truth_labels.append(rng.integers(0, 3, count).tolist())
    truth = _split(truth_boxes, truth_labels)
    boxes = np.zeros((12, 6, 4), dtype=np.float32)
    labels = rng.integers(-1, 3, (12, 6))
    for row in range(12):
        for column in range(6):
            own = truth_boxes[row] or [[0.0, 0.0, 9.0, 9.0]]
            shift = rng.normal(0, 2, 4) + np.array([0, 0, 1, 1])
            boxes[row, column] = np.array(own[column % len(own)]) + shift
            if rng.random() < 0.7 and truth_labels[row]:
                labels[row, column] = truth_labels[row][column % len(own)]
    scores = rng.permutation(72).reshape(12, 6).astype(np.float64)
    found = AveragePrecisionMetric(truth, 3)(boxes, scores, labels)
    assert 0.05 < found.ap50 < 0.95
    assert found.ap50 == pytest.approx(_by_hand(truth, boxes, scores, labels, 0.5, 3), abs=1e-6)
    assert found.ap75 == pytest.approx(_by_hand(truth, boxes, scores, labels, 0.75, 3), abs=1e-6)


def test_the_detail_tells_where_precision_is_lost() -> None:
    large = [0.0, 0.0, 100.0, 100.0]
    metric = AveragePrecisionMetric(_split([[A, large]], [[0, 1]]), 3)
    boxes = np.array([[B, A, large]], dtype=np.float32)
    detail = metric.detail(boxes, np.array([[0.9, 0.8, 0.7]]), np.array([[0, 0, 1]]))
    assert detail.classes == pytest.approx({0: 0.5, 1: 1.0})
    assert detail.sizes == pytest.approx({"small": 0.5, "large": 1.0})
    assert detail.recall == pytest.approx(1.0)
    assert detail.figures(["a", "b", "c"]) == pytest.approx(
        {"AR": 1.0, "AP, small": 0.5, "AP, large": 1.0, "AP of a": 0.5, "AP of b": 1.0}
    )
    assert detail.precision[0] == pytest.approx([0.5] * 101)
    nothing = metric.detail(np.zeros((1, 0, 4), np.float32), np.zeros((1, 0)), np.zeros((1, 0), np.int64))
    assert (nothing.classes, nothing.sizes, nothing.recall) == ({0: 0, 1: 0}, {"small": 0, "large": 0}, 0)
