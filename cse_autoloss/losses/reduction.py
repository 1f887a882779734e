"""How a loss of one value for each element becomes what the training step asks for."""

from __future__ import annotations

from torch import Tensor, nn

from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.graph import Signature
from cse_autoloss.spaces import form_of

REDUCTIONS = ("mean", "sum", "none")
"""mean over all elements, sum over all elements, or the elements themselves; as in torch."""


def check_reduction(reduction: str) -> str:
    """`reduction` itself; UnknownNameError offers the nearest valid one."""
    if reduction not in REDUCTIONS:
        raise UnknownNameError.of("reduction", str(reduction), REDUCTIONS)
    return reduction


def check_alpha(alpha: float | None, signature: Signature) -> float | None:
    """`alpha` itself where losses of the signature can be weighted by it, else ConfigError."""
    if alpha is None:
        return None
    if not form_of(signature).weighted:
        raise ConfigError(
            f"alpha weights the classes of sigmoid heads' losses; a {signature.name} loss has none"
        )
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must be a number in [0, 1] or None, got {alpha!r}")
    return float(alpha)


def reduce(values: Tensor, reduction: str) -> Tensor:
    """Mean, sum or the values; the sum of nothing is 0, with a gradient; its mean is NaN, as in torch."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    return values


class ReducedLoss(nn.Module):
    """A loss module with `reduction`.

    Attributes:
        signature: it decides how the module is called.
        reduction: "mean", "sum" or "none".
    """

    signature: Signature

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
