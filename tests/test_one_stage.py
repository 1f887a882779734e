"""The one-stage proxy: shapes, the loss's parts, decoding."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.detectors.assign import Assignment, assign, grid_of, grid_points
from cse_autoloss.detectors.boxes import iou_parts, paired_iou
from cse_autoloss.detectors.layers import Tower, rows
from cse_autoloss.detectors.one_stage import (
    OneStageDetector,
    OneStagePyramid,
    OneStageSettings,
    Prediction,
    boxes_around,
    decode,
)
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.detectors.registry import detector_builder
from cse_autoloss.detectors.training import TrainingSet, train
from cse_autoloss.training.loop import Diverged, Schedule, total_steps

CLASSES = 3


def bce_sum(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
    one_hot = F.one_hot(target, logits.shape[1] + 1)[:, :-1].to(logits)
    return F.binary_cross_entropy_with_logits(logits, one_hot, reduction="sum")


def iou_sum(pred: Tensor, target: Tensor) -> Tensor:
    parts = iou_parts(pred, target)
    return (1 - parts.intersection / parts.union).sum()


def _assigned(boxes: list[list[float]], labels: list[int], cells: int = 4) -> Assignment:
    return assign(
        grid_points(cells, cells, 8),
        torch.tensor([boxes]),
        torch.tensor([labels]),
        num_classes=CLASSES,
        stride=8,
    )


class TestNetwork:
    def test_shapes(self) -> None:
        model = OneStageDetector(3, CLASSES).eval()
        prediction = model(torch.zeros(2, 3, 48, 64))
        assert prediction.logits.shape == (2, 48, CLASSES)
        assert prediction.boxes.shape == (2, 48, 4)
        assert prediction.quality.shape == (2, 48)

    def test_starts_with_rare_foreground_and_boxes_of_two_strides_around_the_cell(self) -> None:
        torch.manual_seed(0)
        model = OneStageDetector(1, CLASSES, OneStageSettings(prior=0.05)).eval()
        prediction = model(torch.randn(2, 1, 32, 32))
        assert prediction.logits.sigmoid().mean().item() == pytest.approx(0.05, rel=0.3)
        size = prediction.boxes[..., 2:] - prediction.boxes[..., :2]
        assert size.mean().item() == pytest.approx(16, rel=0.2)

    def test_extreme_features_give_finite_boxes(self) -> None:
        model = OneStageDetector(1, CLASSES).eval()
        with torch.no_grad():
            model.to_box.weight.fill_(1e6)
        assert torch.isfinite(model(torch.randn(1, 1, 32, 32)).boxes).all()


class TestLoss:
    def _prediction(self) -> Prediction:
        torch.manual_seed(1)
        points = grid_points(4, 4, 8)
        boxes = torch.cat((points - 6, points + 6), dim=-1)[None].requires_grad_()
        return Prediction(torch.randn(1, 16, CLASSES, requires_grad=True), boxes, torch.randn(1, 16))

    def test_is_the_weighted_sum_over_the_number_of_positives(self) -> None:
        model, prediction = OneStageDetector(1, CLASSES), self._prediction()
        assigned = _assigned([[2.0, 2.0, 18.0, 16.0]], [1])
        positive = assigned.label[0] < CLASSES
        assert positive.sum() == 4
        pred, target = prediction.boxes[0, positive], assigned.box[0, positive]
        iou = paired_iou(pred, target)
        quality = F.binary_cross_entropy_with_logits(
            prediction.quality[0, positive], iou.detach(), reduction="sum"
        )
        expected = (
            bce_sum(prediction.logits[0], assigned.label[0], iou) + 3 * iou_sum(pred, target) + quality
        ) / 4
        found = model.loss(prediction, assigned, bce_sum, iou_sum, box_weight=3.0)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)

    def test_what_the_losses_are_given(self) -> None:
        model, prediction = OneStageDetector(1, CLASSES), self._prediction()
        assigned = _assigned([[2.0, 2.0, 18.0, 16.0]], [2])
        seen: dict[str, Tensor] = {}

        def spy_cls(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
            seen.update(logits=logits, target=target, iou=iou)
            return logits.sum() * 0

        def spy_reg(pred: Tensor, target: Tensor) -> Tensor:
            seen.update(pred=pred, box=target)
            return pred.sum() * 0

        model.loss(prediction, assigned, spy_cls, spy_reg)
        assert seen["logits"].shape == (16, CLASSES)
        assert seen["target"].dtype == torch.int64
        assert set(seen["target"].tolist()) == {2, CLASSES}
        assert not seen["iou"].requires_grad
        positive = seen["target"] < CLASSES
        assert torch.equal(seen["iou"][positive], paired_iou(seen["pred"], seen["box"]).detach())
        assert not seen["iou"][~positive].any()
        assert seen["pred"].shape == seen["box"].shape == (4, 4)

    def test_a_batch_without_objects_still_has_a_gradient(self) -> None:
        model, prediction = OneStageDetector(1, CLASSES), self._prediction()
        assigned = Assignment(torch.full((1, 16), CLASSES), torch.zeros(1, 16, 4))
        loss = model.loss(prediction, assigned, bce_sum, iou_sum)
        loss.backward()
        assert torch.isfinite(loss)
        assert prediction.logits.grad is not None


class TestDecode:
    def _prediction(self, logits: list[list[float]], boxes: list[list[float]]) -> Prediction:
        return Prediction(torch.tensor([logits]), torch.tensor([boxes]), torch.zeros(1, len(boxes)))

    def test_best_first_suppressed_clipped(self) -> None:
        box = [-3.0, 2.0, 20.0, 40.0]
        found = decode(
            self._prediction([[1.0, -9.0], [3.0, -9.0], [2.0, 2.5]], [box, box, [20.0, 20.0, 30.0, 30.0]]),
            (32, 32),
            limit=3,
        )
        assert found.labels.tolist() == [[0, 1, 0]]
        assert found.boxes[0, 0].tolist() == [0.0, 2.0, 20.0, 32.0]
        expected = math.log(torch.tensor(3.0).sigmoid().item() * 0.5)
        assert found.log_scores[0, 0].item() == pytest.approx(expected, rel=1e-5)
        assert (found.log_scores[0].diff() <= 0).all()

    def test_rows_past_the_last_detection_are_marked(self) -> None:
        box = [0.0, 0.0, 8.0, 8.0]
        found = decode(self._prediction([[1.0], [0.0], [-1.0]], [box] * 3), (32, 32))
        assert found.labels.tolist() == [[0, -1, -1]]

    def test_saturated_logits_keep_their_order(self) -> None:
        boxes = [[0.0, 0.0, 8.0, 8.0], [10.0, 10.0, 18.0, 18.0]]
        for low, high in ((25.0, 26.0), (-300.0, -299.0)):
            found = decode(self._prediction([[low], [high]], boxes), (32, 32))
            assert found.boxes[0, 0].tolist() == boxes[1]


class TestTraining:
    def _data(self) -> TrainingSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(8, 1, 32, 32, generator=generator)
        one = _assigned([[2.0, 2.0, 18.0, 16.0]], [1])
        return TrainingSet(images, Assignment(one.label.repeat(8, 1), one.box.repeat(8, 1, 1)))

    def _model(self) -> Detector:
        torch.manual_seed(0)
        return detector_builder("one-stage")(1, CLASSES)

    def test_learns(self) -> None:
        model, data = self._model(), self._data()
        before = model.loss(model(data.images), data.assigned, bce_sum, iou_sum).item()
        train(model, data, bce_sum, iou_sum, Schedule(epochs=20, batch=4, lr=0.05), seed=0)
        after = model.loss(model(data.images), data.assigned, bce_sum, iou_sum).item()
        assert after < before / 2
        assert not cast(nn.Module, model).training

    def test_the_seed_decides(self) -> None:
        states = []
        for seed in (0, 0, 1):
            model = self._model()
            train(model, self._data(), bce_sum, iou_sum, Schedule(epochs=2, batch=4), seed=seed)
            states.append(torch.cat([p.flatten() for p in model.parameters()]))
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])

    def test_a_batch_larger_than_the_data(self) -> None:
        train(self._model(), self._data(), bce_sum, iou_sum, Schedule(epochs=4, batch=16), seed=0)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_loss_that_is_not_finite_ends_it(self, bad: float) -> None:
        def broken(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
            return bce_sum(logits, target, iou) * bad

        with pytest.raises(Diverged, match="at step 1 of 4"):
            train(self._model(), self._data(), broken, iou_sum, Schedule(epochs=2, batch=4), seed=0)

    def test_a_gradient_that_is_not_finite_ends_it(self) -> None:
        def broken(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
            return (logits * 0).clamp(min=0).sqrt().sum()

        with pytest.raises(Diverged, match="gradient norm nan"):
            train(self._model(), self._data(), broken, iou_sum, Schedule(epochs=1, batch=4), seed=0)

    @pytest.mark.parametrize(("epochs", "steps"), [(6, 300), (0.5, 25), (0.001, 1)])
    def test_total_steps(self, epochs: float, steps: int) -> None:
        assert total_steps(800, Schedule(epochs=epochs, batch=16)) == steps


class TestPyramid:
    def test_cells_of_three_maps_follow_one_another(self) -> None:
        model = OneStagePyramid(3, CLASSES).eval()
        assert model.stride == 32
        prediction = model(torch.zeros(2, 3, 64, 96))
        cells = 8 * 12 + 4 * 6 + 2 * 3
        assert prediction.logits.shape == (2, cells, CLASSES)
        assert prediction.boxes.shape == (2, cells, 4)
        assert prediction.quality.shape == (2, cells)
        targets = model.targets(torch.tensor([[[2.0, 2.0, 50.0, 52.0]]]), torch.tensor([[1]]), (64, 96))
        positive = (targets.label[0] == 1).nonzero().squeeze(1)
        assert positive.min() >= 96, "an object of 49 pixels is the second map's"
        assert positive.max() < 96 + 24

    def test_boxes_are_around_their_points_in_their_strides(self) -> None:
        grid = grid_of((64, 64), (16, 32), torch.zeros(()))
        boxes = boxes_around(grid, torch.zeros(1, 20, 4))
        assert boxes[0, 0].tolist() == [-8.0, -8.0, 24.0, 24.0]
        assert boxes[0, 16].tolist() == [-16.0, -16.0, 48.0, 48.0]

    @pytest.mark.parametrize(("side", "most"), [(64, 24), (128, 64), (256, 100)])
    def test_larger_images_give_more_detections(self, side: int, most: int) -> None:
        model = OneStageDetector(1, CLASSES).eval()
        found = model.decode(model(torch.zeros(1, 1, side, side)), (side, side))
        assert found.labels.shape == (1, most)
        assert model.decode(model(torch.zeros(1, 1, side, side)), (side, side), limit=5).labels.shape == (
            1,
            5,
        )

    def test_maps_are_normalised_together(self) -> None:
        torch.manual_seed(0)
        tower = Tower(2, 3)
        maps = [torch.randn(2, 2, 4, 4), torch.randn(2, 2, 2, 2) * 9]
        cells = tower(maps)
        assert cells.shape == (2, 3, 20, 1)
        raw = torch.cat([tower.convolution(level).flatten(2) for level in maps], dim=2)
        expected = (raw - raw.mean(dim=(0, 2), keepdim=True)) / raw.var(
            dim=(0, 2), keepdim=True, unbiased=False
        ).add(1e-5).sqrt()
        assert torch.allclose(cells[..., 0], F.silu(expected), atol=1e-5)
        alone = tower(maps[:1])
        assert rows(alone).shape == (2, 16, 3)
