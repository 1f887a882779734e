"""The frozen part of the small models: two convolutions, trained once with the default losses.

A candidate that learns from nothing spends its few steps on finding edges, and all candidates look alike.
Features that are there already let thirty steps of small heads show what a loss makes of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cse_autoloss.settings.filters import SimulateSettings
from cse_autoloss.simulation.small_model import STRIDE, Targets, paired_iou
from cse_autoloss.spaces import box_inputs
from cse_autoloss.training.eager import EagerSGD

_PATCH = 4
_MOMENTUM = 0.9
_LR = 0.05
PRIOR = 0.05
"""Probability of each class that models start from."""
MAX_LOG_SIDE = 5.0
"""Without a limit one bad step overflows."""


class Trunk(nn.Module):
    """Two convolutions on patches of 4x4 pixels, and linear outputs for their own training.

    Input (N, channels, H, W); features (M, 2·width) of all cells, M = N·L.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels * _PATCH**2, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(4, width)
        self.deep = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.deep_norm = nn.GroupNorm(4, 2 * width)
        self.head = nn.Linear(2 * width, classes + 5)
        nn.init.normal_(self.head.weight, std=0.05)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[:classes] = -math.log(1 / PRIOR - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Features of all cells."""
        features = F.silu(self.norm(self.stem(F.pixel_unshuffle(images, _PATCH))))
        features = F.silu(self.deep_norm(self.deep(features)))
        return features.flatten(2).transpose(1, 2).flatten(0, 1)


def frozen_features(targets: Targets, settings: SimulateSettings) -> Tensor:
    """Features (M, 2·width) of all cells, each with mean 0 and variance 1, of a trunk trained with BCE and GIoU."""
    classes = targets.num_classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        trunk = Trunk(targets.images.shape[1], classes, settings.width)
    points = targets.points.repeat(len(targets.images), 1)[targets.positive]
    one_hot = F.one_hot(targets.labels, classes + 1)[:, :classes].float()
    optimiser = EagerSGD(trunk.parameters(), lr=_LR, momentum=_MOMENTUM, nesterov=True, foreach=True)
    for step in range(settings.trunk_steps):
        optimiser.param_groups[0]["lr"] = _LR * one_cycle(step / settings.trunk_steps)
        out = trunk.head(trunk(targets.images))
        own = out[targets.positive]
        boxes = boxes_of(own[:, classes : classes + 4], points)
        inputs = box_inputs(boxes, targets.boxes)
        giou = 1 - inputs["I"] / inputs["U"] + (inputs["E"] - inputs["U"]) / inputs["E"]
        iou = paired_iou(boxes.detach(), targets.boxes)
        bce = F.binary_cross_entropy_with_logits
        loss = (
            bce(out[:, :classes], one_hot, reduction="sum")
            + settings.box_weight * giou.sum()
            + bce(own[:, classes + 4], iou, reduction="sum")
        ) / len(own)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trunk.parameters(), settings.clip)
        optimiser.step()
    with torch.no_grad():
        features: Tensor = trunk(targets.images)
        return (features - features.mean(0)) / (features.std(0) + 1e-3)


def boxes_of(log_sides: Tensor, points: Tensor) -> Tensor:
    """Boxes (…, 4) xyxy from the logarithms of the distances to their sides, in strides, and points (…, 2)."""
    sides = STRIDE * log_sides.clamp(max=MAX_LOG_SIDE).exp()
    return torch.cat((points - sides[..., :2], points + sides[..., 2:]), dim=-1)


def one_cycle(progress: float) -> float:
    """Share of the peak rate: up in a straight line over the first fifth, then down along a cosine."""
    if progress < 0.2:
        return 0.04 + 0.96 * progress / 0.2
    return 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8))
