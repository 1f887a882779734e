"""Train a detector proxy: the whole data set as one tensor, the losses in the two branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.one_stage import ClassificationLoss, RegressionLoss
from cse_autoloss.detectors.protocol import Detector
from cse_autoloss.training.loop import HalvedLoss, Schedule, TrainingRun, watched
from cse_autoloss.training.precision import in_precision


@dataclass(frozen=True)
class TrainingSet:
    """Images (N, channels, H, W), normalised float32, and what each of their grid cells should predict."""

    images: Tensor
    assigned: Assignment

    def __len__(self) -> int:
        return self.images.shape[0]


def detector_run(
    model: Detector,
    data: TrainingSet,
    cls_loss: ClassificationLoss,
    reg_loss: RegressionLoss,
    schedule: Schedule,
    *,
    seed: int,
    box_weight: float = 1.0,
    frequency: Tensor | None = None,
) -> TrainingRun:
    """A training of a detector at its beginning; arguments as of `train`, and the classes' frequencies, (C,)."""
    cls, reg = watched(cls_loss), watched(reg_loss)
    assert isinstance(model, nn.Module)

    def judge(prediction: Any, index: Tensor) -> Tensor:
        batch = Assignment(data.assigned.label[index], data.assigned.box[index])
        return model.loss(prediction, batch, cls, reg, box_weight)

    batch_loss = HalvedLoss(in_precision(model, schedule.precision), data.images.__getitem__, judge)
    losses = [cls_loss, reg_loss]
    return TrainingRun(
        model, len(data), batch_loss, schedule, seed=seed, losses=losses, frequency=frequency
    )


def train(
    model: Detector,
    data: TrainingSet,
    cls_loss: ClassificationLoss,
    reg_loss: RegressionLoss,
    schedule: Schedule,
    *,
    seed: int,
    box_weight: float = 1.0,
) -> None:
    """Train `model` in place; the same seed gives the same batches in the same order for every loss.

    Raises:
        Diverged: when the loss, the gradient or what the losses are given is not finite at some step.
    """
    run = detector_run(model, data, cls_loss, reg_loss, schedule, seed=seed, box_weight=box_weight)
    run.advance(run.steps)
