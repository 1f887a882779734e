"""Margin softmax losses: cross-entropy over s·cos θ with the target's angle made harder.

Called `loss(cosine, target)`: cosine (N, C) between features and class weights, target (N,) int64. With f(θ)
in the place of the target's cos θ, one value for each sample:
L = −log(e^{s·f(θ_y)} / (e^{s·f(θ_y)} + Σ_{j≠y} e^{s·cos θ_j})).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cse_autoloss.errors import ConfigError
from cse_autoloss.losses.reduction import ReducedLoss, reduce
from cse_autoloss.spaces.checks import check_classification, columns_of
from cse_autoloss.spaces.cosines import MARGIN
from cse_autoloss.spaces.form import widened

LossOfLogits = Callable[..., Tensor]


class MarginSoftmax(ReducedLoss):
    """Margin softmax; subclasses state the margin `f`.

    Attributes:
        scale: s.
    """

    signature = MARGIN

    def __init__(self, reduction: str = "mean", scale: float = 30.0) -> None:
        """`scale` is s > 0."""
        super().__init__(reduction)
        if not 0 < scale < math.inf:
            raise ConfigError(f"scale must be a positive number, got {scale!r}")
        self.scale = scale

    def forward(self, cosine: Tensor, target: Tensor) -> Tensor:
        """The loss; DataError where shapes, types or class indices don't fit."""
        highest = columns_of(cosine) - 1
        check_classification(cosine, target, None, highest=highest, meaning="there is no background")
        return reduce(self.elements(cosine, target), self.reduction)

    def logits(self, cosine: Tensor, target: Tensor) -> Tensor:
        """s·cos θ with s·f(θ) at the target, (N, C) in at least float32: what a cross-entropy takes."""
        cosine = widened(cosine)  # autocast keeps float32, and acos near 1 needs it
        column = target.unsqueeze(-1)
        own = cosine.gather(-1, column)
        return self.scale * cosine.scatter(-1, column, self.margin(own))

    def on_logits(self, scale: float) -> LossOfLogits:
        """The loss as a head needs it whose logits are already s·cos θ: (logits (N, C), target (N,) int64) -> loss.

        Its own s becomes `scale`, that of the head; DataError as of `forward`.
        """
        self.scale = scale

        def loss(logits: Tensor, target: Tensor, *_: Tensor | None) -> Tensor:
            value: Tensor = self(logits / scale, target)
            return value

        return loss

    def elements(self, cosine: Tensor, target: Tensor) -> Tensor:
        """One value for each sample, (N,)."""
        return cross_entropy(self.logits(cosine, target), target, reduction="none")

    def margin(self, cosine: Tensor) -> Tensor:
        """f(θ) from cos θ, elementwise."""
        raise NotImplementedError


class LSoftmax(MarginSoftmax):
    """f(θ) = (−1)^k·cos(mθ) − 2k on θ ∈ [kπ/m, (k+1)π/m] (Liu et al., ICML 2016; on normalised features)."""

    def __init__(self, reduction: str = "mean", scale: float = 30.0, multiple: int = 2) -> None:
        """`multiple` is m, a whole number of at least 1."""
        super().__init__(reduction, scale)
        self.multiple = _whole(multiple)

    def margin(self, cosine: Tensor) -> Tensor:
        return _monotone_multiple(cosine, self.multiple)


class ASoftmax(MarginSoftmax):
    """L-softmax's ψ mixed with cos θ: f(θ) = (λ·cos θ + ψ(θ))/(1 + λ) (SphereFace, Liu et al., CVPR 2017)."""

    def __init__(
        self, reduction: str = "mean", scale: float = 30.0, multiple: int = 4, mixing: float = 5.0
    ) -> None:
        """`multiple` is m, a whole number of at least 1; `mixing` is λ ≥ 0, by default the paper's last."""
        super().__init__(reduction, scale)
        self.multiple = _whole(multiple)
        if not 0 <= mixing < math.inf:
            raise ConfigError(f"mixing must be a number of at least 0, got {mixing!r}")
        self.mixing = mixing

    def margin(self, cosine: Tensor) -> Tensor:
        return (self.mixing * cosine + _monotone_multiple(cosine, self.multiple)) / (1 + self.mixing)


class CombinedMargin(MarginSoftmax):
    """f(θ) = cos(m₁θ + m₂) − m₃ (Deng et al., CVPR 2019, the combined form), kept falling past m₁θ + m₂ = π.

    Beyond the fold f goes on as −2 − cos(m₁θ + m₂) and so on, the same continuation as L-softmax's, so that a
    smaller angle is always better; up to the fold it is the papers' formula.
    """

    def __init__(
        self,
        reduction: str = "mean",
        scale: float = 64.0,
        multiple: float = 1.0,
        angle: float = 0.3,
        additive: float = 0.2,
    ) -> None:
        """m₁ = `multiple` > 0, m₂ = `angle` ≥ 0 in radians, m₃ = `additive` ≥ 0."""
        super().__init__(reduction, scale)
        if not (multiple > 0 and angle >= 0 and additive >= 0):
            raise ConfigError(
                f"expected multiple > 0, angle ≥ 0, additive ≥ 0, got ({multiple}, {angle}, {additive})"
            )
        self.multiple, self.angle, self.additive = multiple, angle, additive

    def margin(self, cosine: Tensor) -> Tensor:
        if self.multiple == 1 and self.angle == 0:
            return cosine - self.additive
        return _falling_cosine(self.multiple * _angle(cosine) + self.angle) - self.additive


class CosFace(CombinedMargin):
    """f(θ) = cos θ − m (Wang et al., CVPR 2018; also AM-Softmax)."""

    def __init__(self, reduction: str = "mean", scale: float = 64.0, additive: float = 0.35) -> None:
        """`additive` is m ≥ 0."""
        super().__init__(reduction, scale, 1.0, 0.0, additive)


class ArcFace(CombinedMargin):
    """f(θ) = cos(θ + m) (Deng et al., CVPR 2019)."""

    def __init__(self, reduction: str = "mean", scale: float = 64.0, angle: float = 0.5) -> None:
        """`angle` is m ≥ 0, in radians."""
        super().__init__(reduction, scale, 1.0, angle, 0.0)


def _whole(multiple: int) -> int:
    if multiple != int(multiple) or multiple < 1:
        raise ConfigError(f"multiple must be a whole number of at least 1, got {multiple!r}")
    return int(multiple)


def _angle(cosine: Tensor) -> Tensor:
    # acos has no finite slope at ±1: stay a rounding step inside, where the gradient is large but finite.
    edge = 1 - 10 * torch.finfo(cosine.dtype).eps
    # An infinite cosine is no angle: 0·∞ keeps it NaN through the clamp.
    return torch.acos(cosine.clamp(-edge, edge) + 0 * cosine.detach())


def _falling_cosine(angle: Tensor) -> Tensor:
    """(−1)^k·cos(a) − 2k on a ∈ [kπ, (k+1)π]: cos a, continued so that it never rises."""
    fold = torch.floor(angle.detach() / math.pi)
    sign = 1 - 2 * torch.remainder(fold, 2)
    return sign * torch.cos(angle) - 2 * fold


def _monotone_multiple(cosine: Tensor, multiple: int) -> Tensor:
    if multiple == 1:
        return cosine
    return _falling_cosine(multiple * _angle(cosine))
