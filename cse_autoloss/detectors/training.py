"""Train a detector proxy: SGD, one-cycle schedule, whole data set as one tensor, every step seeded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cse_autoloss.detectors.assign import Assignment
from cse_autoloss.detectors.one_stage import ClassificationLoss, RegressionLoss
from cse_autoloss.detectors.protocol import Detector


class Diverged(Exception):
    """Training met a loss or a weight that is not finite. A finding about the loss, not a user's error."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: passes over the data; a fraction trains on a part of the last pass.
        batch: images a step.
        lr: peak learning rate of the one-cycle schedule (Smith & Topin, 2018).
        weight_decay: L2, on convolution kernels alone.
        momentum: of SGD, Nesterov's.
        warmup: share of the steps that the rate rises for; it falls to 0 along a cosine after that.
        clip: largest gradient norm of a step.
    """

    epochs: float
    batch: int = 16
    lr: float = 0.15
    weight_decay: float = 1e-2
    momentum: float = 0.9
    warmup: float = 0.3
    clip: float = 10.0


@dataclass(frozen=True)
class TrainingSet:
    """Images (N, channels, H, W), normalised float32, and what each of their grid cells should predict."""

    images: Tensor
    assigned: Assignment

    def __len__(self) -> int:
        return self.images.shape[0]


def total_steps(images: int, schedule: Schedule) -> int:
    """Optimiser steps of the schedule: at least 1."""
    return max(1, round(schedule.epochs * images / schedule.batch))


def _optimiser(model: Detector, schedule: Schedule) -> torch.optim.SGD:
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": kernels, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=True,
        foreach=True,
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
        Diverged: when the loss or the gradient is not finite at some step.
    """
    steps = total_steps(len(data), schedule)
    generator = torch.Generator().manual_seed(seed)
    optimiser = _optimiser(model, schedule)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, total_steps=steps + 1, pct_start=schedule.warmup, cycle_momentum=False
    )
    parameters = list(model.parameters())
    order = torch.empty(0, dtype=torch.int64)
    model.train()
    for step in range(steps):
        while order.numel() < min(schedule.batch, len(data)):
            order = torch.cat((order, torch.randperm(len(data), generator=generator)))
        index, order = order[: schedule.batch], order[schedule.batch :]
        prediction = model(data.images[index])
        batch = Assignment(data.assigned.label[index], data.assigned.box[index])
        loss = model.loss(prediction, batch, cls_loss, reg_loss, box_weight)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip, foreach=True)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(
                f"loss {loss.item():g}, gradient norm {norm.item():g} at step {step + 1} of {steps}"
            )
        optimiser.step()
        scheduler.step()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
        raise Diverged(f"a weight that is not finite after {steps} steps")
    model.eval()
