"""Trains B small models side by side, each with its own pair of losses, on the same frozen features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.settings.filters import SimulateSettings
from cse_autoloss.simulation.losses import LossBatch
from cse_autoloss.simulation.small_model import Cells, detection_score, paired_iou
from cse_autoloss.simulation.small_trunk import PRIOR, boxes_of, one_cycle
from cse_autoloss.spaces import box_inputs, parse, signature_of
from cse_autoloss.spaces.standing import CHANCE, FREQUENCY, PROGRESS, SIZE, frequency_of, told_frequency
from cse_autoloss.spaces.wide import box_size

_MOMENTUM = 0.9
_STD = 0.05
"""Deviation of the output layer's first weights."""


@dataclass(frozen=True)
class Outcome:
    """What B models reached.

    Attributes:
        precision: (B,) average precision over cells in [0, 1], float64; see `detection_score`. A right class
            gains 1 where classification losses are on trial, its box's IoU where box losses are.
        overlap: (B,) mean IoU of the positive cells' boxes.
        stopped: (B,) the step, counted from 0, at which something was not finite; -1 where nothing was.
    """

    precision: Tensor
    overlap: Tensor
    stopped: Tensor


@dataclass(frozen=True)
class _Term:
    """One slot's part of the loss: (B,) values, and tensors with their gradients to start backward from."""

    value: Tensor
    tensors: Sequence[Tensor]
    gradients: Sequence[Tensor]


class _Slot:
    """A slot's losses: those of B candidates, or the default for all."""

    def __init__(
        self, name: str, graphs: Sequence[LossGraph] | None, moving: Sequence[str], device: torch.device
    ) -> None:
        self._name, self._moving = name, moving
        self._batch = LossBatch(graphs, moving, device) if graphs is not None else None
        self._default = compile_graph(parse(signature_of(name).default, name))

    def term(self, inputs: dict[str, Tensor], weight: Tensor) -> _Term:
        """Σ weight · loss of each candidate, for inputs (B or 1, S, K) and a weight (S, K) or (S, 1)."""
        if self._batch is None:
            value = (self._default(inputs) * weight).flatten(1).sum(1)
            return _Term(value.detach(), (value,), (torch.ones_like(value),))
        with torch.no_grad():
            losses = self._batch.value({name: tensor.detach() for name, tensor in inputs.items()})
            seed = weight.expand(losses.shape[1:]).clone()
            if self._name == "cls-multiclass":
                # The loss of a sample stands in each of the columns: count it once.
                losses = losses[..., :1]
                seed[:, 1:] = 0
            value = (losses * weight).flatten(1).sum(1)
            found = self._batch.gradients(seed)
        return _Term(value, [inputs[name] for name in self._moving], [found[name] for name in self._moving])


class StackedHeads:
    """B copies of a hidden layer and the outputs: class logits, sides of the box, and its expected IoU.

    Each copy starts from the same weights. A copy whose loss or gradient is not finite stays as it is from
    that step on; the others never notice.
    """

    def __init__(
        self,
        cells: Cells,
        signature: str,
        cls: Sequence[LossGraph] | None,
        reg: Sequence[LossGraph] | None,
        settings: SimulateSettings,
        scored: Literal["cls", "reg"],
        alpha: float | None = None,
    ) -> None:
        """
        Args:
            cells: features and targets.
            signature: "cls-binary" or "cls-multiclass".
            cls: B losses of that signature, or None for its default.
            reg: B box losses, or None for the default.
            settings: of the training.
            scored: the slot whose losses are on trial.
            alpha: weights a binary classification loss by α·y + (1 − α)(1 − y).
        """
        self._cells, self._settings, self._signature, self._scored = cells, settings, signature, scored
        device = cells.features.device
        self._count = len(cls or reg or (None,))
        classes = cells.num_classes
        self._columns = classes + (signature == "cls-multiclass")
        self._cls = _Slot(signature, cls, ("X",), device)
        self._reg = _Slot("reg", reg, ("I", "U", "E"), device)
        self._rows = torch.arange(len(cells.boxes), device=device)
        one_hot = F.one_hot(cells.labels, classes + 1).float()
        if signature == "cls-binary":
            target = one_hot[:, :classes]
            self._fixed = {"PY": target[None], "NY": 1 - target[None]}
            share = 1.0 if alpha is None else alpha * target + (1 - alpha) * (1 - target)
            self._weight = cells.weight[:, None] * share
        else:
            self._fixed = {"Y": one_hot[None]}
            self._weight = cells.weight[:, None]
        self._progress = torch.zeros(1, 1, 1, device=device)
        # Of the images' cells: of the background, which has a column of softmax heads, 1.
        often = frequency_of(cells.labels, classes)
        often = torch.cat((often, torch.ones(self._columns - classes, device=device)))
        self._fixed[FREQUENCY.name] = told_frequency(often)[None, None]
        self._sizes = {SIZE.name: box_size(cells.boxes)[None, :, None]}
        self._reads_chance = any(CHANCE.name in graph.variables for graph in reg or ())
        self._parameters = [p.to(device).expand(self._count, -1, -1).clone() for p in self._first_weights()]

    def _first_weights(self) -> tuple[Tensor, ...]:
        settings, outputs = self._settings, self._columns + 5
        features = self._cells.features.shape[1]
        generator = torch.Generator().manual_seed(settings.seed)
        hidden = torch.randn(features, settings.hidden, generator=generator) * math.sqrt(2 / features)
        out = torch.randn(settings.hidden, outputs, generator=generator) * _STD
        bias = torch.zeros(1, outputs)
        # Start from "nearly all is background", as detectors do, or the first steps are wasted on it.
        if self._signature == "cls-binary":
            bias[:, : self._columns] = -math.log(1 / PRIOR - 1)
        else:
            bias[:, self._columns - 1] = math.log(1 / PRIOR)
        return hidden, torch.zeros(1, settings.hidden), out, bias

    def _forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, S, columns) of all cells, boxes (B, P, 4) of the positive ones, expected IoU (B, S) of all."""
        hidden, hidden_bias, out, bias = self._parameters
        cells, columns = self._cells, self._columns
        features = cells.features.expand(self._count, -1, -1)
        found = torch.baddbmm(bias, torch.baddbmm(hidden_bias, features, hidden).relu(), out)
        count = len(cells.boxes)
        boxes = boxes_of(found[:, :count, columns : columns + 4], cells.points[:count])
        return found[..., :columns], boxes, found[..., columns + 4]

    def _gradients(self) -> tuple[Tensor, list[Tensor]]:
        """Losses (B,) and their gradients by each parameter."""
        cells, columns = self._cells, self._columns
        count, positives = len(cells.boxes), max(cells.positives, 1)
        for parameter in self._parameters:
            parameter.requires_grad_()
        logits, boxes, quality = self._forward()
        iou = paired_iou(boxes.detach(), cells.boxes)
        if self._signature == "cls-binary":
            right = torch.zeros(logits.shape, device=iou.device)
            right[:, self._rows, cells.labels[:count]] = iou
            inputs = {"X": logits, "Q": right, **self._fixed}
        else:
            right = torch.ones(*logits.shape[:2], 1, device=iou.device)
            right[:, :count, 0] = iou
            inputs = {"X": logits, "Z": right.expand(-1, -1, columns), **self._fixed}
        box_weight = cells.weight[:count, None] * (self._settings.box_weight / positives)
        inputs[PROGRESS.name] = self._progress
        areas = {name: area[..., None] for name, area in box_inputs(boxes, cells.boxes).items()}
        areas |= {PROGRESS.name: self._progress, **self._sizes}
        if self._reads_chance:
            areas[CHANCE.name] = self._chance(logits.detach()[:, :count])
        terms = (self._cls.term(inputs, self._weight / positives), self._reg.term(areas, box_weight))
        # A box that is not finite is its own loss's fault, found there.
        aim = iou.nan_to_num(0.0).clamp(0, 1)
        own = F.binary_cross_entropy_with_logits(quality[:, :count], aim, reduction="none")
        own = (own * cells.weight[:count]).sum(1) / positives
        tensors = [own, *(tensor for term in terms for tensor in term.tensors)]
        seeds = [torch.ones_like(own), *(gradient for term in terms for gradient in term.gradients)]
        gradients = torch.autograd.grad(tensors, self._parameters, seeds)
        for parameter in self._parameters:
            parameter.requires_grad_(False)
        return terms[0].value + terms[1].value, list(gradients)

    def _chance(self, logits: Tensor) -> Tensor:
        """(B, P, 1) what the models give for the right class of the positive cells, as of their heads."""
        found = logits.sigmoid() if self._signature == "cls-binary" else logits.softmax(-1)
        labels = self._cells.labels[: logits.shape[1], None]
        return found.gather(-1, labels.expand(len(logits), -1, -1))

    def train(self) -> Outcome:
        """Train all, and score those that lasted."""
        settings, parameters = self._settings, self._parameters
        peak = settings.lr if self._scored == "cls" else settings.lr_box
        speeds = [torch.zeros_like(p) for p in parameters]
        device = self._cells.features.device
        stopped = torch.full((self._count,), -1, device=device)
        zero = torch.zeros((), device=device)
        for step in range(settings.steps):
            rate = peak * one_cycle(step / settings.steps)
            self._progress.fill_(step / settings.steps)
            loss, gradients = self._gradients()
            norm = sum((g.square().sum((1, 2)) for g in gradients), zero).sqrt()
            stopped[(stopped < 0) & ~torch.isfinite(loss + norm)] = step
            going = (stopped < 0)[:, None, None]
            scale = (settings.clip / (norm + 1e-6)).clamp(max=1)[:, None, None]
            for parameter, speed, gradient in zip(parameters, speeds, gradients, strict=True):
                gradient = torch.where(going, gradient * scale, zero)
                speed.mul_(_MOMENTUM).add_(gradient)
                parameter.sub_(torch.where(going, (gradient + _MOMENTUM * speed) * rate, zero))
        with torch.no_grad():
            return self._outcome(stopped)

    def _outcome(self, stopped: Tensor) -> Outcome:
        logits, boxes, quality = self._forward()
        iou = paired_iou(boxes, self._cells.boxes)
        # float64: next to log q, the log p of a confident float32 logit would round to 0, and ranks to ties.
        if self._signature == "cls-binary":
            ranked = F.logsigmoid(logits.double())
        else:
            ranked = logits.double().log_softmax(-1)[..., :-1]
        finite = torch.isfinite(ranked).flatten(1).all(1) & torch.isfinite(iou).all(1)
        stopped = torch.where((stopped < 0) & ~finite, self._settings.steps - 1, stopped)
        ranked = (ranked + F.logsigmoid(quality.double())[..., None]).nan_to_num(-torch.inf)
        iou = torch.where((stopped < 0)[:, None], iou, 0.0)
        gain = torch.ones_like(iou) if self._scored == "cls" else iou
        share = self._cells.weight[: iou.shape[1]] / max(self._cells.positives, 1)
        return Outcome(detection_score(ranked, gain, self._cells), (iou * share).sum(1), stopped)
