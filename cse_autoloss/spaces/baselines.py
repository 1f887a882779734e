"""Losses that people use, each with the grid of settings that it is tuned over, on the same footing as a
space.

A baseline is a parametric space whose θ is the setting: all points of its grid train side by side in one stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from cse_autoloss.spaces.target_logit import log_softmax_of_target, target_logits

LossOf = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Baseline:
    """A loss with at most one setting, as a `ParametricSpace` of one parameter; for training, not for searching.

    Attributes:
        name: of the loss.
        setting: name of the setting, "" where there is none.
        grid: its values that are tried.
        cosine: whether it needs cosines, so that it is always trained with normalised features.
        value: (logits, target, setting, scale) to (N,).
        scale: of the logits.
    """

    name: str
    setting: str
    grid: tuple[float, ...]
    cosine: bool
    value: LossOf
    scale: float = 10.0
    bounds: ClassVar = ((-math.inf, math.inf),)

    def space(self, scale: float) -> Baseline:
        """The baseline for logits of a scale."""
        return replace(self, scale=scale)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Of the one that each has, so that all are trained alike."""
        return (self.setting or "none",)

    @property
    def start(self) -> tuple[float, ...]:
        """The grid's first value."""
        return self.grid[:1]

    def settle(self, theta: Tensor) -> Tensor:
        """θ itself."""
        return theta

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """The loss of each sample, (N,)."""
        return self.value(logits, target, theta[0], self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Name and scale."""
        return {"name": self.name, "scale": self.scale}


def _plain(logits: Tensor, target: Tensor) -> Tensor:
    own = target_logits(logits, target)
    return log_softmax_of_target(logits, target, own, torch.ones_like(own))


def _softmax(logits: Tensor, target: Tensor, setting: Tensor, scale: float) -> Tensor:
    return -_plain(logits, target)


def _focal(logits: Tensor, target: Tensor, gamma: Tensor, scale: float) -> Tensor:
    """−(1 − p)^γ·log p (Lin et al., ICCV 2017)."""
    logs = _plain(logits, target)
    return -((-torch.expm1(logs)).clamp(min=1e-7) ** gamma) * logs


def _smoothed(logits: Tensor, target: Tensor, epsilon: Tensor, scale: float) -> Tensor:
    """(1 − ε)·CE + ε·mean over classes of −log p_j (Szegedy et al., CVPR 2016)."""
    logs = torch.log_softmax(logits, -1)
    own = logs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return -(1 - epsilon) * own - epsilon * logs.mean(-1)


def _margin(
    logits: Tensor, target: Tensor, scale: float, curve: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    value, slope = curve(target_logits(logits, target) / scale)
    return -log_softmax_of_target(logits, target, scale * value, slope.detach())


def _cosface(logits: Tensor, target: Tensor, margin: Tensor, scale: float) -> Tensor:
    """cos θ − m (Wang et al., CVPR 2018)."""
    return _margin(logits, target, scale, lambda cosine: (cosine - margin, torch.ones_like(cosine)))


def _arcface(logits: Tensor, target: Tensor, margin: Tensor, scale: float) -> Tensor:
    """cos(θ + m), falling past π (Deng et al., CVPR 2019)."""
    return _margin(logits, target, scale, lambda cosine: _falling(cosine, 1, margin))


def _asoftmax(logits: Tensor, target: Tensor, mixing: Tensor, scale: float) -> Tensor:
    """(λ·cos θ + ψ(θ))/(1 + λ) with m = 4 (Liu et al., CVPR 2017)."""

    def curve(cosine: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = _falling(cosine, 4, torch.zeros_like(mixing))
        return (mixing * cosine + value) / (1 + mixing), (mixing + slope) / (1 + mixing)

    return _margin(logits, target, scale, curve)


def _falling(cosine: Tensor, multiple: int, margin: Tensor) -> tuple[Tensor, Tensor]:
    """(−1)^k·cos(φ) − 2k for φ = multiple·θ + margin in [kπ, (k+1)π], and its slope by cos θ."""
    inside = cosine.clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.acos(inside)
    turned = multiple * angle + margin
    fold = torch.floor(turned / math.pi)
    sign = 1 - 2 * torch.remainder(fold, 2)
    return sign * torch.cos(turned) - 2 * fold, sign * multiple * torch.sin(turned) / torch.sin(angle)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        one.name: one
        for one in (
            Baseline("softmax", "", (0.0,), False, _softmax),
            Baseline("label-smoothing", "epsilon", (0.05, 0.1, 0.2, 0.4), False, _smoothed),
            Baseline("focal", "gamma", (0.5, 1.0, 2.0, 3.0), False, _focal),
            Baseline("a-softmax", "mixing", (1.0, 5.0, 20.0, 80.0), True, _asoftmax),
            Baseline("cosface", "margin", (0.05, 0.1, 0.2, 0.35), True, _cosface),
            Baseline("arcface", "margin", (0.05, 0.1, 0.2, 0.5), True, _arcface),
        )
    }
)
"""By name. The margin losses train with normalised features, as they are defined; the others as
configured."""
