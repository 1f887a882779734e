"""Tests for detectors that come with the package: a new one gets its own in three lines of a pytest file.

class TestMine(DetectorConformance):
    detector = "my_file.py:MyDetector"
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.boxes import iou_parts, paired_iou
from cse_autoloss.detectors.one_stage import ClassificationLoss, RegressionLoss
from cse_autoloss.detectors.protocol import Detector, DetectorBuilder
from cse_autoloss.detectors.registry import DETECTOR_SIGNATURES, detector_builder
from cse_autoloss.detectors.training import TrainingSet, train
from cse_autoloss.training.loop import Diverged, Schedule

CLASSES = 3


class Recorder:
    """A pair of losses with a gradient that keeps what it is given."""

    def __init__(self, signature: str, cls_value: float = 0.0, reg_value: float = 0.0) -> None:
        self._signature = signature
        self._values = cls_value, reg_value
        self.cls_calls: list[tuple[Tensor, Tensor, Tensor]] = []
        self.reg_calls: list[tuple[Tensor, Tensor]] = []

    def cls(self, logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        """A constant whose gradient in the logits is 0."""
        self.cls_calls.append((logits, target, iou))
        return logits.sum() * 0.0 + self._values[0]

    def reg(self, pred: Tensor, target: Tensor) -> Tensor:
        """A constant whose gradient in the boxes is 0."""
        self.reg_calls.append((pred, target))
        return pred.sum() * 0.0 + self._values[1]


def classification_loss(signature: str) -> ClassificationLoss:
    """The plain loss of the signature: binary cross-entropy or cross-entropy, summed."""
    return _cross_entropy if signature == "cls-multiclass" else _binary_cross_entropy


def giou_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Σ (1 − GIoU) of boxes (P, 4) in pairs (Rezatofighi et al., CVPR 2019)."""
    intersection, union, enclosing = iou_parts(pred, target)
    return (1 - intersection / union + (enclosing - union) / enclosing).sum()


def _binary_cross_entropy(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    one_hot = F.one_hot(target, logits.shape[1] + 1)[:, :-1].to(logits)
    return F.binary_cross_entropy_with_logits(logits, one_hot, reduction="sum")


def _cross_entropy(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="sum")


def make_rectangles(count: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images that any detector can learn: one or two filled rectangles each, whose brightness tells their
    class.

    Args:
        count: N.
        size: (height, width) in pixels, each at least 32.
        seed: of everything.

    Returns:
        Images (N, 1, height, width) float32 about normalised; boxes (N, 2, 4) xyxy pixels; labels (N, 2)
        int64 in 0, 1, 2, or -1 where there is no second one.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    images = torch.randn(count, 1, height, width, generator=generator) * 0.1
    boxes = torch.zeros(count, 2, 4)
    labels = torch.full((count, 2), -1)
    for row in range(count):
        for column in range(1 + row % 2):
            # One in each half, so that they never touch.
            half = width // 2
            w, h = torch.randint(9, min(half, 20) + 1, (2,), generator=generator).tolist()
            x = column * half + int(torch.randint(0, half - w + 1, (), generator=generator))
            y = int(torch.randint(0, height - h + 1, (), generator=generator))
            label = int(torch.randint(0, CLASSES, (), generator=generator))
            images[row, 0, y : y + h, x : x + w] += (-2.0, 1.0, 3.0)[label]
            boxes[row, column] = torch.tensor([x, y, x + w, y + h])
            labels[row, column] = label
    return images, boxes, labels


class DetectorConformance:
    """What every detector must do; a subclass names one.

    Attributes:
        detector: a name that `detector_builder` takes, or the builder itself; wrap a function in
            `staticmethod`.
        epochs: passes over 256 small images in which it must learn them, with the package's schedule.
    """

    detector: ClassVar[str | DetectorBuilder | Callable[..., Detector]]
    epochs: ClassVar[float] = 6.0

    # -- what the tests stand on -----------------------------------------------------------------------------

    @property
    def builder(self) -> DetectorBuilder:
        """The builder under test."""
        found = self.detector
        return detector_builder(found) if isinstance(found, str) else found  # type: ignore[return-value]

    def made(self, seed: int = 0) -> Detector:
        """A detector for one channel and three classes."""
        torch.manual_seed(seed)
        return self.builder(1, CLASSES)

    def sized(self, model: Detector) -> tuple[int, int]:
        """An image size that the detector takes: not square, at least 32 x 48 pixels."""
        rows = math.ceil(32 / model.stride)
        return rows * model.stride, (max(math.ceil(48 / model.stride), rows + 1)) * model.stride

    def batch(self, model: Detector, count: int = 4, seed: int = 0) -> tuple[Tensor, Assignment]:
        """Images and their targets."""
        images, boxes, labels = make_rectangles(count, self.sized(model), seed)
        return images, model.targets(boxes, labels, self.sized(model))

    # -- construction and targets ----------------------------------------------------------------------------

    def test_it_says_what_it_is(self) -> None:
        model = self.made()
        assert isinstance(model, nn.Module)
        assert self.builder.signature == model.signature
        assert model.signature in DETECTOR_SIGNATURES
        assert model.num_classes == CLASSES
        assert isinstance(model.stride, int)
        assert model.stride >= 1

    def test_colour_and_a_single_class_are_taken(self) -> None:
        model = self.builder(3, 1).eval()
        height, width = self.sized(model)
        found = model.decode(model(torch.zeros(1, 3, height, width)), (height, width))
        assert found.labels.max() <= 0

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        assert _equal(self.made(), self.made())

    def test_targets_can_be_indexed_by_image(self) -> None:
        model = self.made()
        size = self.sized(model)
        _, boxes, labels = make_rectangles(5, size)
        whole = model.targets(boxes, labels, size)
        assert whole.label.dtype == torch.int64
        assert whole.label.shape == whole.box.shape[:2]
        assert whole.box.shape[2:] == (4,)
        for row in range(5):
            part = model.targets(boxes[row : row + 1], labels[row : row + 1], size)
            assert torch.equal(part.label[0], whole.label[row])
            assert torch.equal(part.box[0], whole.box[row])

    # -- the loss --------------------------------------------------------------------------------------------

    def test_each_loss_is_called_once_with_what_was_promised(self) -> None:
        model = self.made()
        images, targets = self.batch(model)
        seen = Recorder(model.signature)
        model.loss(model(images), targets, seen.cls, seen.reg)
        assert len(seen.cls_calls) == len(seen.reg_calls) == 1, "each loss must be called once a step"
        (logits, target, iou), (pred, box) = seen.cls_calls[0], seen.reg_calls[0]

        columns = CLASSES + (model.signature == "cls-multiclass")
        assert logits.shape == (target.shape[0], columns), "logits must be (M, columns of the signature)"
        assert logits.is_floating_point()
        assert logits.requires_grad, "the classification loss must reach the network"
        assert target.dtype == torch.int64
        assert 0 <= int(target.min()) <= int(target.max()) <= CLASSES, f"background is {CLASSES}, none is -1"

        positive = target < CLASSES
        assert iou.shape == target.shape
        assert not iou.requires_grad, "no gradient may flow through the IoU"
        assert int(positive.sum()) == pred.shape[0] == box.shape[0] > 0
        assert pred.shape == box.shape == (pred.shape[0], 4)
        assert pred.requires_grad, "the box loss must reach the network"
        assert not box.requires_grad
        expected = paired_iou(pred.detach(), box)
        assert torch.allclose(iou[positive], expected, atol=1e-5), "iou must be that of pred and box"
        assert (iou[~positive] == 0).all()

    def test_the_boxes_to_learn_are_the_objects(self) -> None:
        model = self.made()
        size = self.sized(model)
        images, boxes, labels = make_rectangles(4, size)
        seen = Recorder(model.signature)
        model.loss(model(images), model.targets(boxes, labels, size), seen.cls, seen.reg)
        known = {(*box.tolist(), int(label)) for box, label in zip(boxes[labels >= 0], labels[labels >= 0])}
        target = seen.cls_calls[0][1]
        learnt = zip(seen.reg_calls[0][1].tolist(), target[target < CLASSES].tolist(), strict=True)
        assert {(*box, label) for box, label in learnt} == known, "objects are missed, or of another class"

    def test_both_losses_are_divided_by_the_positives(self) -> None:
        model = self.made()
        images, targets = self.batch(model)

        def total(cls_value: float, reg_value: float, weight: float = 1.0) -> tuple[float, int]:
            seen = Recorder(model.signature, cls_value, reg_value)
            loss = model.loss(model(images), targets, seen.cls, seen.reg, weight)
            assert loss.shape == (), "the loss must be a scalar"
            return loss.item(), seen.reg_calls[0][0].shape[0]

        own, positives = total(0.0, 0.0)
        share = 100.0 / positives
        assert math.isclose(total(100.0, 0.0)[0] - own, share, rel_tol=1e-3)
        assert math.isclose(total(0.0, 100.0)[0] - own, share, rel_tol=1e-3)
        assert math.isclose(total(0.0, 100.0, 2.5)[0] - own, 2.5 * share, rel_tol=1e-3)

    def test_every_weight_learns(self) -> None:
        model = self.made()
        images, targets = self.batch(model)
        # Two steps: behind a layer that starts at 0, weights have no gradient in the first.
        optimiser = torch.optim.SGD(list(model.parameters()), lr=1e-3)
        for _ in range(2):
            optimiser.zero_grad()
            model.loss(model(images), targets, classification_loss(model.signature), giou_loss).backward()
            optimiser.step()
        assert isinstance(model, nn.Module)
        for name, weight in model.named_parameters():
            assert weight.grad is not None, f"{name} has no part in the loss"
            assert torch.isfinite(weight.grad).all(), f"the gradient of {name} is not finite"
            assert (weight.grad != 0).any(), f"the gradient of {name} is 0"

    def test_images_without_objects_and_single_images_are_fine(self) -> None:
        model = self.made()
        height, width = self.sized(model)
        for count, objects in ((1, 0), (3, 0), (2, 2)):
            boxes = torch.zeros(count, objects, 4)
            targets = model.targets(boxes, torch.full((count, objects), -1), (height, width))
            prediction = model(torch.randn(count, 1, height, width))
            loss = model.loss(prediction, targets, classification_loss(model.signature), giou_loss)
            loss.backward()
            assert torch.isfinite(loss), f"{count} images without objects"
        images, targets = self.batch(model, count=1)
        loss = model.loss(model(images), targets, classification_loss(model.signature), giou_loss)
        assert torch.isfinite(loss), "one image"

    # -- detection -------------------------------------------------------------------------------------------

    def test_detections_are_sorted_padded_and_on_the_image(self) -> None:
        model = self.made().eval()
        size = self.sized(model)
        images = torch.cat((torch.zeros(1, 1, *size), make_rectangles(4, size)[0] * 100))
        with torch.no_grad():
            found = model.decode(model(images), size)
        count = found.labels.shape[1]
        assert found.boxes.shape == (5, count, 4)
        assert found.log_scores.shape == found.labels.shape == (5, count)
        assert 1 <= count <= 100, "COCO scores 100 detections an image"
        assert found.labels.dtype == torch.int64
        there = found.labels >= 0
        assert (found.labels < CLASSES).all(), "the background is no detection"
        assert (there[:, :-1] >= there[:, 1:]).all(), "empty rows must come last"
        assert not found.log_scores.isnan().any()
        ordered = found.log_scores[:, :-1] >= found.log_scores[:, 1:]
        assert ordered[there[:, 1:]].all(), "detections must be sorted by falling score"
        boxes = found.boxes[there]
        assert torch.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 0::2] <= size[1]).all(), "boxes must be clipped to the image"
        assert (boxes[:, 1::2] <= size[0]).all(), "boxes must be clipped to the image"
        assert (boxes[:, :2] <= boxes[:, 2:]).all()

    def test_an_image_is_seen_alike_alone_and_among_others(self) -> None:
        model = self.made().eval()
        size = self.sized(model)
        images = make_rectangles(3, size)[0]
        with torch.no_grad():
            together = model.decode(model(images), size)
            for row in range(3):
                alone = model.decode(model(images[row : row + 1]), size)
                assert torch.allclose(
                    alone.log_scores[0], together.log_scores[row].to(alone.log_scores), atol=1e-3
                )

    # -- training --------------------------------------------------------------------------------------------

    def test_it_learns_and_keeps_what_it_learnt(self) -> None:
        model = self.made()
        size = self.sized(model)
        images, boxes, labels = make_rectangles(256, size)
        _train(model, images, model.targets(boxes, labels, size), Schedule(self.epochs))

        images, boxes, labels = make_rectangles(64, size, seed=1)
        images, boxes, labels = images[::2], boxes[::2, 0], labels[::2, 0]
        with torch.no_grad():
            found = model.eval().decode(model(images), size)
        right = (found.labels[:, 0] == labels) & (paired_iou(found.boxes[:, 0], boxes) > 0.5)
        assert right.float().mean() > 0.8, f"only {right.float().mean():.0%} of the rectangles are found"

        copy = self.made(seed=1)
        assert isinstance(model, nn.Module)
        assert isinstance(copy, nn.Module)
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        copy.load_state_dict(torch.load(file, weights_only=True))
        with torch.no_grad():
            again = copy.eval().decode(copy(images), size)
        assert torch.equal(again.log_scores, found.log_scores), "the state dict does not hold everything"

    def test_the_same_seed_gives_the_same_training(self) -> None:
        models = []
        for _ in range(2):
            model = self.made()
            images, targets = self.batch(model, count=24)
            _train(model, images, targets, Schedule(2.0, batch=8), seed=3)
            models.append(model)
        assert _equal(*models)

    def test_a_loss_that_is_not_finite_is_told_as_such(self) -> None:
        model = self.made()
        images, targets = self.batch(model, count=8)

        def bad(pred: Tensor, target: Tensor) -> Tensor:
            return (pred - target).sum() * math.inf

        try:
            _train(model, images, targets, Schedule(2.0, batch=8), bad)
        except Diverged:
            return
        raise AssertionError("a training with an infinite loss went on")


def _train(
    model: Detector,
    images: Tensor,
    targets: Assignment,
    schedule: Schedule,
    reg_loss: RegressionLoss = giou_loss,
    seed: int = 0,
) -> None:
    cls_loss = classification_loss(model.signature)
    train(model, TrainingSet(images, targets), cls_loss, reg_loss, schedule, seed=seed)


def _equal(a: Detector, b: Detector) -> bool:
    assert isinstance(a, nn.Module)
    assert isinstance(b, nn.Module)
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
