"""What a parametric loss space is: losses for logits that a few numbers decide."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from cse_autoloss.graph import Signature
from cse_autoloss.spaces.heads import CLS_MULTICLASS


@runtime_checkable
class ParametricSpace(Protocol):
    """A family of classification losses with K real parameters θ.

    A space of your own is one class with these members; subclass
    `cse_autoloss.testing.spaces.SpaceConformance` to test it. Its losses are of softmax heads; a space of another
    signature says so in an attribute `signature`, see `signature_of_space`.
    """

    @property
    def name(self) -> str:
        """Kebab-case, for messages and files."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the K parameters, in the order of θ."""
        ...

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Least and greatest useful value of each; infinite where there is none. μ is kept inside."""
        ...

    @property
    def start(self) -> tuple[float, ...]:
        """θ from which a search starts."""
        ...

    def settle(self, theta: Tensor) -> Tensor:
        """θ (..., K) as the loss uses it, once the space's rules hold; settling again changes nothing."""
        ...

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        """One value for each sample.

        Args:
            logits: (N, C); s·cos θ_j where features are normalised.
            target: (N,) int64 in [0, C).
            theta: (K,), settled or not.

        Returns:
            (N,), finite for finite logits. Must work under `torch.func.vmap` over logits and theta, and never
            rise with the target's logit nor fall with another's, between the jumps that a space may have.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Name and settings, as JSON values: with θ, all that is needed to build the loss again."""
        ...


def signature_of_space(space: ParametricSpace) -> Signature:
    """Of a space's losses: its attribute `signature`, cls-multiclass where it has none.

    A space of sigmoid heads (cls-binary) gets w as fourth argument of `loss`, iou (N,) or None, and sees a whole batch
    as one: samples need not be independent, unless its attribute `whole` is False. It is searched by whole trainings
    alone.
    """
    found: Signature = getattr(space, "signature", CLS_MULTICLASS)
    return found
