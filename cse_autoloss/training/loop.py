"""The training loop of all tasks: SGD, one-cycle schedule, every step seeded, and it can pause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cse_autoloss.errors import DataError
from cse_autoloss.settings.fields import Optimizer, Precision
from cse_autoloss.training.eager import EagerSGD
from cse_autoloss.training.muon import Muon, kernels_of
from cse_autoloss.training.precision import loss_scaler

BatchLoss = Callable[[Tensor, torch.Generator], Tensor]
"""The loss of the samples at an index (N,), a scalar; what it draws at random comes from the generator."""


@dataclass(frozen=True)
class HalvedLoss:
    """A `BatchLoss` in two halves, so that the first can be done for several models at once; it draws nothing.

    Attributes:
        model: whose predictions are judged, in the precision that they are made in.
        inputs: (index (N,)) -> what the model is given of these samples.
        judge: (prediction, index (N,)) -> the loss, a scalar; uses no weight of the model.
    """

    model: Callable[[Any], Any]
    inputs: Callable[[Tensor], Any]
    judge: Callable[[Any, Tensor], Tensor]

    def __call__(self, index: Tensor, source: torch.Generator) -> Tensor:
        return self.judge(self.model(self.inputs(index)), index)


class Diverged(Exception):
    """Training met a loss or a weight that is not finite. A finding about the loss, not a user's error."""


NO_PREDICTION, NO_WEIGHT = "a prediction that is not finite", "a weight that is not finite"
"""How a training that diverged is told, and then when."""


def no_number(loss: float, norm: float) -> str:
    """The same of a loss or a gradient that is not finite."""
    return f"loss {loss:g}, gradient norm {norm:g}"


class NotFinite(Exception):
    """A prediction that no loss can do anything with; `TrainingRun` tells it as divergence."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: passes over the data; a fraction trains on a part of the last pass.
        batch: samples a step.
        lr: peak learning rate of the one-cycle schedule (Smith & Topin, 2018).
        weight_decay: L2, on matrices and kernels alone.
        momentum: of SGD, Nesterov's.
        warmup: share of the steps that the rate rises for; it falls to 0 along a cosine after that.
        clip: largest gradient norm of a step.
        precision: of the forward pass, for whoever makes it; float16's loss is scaled, and steps on which the scaled
            gradient is not finite are left out while the scale can fall.
        optimizer: "sgd", or "muon" for kernels and SGD for the rest.
    """

    epochs: float
    batch: int = 16
    lr: float = 0.15
    weight_decay: float = 1e-2
    momentum: float = 0.9
    warmup: float = 0.3
    clip: float = 10.0
    precision: Precision = "float32"
    optimizer: Optimizer = "sgd"


def total_steps(samples: int, schedule: Schedule) -> int:
    """Optimiser steps of the schedule: at least 1."""
    return max(1, round(schedule.epochs * samples / schedule.batch))


def _optimiser(model: nn.Module, schedule: Schedule, flat: int) -> EagerSGD:
    orthogonal = kernels_of(model) if schedule.optimizer == "muon" else []
    kernels = [p for p in model.parameters() if p.ndim > flat and all(p is not one for one in orthogonal)]
    others = [p for p in model.parameters() if p.ndim <= flat]
    groups: list[dict[str, Any]] = [
        {"params": kernels, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if orthogonal:
        groups.append({"params": orthogonal, "weight_decay": 0.0, "orthogonal": True})
    return (Muon if orthogonal else EagerSGD)(
        groups,
        lr=schedule.lr,
        momentum=schedule.momentum,
        nesterov=schedule.momentum > 0,
        foreach=True,
    )


class TrainingRun:
    """A training that can pause: any number of `advance` calls end in the same weights as one to the end.

    The schedule's one cycle spans the whole training, whatever the pauses, and `state` holds all that decides how it
    goes on: weights, momentum, position in the cycle, and the order of the samples still to come.

    Attributes:
        model: trained in place.
        steps: of the whole schedule.
        step: that are done.
        samples, batch_loss, schedule, moving, order: what it was made of; `moving` are the losses that change while
            training goes on.
    """

    _flat: ClassVar[int] = 1
    """Dimensions of the weights that do not decay."""

    def __init__(
        self,
        model: nn.Module,
        samples: int,
        batch_loss: BatchLoss,
        schedule: Schedule,
        *,
        seed: int,
        losses: Sequence[Callable[..., Tensor]] = (),
        order: Callable[[torch.Generator], Tensor] | None = None,
        frequency: Tensor | None = None,
    ) -> None:
        """
        Args:
            model: is trained in place.
            samples: that there are to train on.
            batch_loss: of some of them, by `model`.
            schedule: length and speed.
            seed: of the order of the samples and of what `batch_loss` draws.
            losses: that `batch_loss` uses; those that change while training goes on are told how far it is.
            order: of the samples in one pass, (samples,); by chance where none is given.
            frequency: of the classes in the training data, (C,), which losses that read it are told.
        """
        for one in losses if frequency is not None else ():
            if hasattr(one, "set_frequency"):
                one.set_frequency(frequency)
        self.moving: list[Any] = [one for one in losses if hasattr(one, "set_progress")]
        self.model = model
        self.steps = total_steps(samples, schedule)
        self.step = 0
        self.samples, self.batch_loss, self.schedule = samples, batch_loss, schedule
        self.order = order or (lambda source: torch.randperm(samples, generator=source))
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)
        self._optimiser = _optimiser(model, schedule, self._flat)
        self._scaler = loss_scaler(next(model.parameters()).device, schedule.precision)
        self._scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            schedule.lr,
            total_steps=self.steps + 1,
            pct_start=schedule.warmup,
            cycle_momentum=False,
        )

    def advance(self, until: int) -> None:
        """Train up to step `until` of `steps`; the model is left in evaluation mode.

        Raises:
            Diverged: when the loss, the gradient, what the losses are given, or a weight at the end is not finite.
        """
        self.model.train()
        for step in range(self.step, min(until, self.steps)):
            for loss in self.moving:
                loss.set_progress(step / self.steps)
            self._learn(self._next_batch(), f"at step {step + 1} of {self.steps}")
            self._scheduler.step()
            self.step = step + 1
        self._look(f"after {self.step} steps")
        self.model.eval()

    def _learn(self, index: Tensor, where: str) -> None:
        """One step of gradient descent on the samples at `index`."""
        try:
            loss = self.batch_loss(index, self._generator)
        except NotFinite:
            raise Diverged(f"{NO_PREDICTION} {where}") from None
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip, foreach=True)
        overflown = self._scaler.is_enabled() and self._scaler.get_scale() > 1.0
        if not (torch.isfinite(loss) and (overflown or torch.isfinite(norm))):
            raise Diverged(f"{no_number(loss.item(), norm.item())} {where}")
        self._scaler.step(self._optimiser)
        self._scaler.update()

    def _look(self, when: str) -> None:
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self.model.state_dict().values()):
            raise Diverged(f"{NO_WEIGHT} {when}")

    def state(self) -> dict[str, Any]:
        """All that decides how the training goes on: tensors, numbers and texts in dicts and lists."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict(),
            "generator": self._generator.get_state(),
            "order": self._order.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken, in a run that was made with the same arguments.

        Raises:
            KeyError, RuntimeError, ValueError, TypeError: it is no state of such a run.
        """
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scheduler.load_state_dict(state["scheduler"])
        self._scaler.load_state_dict(state["scaler"])
        self._generator.set_state(state["generator"])
        self._order = state["order"]
        self.step = int(state["step"])

    def _next_batch(self) -> Tensor:
        count, size = self.samples, self.schedule.batch
        while self._order.numel() < min(size, count):
            self._order = torch.cat((self._order, self.order(self._generator)))
        index, self._order = self._order[:size], self._order[size:]
        return index


def watched(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss, telling a model that ran away (a prediction that is NaN) from a mistake in what it was given."""

    def call(*tensors: Tensor, **named: Tensor) -> Tensor:
        try:
            return loss(*tensors, **named)
        except DataError:
            if all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
                raise
            raise NotFinite from None

    call.reads_score = getattr(loss, "reads_score", False)  # type: ignore[attr-defined]
    return call
