"""Model optimisation simulation: does a small model learn with this loss, on one image of each category?

Source: Liu et al., ICLR 2021 (CSE-Autoloss), section on the model optimisation simulation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cse_autoloss.convergence.small_model import (
    SimulationData,
    SmallModel,
    Targets,
    detection_score,
    make_targets,
    paired_iou,
)
from cse_autoloss.errors import ConfigError, FormulaError
from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.spaces import binary_inputs, box_inputs, multiclass_inputs, parse
from cse_autoloss.verdict import Verdict

DEFAULTS = {
    "cls-binary": "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))",
    "cls-multiclass": "Neg(Dot(Y,Log(Softmax(X))))",
    "reg": "Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))",
}
"""The loss that a branch is measured by, and that stands in for the branch that is not on trial: binary
cross-entropy, cross-entropy, GIoU."""

PRIOR = 0.02
"""Probability of each class that the small model starts from."""

ClsLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
RegLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SimulateSettings:
    """How the small model is trained, and what it must reach.

    Attributes:
        share: a candidate must reach this share of the default loss's score. At 0.3, of 90 classification
            and 45 box losses that passed verification, it rejects about 40 %, and of those whose proxy AP is
            above the median, less than 3 % (benchmarks/simulate_agreement.py).
        steps: of SGD, each on all images.
        lr: peak of the one-cycle schedule.
        clip: largest gradient norm of a step.
        width: channels of the first convolution.
        box_weight: of the box loss.
        seed: of the weights.
    """

    share: float = 0.3
    steps: int = 100
    lr: float = 0.05
    clip: float = 10.0
    width: int = 24
    box_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be trained with, naming the setting."""
        if self.steps < 1 or self.lr <= 0 or self.clip <= 0 or self.width % 4 or self.width <= 0:
            raise ConfigError(
                "simulate: expected steps >= 1, lr > 0, clip > 0 and width a multiple of 4, got "
                f"{self.steps}, {self.lr}, {self.clip} and {self.width}"
            )
        if not self.share >= 0:
            raise ConfigError(f"simulate.share: expected at least 0, got {self.share}")


class Simulator:
    """Trains small models on fixed images; the default loss's score is computed once for each kind of
    head."""

    def __init__(self, settings: SimulateSettings, data: SimulationData) -> None:
        self.settings = settings
        self._targets = make_targets(data)
        if self._targets.positive.numel() == 0:
            raise ConfigError("simulation: no object on its images covers the centre of an 8x8 cell")
        self._default_score: dict[tuple[str, str], float] = {}

    def run(
        self, graph_cls: LossGraph | None, graph_reg: LossGraph | None, *, alpha: float | None = None
    ) -> Verdict:
        """Try a candidate; a branch that is None uses its default loss (BCE, or CE, and GIoU).

        Args:
            graph_cls: of the binary or the multi-class branch.
            graph_reg: of the box branch.
            alpha: weights a binary classification loss by α·y + (1 − α)(1 − y).

        Returns:
            A verdict; its figure is the share of the default loss's score that was reached. Codes of
            rejections: "diverged" (not finite), "does-not-learn" (below the share).
        """
        started = time.perf_counter()
        branch = graph_cls.branch if graph_cls is not None else "cls-binary"
        if branch == "reg" or (graph_reg is not None and graph_reg.branch != "reg"):
            raise FormulaError("Simulator.run(graph_cls, graph_reg): the graphs stand in each other's place")
        default = self.default_score(branch, scored="reg" if graph_cls is None else "cls")
        score, step = self.score(graph_cls, graph_reg, alpha=alpha)
        seconds = time.perf_counter() - started
        if score is None:
            where = f"step {step + 1} of {self.settings.steps}"
            return Verdict(
                "simulate", False, f"training diverged: loss or gradient is not finite at {where}",
                None, seconds, where, "diverged",
            )  # fmt: skip
        share = score / default if default > 0 else 0.0
        against = f"{share:.0%} of the default loss's score ({score:.3f} of {default:.3f})"
        if share < self.settings.share:
            return Verdict(
                "simulate", False, f"small model does not learn: it reaches {against}", share, seconds,
                f"step {self.settings.steps}", "does-not-learn",
            )  # fmt: skip
        return Verdict("simulate", True, f"small model learns: it reaches {against}", share, seconds)

    def default_score(self, branch: str, *, scored: Literal["cls", "reg"] = "cls") -> float:
        """What the default losses reach with the heads of that classification branch, in [0, 1].

        Args:
            branch: "cls-binary" or "cls-multiclass".
            scored: for which branch's candidates; see `score`.
        """
        key = branch, scored
        if key not in self._default_score:
            graph_cls = parse(DEFAULTS[branch], branch) if scored == "cls" or branch != "cls-binary" else None
            value, _ = self.score(graph_cls, None)
            self._default_score[key] = value or 0.0
        return self._default_score[key]

    def score(
        self, graph_cls: LossGraph | None, graph_reg: LossGraph | None, *, alpha: float | None = None
    ) -> tuple[float | None, int]:
        """The score after training, and the steps made; None where something was not finite.

        A box loss is scored by detection (`detection_score` with the boxes' IoU). For a classification loss
        that
        is averaged with the average precision of the classes alone: its ranking is its own work, and the
            boxes that the two branches' common layers yield beside it come late in so short a training.
        """
        branch = graph_cls.branch if graph_cls is not None else "cls-binary"
        cls_loss = _cls_loss(graph_cls or parse(DEFAULTS[branch], branch), alpha)
        reg_loss = _reg_loss(graph_reg or parse(DEFAULTS["reg"], "reg"))
        settings, targets = self.settings, self._targets
        columns = targets.num_classes + (branch == "cls-multiclass")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = SmallModel(targets.images.shape[1], columns, settings.width)
        with torch.no_grad():
            # Start from "nearly all is background", as detectors do, or the first steps are wasted on it.
            if branch == "cls-binary":
                model.head.bias[:columns] = -math.log(1 / PRIOR - 1)
            else:
                model.head.bias[columns - 1] = math.log(1 / PRIOR)
        stopped_at = _train(model, targets, cls_loss, reg_loss, settings)
        if stopped_at is not None:
            return None, stopped_at
        with torch.no_grad():
            logits, boxes = model(targets.images, targets.points)
            iou = paired_iou(boxes[targets.positive], targets.boxes)
            ranked = logits if branch == "cls-binary" else logits.log_softmax(-1)[:, :-1]
            if not (torch.isfinite(ranked).all() and torch.isfinite(iou).all()):
                return None, settings.steps - 1
            score = detection_score(ranked, iou, targets)
            if graph_cls is not None:
                score = (score + detection_score(ranked, torch.ones_like(iou), targets)) / 2
            return score, settings.steps


def _cls_loss(graph: LossGraph, alpha: float | None) -> ClsLoss:
    evaluate = compile_graph(graph)
    if graph.branch == "cls-multiclass":
        return lambda logits, target, iou: evaluate(multiclass_inputs(logits, target, iou)).sum()

    def binary(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        inputs = binary_inputs(logits, target, iou)
        value = evaluate(inputs).expand_as(logits)
        if alpha is not None:
            value = value * (alpha * inputs["PY"] + (1 - alpha) * inputs["NY"])
        return value.sum()

    return binary


def _reg_loss(graph: LossGraph) -> RegLoss:
    evaluate = compile_graph(graph)
    return lambda boxes, truth: evaluate(box_inputs(boxes, truth)).expand(len(boxes)).sum()


def _train(
    model: SmallModel, targets: Targets, cls_loss: ClsLoss, reg_loss: RegLoss, settings: SimulateSettings
) -> int | None:
    """Train in place; the step at which something was not finite, else None."""
    parameters = list(model.parameters())
    optimiser = torch.optim.SGD(parameters, lr=settings.lr, momentum=0.9, nesterov=True, foreach=True)
    count = targets.positive.numel()
    iou = torch.zeros(targets.labels.shape)
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = settings.lr * _one_cycle(step / settings.steps)
        logits, boxes = model(targets.images, targets.points)
        own = boxes[targets.positive]
        iou[targets.positive] = paired_iou(own.detach(), targets.boxes)
        loss = (
            cls_loss(logits, targets.labels, iou) + settings.box_weight * reg_loss(own, targets.boxes)
        ) / count
        if not loss.requires_grad:
            return None
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip, foreach=True)
        if not math.isfinite(loss.item() + norm.item()):
            return step
        optimiser.step()
    return None


def _one_cycle(progress: float) -> float:
    """Share of the peak rate: up in a straight line over the first fifth, then down along a cosine."""
    if progress < 0.2:
        return 0.04 + 0.96 * progress / 0.2
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8))
