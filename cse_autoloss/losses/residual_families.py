"""Losses of regression, of a residual r: what people use where targets have outliers. At r = 0 all are 0."""

from __future__ import annotations

from cse_autoloss.losses.entry import Property
from cse_autoloss.losses.family import Family, Parameter, number, times
from cse_autoloss.spaces.signatures import REGRESSION

_CLIPPED = "Sub(Abs(R),Relu(Sub(Abs(R),{0})))"
_EVEN: frozenset[Property] = frozenset({"non-negative", "monotone"})
_CONVEX = _EVEN | {"convex"}


def _scale(name: str, meaning: str) -> tuple[Parameter, ...]:
    return (Parameter(name, 1, (0.1, 10), 0.01, 100, meaning, log=True),)


def _scaled(value: float) -> str:
    """(r/value)²."""
    part = "R" if value == 1 else f"Div(R,{number(value)})"
    return f"Mul({part},{part})"


def _huber(delta: float) -> str:
    clipped = _CLIPPED.format(number(delta))
    return f"Mul({clipped},Sub(Abs(R),Div({clipped},2)))"


RESIDUAL_FAMILIES = (
    Family.of(
        "squared-error", "squared error", REGRESSION, "common", (), lambda: "Mul(R,R)", properties=_CONVEX
    ),
    Family.of(
        "absolute-error", "absolute error", REGRESSION, "common", (), lambda: "Abs(R)", properties=_CONVEX
    ),
    Family.of(
        "huber", "Huber loss (δ = {delta:g})", REGRESSION, "Huber, Ann. Math. Statist. 1964",
        _scale("delta", "where the square goes over into a line"), _huber, properties=_CONVEX,
    ),
    Family.of(
        "pseudo-huber", "pseudo-Huber loss (δ = {delta:g})", REGRESSION, "Charbonnier et al., ICIP 1994",
        _scale("delta", "where the square goes over into a line"),
        lambda delta: times(number(delta * delta), f"Sub(Sqrt(Add(1,{_scaled(delta)})),1)"), properties=_CONVEX,
    ),
    Family.of(
        "log-cosh", "log cosh loss", REGRESSION, "common", (),
        lambda: "Sub(Add(Abs(R),Softplus(Neg(Mul(2,Abs(R))))),Log(2))", properties=_CONVEX,
    ),
    Family.of(
        "cauchy", "Cauchy loss (γ = {gamma:g})", REGRESSION, "Black and Anandan, CVIU 1996",
        _scale("gamma", "from which residuals on the slope falls"),
        lambda gamma: f"Log(Add(1,{_scaled(gamma)}))", properties=_EVEN,
    ),
    Family.of(
        "welsch", "Welsch loss (c = {c:g})", REGRESSION, "Dennis and Welsch, Comm. Statist. 1978",
        _scale("c", "beyond some times which a sample counts no more"),
        lambda c: f"Sub(1,Exp(Neg({_scaled(c)})))", properties=_EVEN,
    ),
)  # fmt: skip
