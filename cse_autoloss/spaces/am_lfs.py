"""AM-LFS's space: cross-entropy with piecewise-linear transforms of the target's cosine and probability.

Source: "AM-LFS: AutoML for Loss Function Search", Li et al., ICCV 2019, https://arxiv.org/abs/1905.07375.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.spaces.numbers import scale_of
from cse_autoloss.spaces.target_logit import log_softmax_of_target, target_logits

Form = Literal["bounded", "unbounded"]
FORMS: tuple[Form, ...] = ("bounded", "unbounded")

Curve = Callable[[Tensor], Tensor]


class AmLfs:
    """L = −log τ(p), p = e^{s·t(x_y/s)} / (e^{s·t(x_y/s)} + Σ_{j≠y} e^{x_j}), for logits x.

    t on [−1, 1] and τ on [0, 1] are linear on M equal intervals, each with a slope and a bias of its own:
    θ = [aᵗ, bᵗ, aᵗᵃᵘ, bᵗᵃᵘ], 4M numbers. A knot belongs to the interval on its right.

    With normalised features x = s·cos θ_j, so that x_y/s is the cosine. With plain logits s is a unit: the
    intervals of t divide [−s, s], and the outermost pieces go on beyond it.

    Rule that keeps the loss sound (`settle`): every slope is at least κ, and τ(p) ≥ κ·p at the left end of
    each interval, for which the bias is raised. It follows that τ(p) ≥ κ·p > 0 on all of (0, 1], that the
    loss is at most −log p + log(1/κ), and that it never rises with the target's logit inside an interval.

    Form "bounded" is the paper's eq. 16, −log τ(p), whose τ has a bounded domain. "Unbounded" is its eq. 15
    as we read it, −τ(log p): τ's pieces act on log p, with the same intervals of p, and its biases move the
    value only.

    Continuous, only slopes are searched and biases follow from them, so that neither curve jumps: θ = [aᵗ, t(0), aᵗᵃᵘ,
    τ(0)], 2M + 2 numbers; in the unbounded form the last is τ at p = 1.
    """

    name = "am-lfs"

    def __init__(
        self,
        intervals: int = 6,
        scale: float = 30.0,
        form: Form = "bounded",
        least_slope: float = 0.1,
        continuous: bool = False,
    ) -> None:
        """
        Args:
            intervals: M ≥ 1.
            scale: s > 0.
            form: "bounded" or "unbounded".
            least_slope: κ in (0, 1].
            continuous: biases follow from slopes, against the paper.
        """
        if isinstance(intervals, bool) or not isinstance(intervals, int) or not 1 <= intervals <= 10_000:
            raise ConfigError(f"intervals: expected a whole number of at least 1, got {intervals!r}")
        if form not in FORMS:
            raise UnknownNameError.of("form", str(form), FORMS)
        if not 0 < least_slope <= 1:
            raise ConfigError(f"least_slope: expected a number in (0, 1], got {least_slope!r}")
        if not isinstance(continuous, bool):
            raise ConfigError(f"continuous: expected true or false, got {continuous!r}")
        self.intervals, self.scale, self.form = intervals, scale_of("scale", scale), form
        self.least_slope, self.continuous = least_slope, continuous

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the 4M parameters, or of the 2M + 2 of continuous curves."""
        return tuple(
            group if size == 1 and self.continuous else f"{group}[{i}]"
            for group, size in zip(("a_t", "b_t", "a_tau", "b_tau"), self._sizes, strict=True)
            for i in range(size)
        )

    @property
    def _sizes(self) -> tuple[int, ...]:
        """How many numbers of θ each group has: slopes and biases of t, then of τ."""
        biases = 1 if self.continuous else self.intervals
        return (self.intervals, biases) * 2

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Slopes have κ below; nothing else is bounded."""
        slope, bias = (self.least_slope, math.inf), (-math.inf, math.inf)
        slopes, biases, *_ = self._sizes
        return ((slope,) * slopes + (bias,) * biases) * 2

    @property
    def start(self) -> tuple[float, ...]:
        """t and τ the identity: softmax cross-entropy."""
        slopes, biases, *_ = self._sizes
        return ((1.0,) * slopes + (0.0,) * biases) * 2

    def settle(self, theta: Tensor) -> Tensor:
        """θ (..., K) with the rule's slopes and biases."""
        slope_t, bias_t, slope_tau, bias_tau = self._groups(theta)
        slope_t, slope_tau = slope_t.clamp(min=self.least_slope), slope_tau.clamp(min=self.least_slope)
        if self.form == "bounded" and self.continuous:
            bias_tau = bias_tau.clamp(min=0.0)
        elif self.form == "bounded":
            left = torch.arange(self.intervals, dtype=theta.dtype, device=theta.device) / self.intervals
            bias_tau = torch.maximum(bias_tau, (self.least_slope - slope_tau) * left)
        return torch.cat((slope_t, bias_t, slope_tau, bias_tau), -1)

    def tables(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Slopes and biases of t, then of τ, each (M,), as the loss of θ (K,) uses them."""
        slope_t, bias_t, slope_tau, bias_tau = self._groups(self.settle(theta))
        if not self.continuous:
            return slope_t, bias_t, slope_tau, bias_tau
        knots = torch.arange(self.intervals, dtype=theta.dtype, device=theta.device) / self.intervals
        places = 2 * knots - 1
        to_zero = (-places).clamp(0, 2 / self.intervals)  # of each interval, the length left of 0
        bias_t = bias_t + _joined(slope_t, places) - (slope_t * to_zero).sum(-1, keepdim=True)
        if self.form == "bounded":
            return slope_t, bias_t, slope_tau, bias_tau + _joined(slope_tau, knots)
        jumps = slope_tau.diff() * knots[1:].log()
        above = jumps.flip(-1).cumsum(-1).flip(-1)
        return slope_t, bias_t, slope_tau, bias_tau + torch.cat((above, torch.zeros_like(knots[:1])), -1)

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """The loss of each sample, (N,); see `ParametricSpace.loss`."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        slope_t, bias_t, slope_tau, bias_tau = self.tables(theta.to(logits.dtype))
        ratio = target_logits(logits, target) / self.scale
        piece = self._piece((ratio + 1) / 2)
        slope = slope_t[piece]
        logs = log_softmax_of_target(
            logits, target, self.scale * (slope * ratio + bias_t[piece]), slope.detach()
        )
        piece = self._piece(logs.detach().exp())
        slope, bias = slope_tau[piece], bias_tau[piece]
        if self.form == "unbounded":
            return -(slope * logs + bias)
        return -_log_linear(logs, slope, bias, piece == 0)

    def t(self, cosine: Tensor, theta: Tensor) -> Tensor:
        """t of cosines, elementwise."""
        slope, bias, _, _ = self.tables(theta.to(cosine.dtype))
        piece = self._piece((cosine + 1) / 2)
        return slope[piece] * cosine + bias[piece]

    def tau(self, p: Tensor, theta: Tensor) -> Tensor:
        """τ of probabilities, elementwise; e^{τ(log p)} in the unbounded form, so that L is −log of it in
        both."""
        _, _, slope, bias = self.tables(theta.to(p.dtype))
        piece = self._piece(p)
        if self.form == "unbounded":
            return torch.exp(slope[piece] * p.log() + bias[piece])
        return slope[piece] * p + bias[piece]

    def approximate(self, t: Curve | None = None, tau: Curve | None = None) -> Tensor:
        """θ (K,) float64 of the chords of given curves between the knots; None is the identity.

        Args:
            t: of cosines in [−1, 1].
            tau: of probabilities in [0, 1]; for the bounded form.
        """
        knots = torch.linspace(0, 1, self.intervals + 1, dtype=torch.float64)
        parts = []
        for curve, x in ((t, knots * 2 - 1), (tau, knots)):
            y = x if curve is None else curve(x)
            slope = y.diff() / x.diff()
            bias = y[:-1] - slope * x[:-1]
            if self.continuous:  # at 0, where the pieces meet or one goes through
                piece = min(int((0 - x[0]) / (x[-1] - x[0]) * self.intervals), self.intervals - 1)
                bias = bias[piece : piece + 1]
            parts += [slope, bias]
        return torch.cat(parts)

    def to_dict(self) -> dict[str, Any]:
        """Name and settings."""
        told = {
            "name": self.name,
            "intervals": self.intervals,
            "scale": self.scale,
            "form": self.form,
            "least_slope": self.least_slope,
        }
        return {**told, "continuous": True} if self.continuous else told

    def _groups(self, theta: Tensor) -> tuple[Tensor, ...]:
        if theta.shape[-1] != sum(self._sizes):
            raise ConfigError(f"theta: expected {sum(self._sizes)} values, got {theta.shape[-1]}")
        return theta.split(self._sizes, -1)

    def _piece(self, share: Tensor) -> Tensor:
        """Index of the interval of a number that runs from 0 to 1 over all of them."""
        # NaN has no interval; the first one hands it on, where an index made of it would be out of range.
        inside = torch.nan_to_num(share * self.intervals, nan=0.0).clamp(0, self.intervals - 1)
        return inside.long()


def _joined(slopes: Tensor, left: Tensor) -> Tensor:
    """Biases of pieces of one length that meet at the knots, where the first begins at height 0; (M,)."""
    length = (1 - left[0]) / len(left)
    return (slopes.cumsum(-1) - slopes) * length - slopes * left


def _log_linear(logs: Tensor, slope: Tensor, bias: Tensor, first: Tensor) -> Tensor:
    """log(slope·e^logs + bias). In the first interval e^logs may underflow, but there bias ≥ 0: stay in
    logarithms."""
    has_bias = first & (bias > 0)
    log_bias = torch.where(has_bias, torch.where(has_bias, bias, 1.0).log(), -math.inf)
    near_zero = torch.logaddexp(slope.log() + logs, log_bias)
    direct = torch.where(first, 1.0, slope * logs.exp() + bias).log()
    return torch.where(first, near_zero, direct)
