"""Search-Softmax and Random-Softmax: every margin softmax loss as one number a ≤ 0.

Source: "Loss Function Search for Face Recognition", Wang et al., ICML 2020, https://arxiv.org/abs/2007.06542.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from cse_autoloss.errors import ConfigError
from cse_autoloss.spaces.numbers import scale_of
from cse_autoloss.spaces.target_logit import log_softmax_of_target, target_logits

Parameter = Literal["u", "a"]

_SHARPNESS = 4.0


class SearchSoftmax:
    """L = −log(h(a, p)·p), h(a, p) = 1/(a·p + 1 − a), p the target's softmax probability.

    In logit space, where it is stable: the target's logit is lowered by δ = log(1 − a) ≥ 0, so that a
    constant a is CosFace with m = δ/s. Searched is not a but u, any real number, with the margin δ =
    s·log(1 + e^{4u})/4: it is nearly s·u for u > 0.5 and nearly 0 for u < −0.5, rises everywhere, and so
    has a gradient everywhere. A ReLU that keeps a ≤ 0 has none where it is shut, nor has a folded Gaussian
    at its fold.

    With the parameter "a", as the paper has it, θ is a itself: what is drawn above 0 counts as 0, and a search starts
    at a = −1, δ = ln 2, as the public release does.
    """

    name = "search-softmax"
    parameters: tuple[str, ...] = ("u",)
    bounds: tuple[tuple[float, float], ...] = ((-1.0, 1.0),)
    start: tuple[float, ...] = (-0.5,)

    def __init__(self, scale: float = 30.0, parameter: Parameter = "u") -> None:
        """
        Args:
            scale: s > 0, of normalised features; with plain logits the unit of u.
            parameter: "u" or "a".
        """
        if parameter not in ("u", "a"):
            raise ConfigError(f"parameter: expected 'u' or 'a', got {parameter!r}")
        self.scale = scale_of("scale", scale)
        if parameter == "a":
            self.parameters, self.bounds, self.start = ("a",), ((-math.inf, 0.0),), (-1.0,)

    def margin(self, theta: Tensor) -> Tensor:
        """δ of θ (..., 1), (...): by how much the target's logit is lowered."""
        if self.parameters == ("a",):
            return torch.log1p(-self.settle(theta)[..., 0])
        return self.scale * softplus(theta[..., 0], beta=_SHARPNESS)

    def a(self, theta: Tensor) -> Tensor:
        """The papers' a = 1 − e^δ of θ (..., 1), (...); −inf where it is beyond the type's numbers."""
        return -torch.expm1(self.margin(theta))

    def theta_of(self, a: float) -> Tensor:
        """θ (1,) float64 of a given a < 0."""
        if not -math.inf < a < 0:
            raise ConfigError(f"a: expected a number below 0, got {a!r}")
        if self.parameters == ("a",):
            return torch.tensor([a], dtype=torch.float64)
        scaled = _SHARPNESS * math.log1p(-a) / self.scale
        return torch.tensor([scaled + math.log(-math.expm1(-scaled))], dtype=torch.float64) / _SHARPNESS

    def settle(self, theta: Tensor) -> Tensor:
        """θ itself, for any u is sound; of a, what is above 0 becomes 0."""
        return theta.clamp(max=0.0) if self.parameters == ("a",) else theta

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """The loss of each sample, (N,); see `ParametricSpace.loss`."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        own = target_logits(logits, target)
        lowered = own - self.margin(theta.to(logits.dtype))
        return -log_softmax_of_target(logits, target, lowered, torch.ones_like(own))

    def to_dict(self) -> dict[str, Any]:
        """Name and settings."""
        told = {"name": self.name, "scale": self.scale}
        return {**told, "parameter": "a"} if self.parameters == ("a",) else told


class RandomSoftmax(SearchSoftmax):
    """The same losses for a search that learns nothing: each epoch a new a, u drawn evenly from the bounds.

    They are cosine margins δ/s from 0.005 to 0.45, the range that CosFace is used in.
    """

    name = "random-softmax"
    bounds = ((-1.0, 0.4),)
    start = (-0.3,)

    def __init__(self, scale: float = 30.0) -> None:
        """`scale` as of `SearchSoftmax`."""
        super().__init__(scale)
