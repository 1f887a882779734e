"""The operators: the one table that everything else is derived from.

To add an operator, append one entry here. The parser, the search's primitive set, verification, simulation, training,
export, LaTeX, docs and the generic tests pick it up from the table. A search uses it when its settings name it
(`evolution.operators`); by default it uses the paper's 21.

The last entries are fused forms, which replace patterns of primitives where the plain form loses digits or overflows.
They mean the same as the pattern, except that the ε inside Log and the cut inside Exp are gone: those exist only to
keep the plain form finite.

Source: Liu et al., "Loss Function Discovery for Object Detection via Convergence-Simulation Driven Search", ICLR
2021 (CSE-Autoloss). Its public release names 20 operators; the 21st is taken here to be `Erfc`, the mirror of `Serf`.
"""

from __future__ import annotations

import math
import operator as arithmetic
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from cse_autoloss.operators import intervals
from cse_autoloss.operators.intervals import falling, rising, within
from cse_autoloss.operators.operator import Operator, Value

EPSILON = 1e-20
"""Added inside Log and to Div's denominator."""

EXP_LIMIT = 88.0
"""Exp's argument is cut here: the largest whole number whose exponential is finite in float32."""

CONSTANTS: tuple[str, ...] = ("1", "2", "3")
"""The numbers that a formula may hold."""

_RELEASE = "CSE-Autoloss, public release"
_ASSUMED = "CSE-Autoloss; the 21st operator, not named in the public release"
_STABLE = "stable form"
_SERF_SCALE = math.sqrt(math.pi) / 4
_BELL = f"Mul(0.25,Exp(Neg(Mul({_SERF_SCALE**2},Mul(a,a)))))"
_ROOT = "Add(1,Mul(0.25,Mul(a,a)))"


def _sgdf(a: Tensor) -> Tensor:
    return torch.atan(torch.tanh(a * (math.pi / 8))) * (2 / math.pi) + 0.5


def _salf(a: Tensor) -> Tensor:
    """Salf without cancellation: 1/(2s(s + |a|/2)) is what is missing to 0 or 1, s = √(1 + a²/4)."""
    root = torch.sqrt(1 + 0.25 * a * a)
    missing = 0.5 / (root * (root + 0.5 * a.abs()))
    return torch.where(a < 0, missing, 1 - missing)


def class_sum(a: Tensor) -> Tensor:
    """Sum over axis 1, kept, in a fixed order: the same digits in every batch."""
    total = a[:, 0:1]
    for index in range(1, a.shape[1]):
        total = total + a[:, index : index + 1]
    return total


def _shares(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax over axis 1, and what it is made of: a less its largest, and the sum of the exponentials."""
    shifted = a - a.amax(1, keepdim=True)
    powers = shifted.exp()
    total = class_sum(powers)
    return powers / total, shifted, total


def _softmax_dual(
    args: Sequence[Value], slopes: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    share, _, _ = _shares(torch.as_tensor(args[0]))
    slope = slopes[0]
    return share, None if slope is None else share * (slope - class_sum(share * slope))


def _log_softmax_dual(
    args: Sequence[Value], slopes: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    share, shifted, total = _shares(torch.as_tensor(args[0]))
    slope = slopes[0]
    return shifted - total.log(), None if slope is None else slope - class_sum(share * slope)


def _div_dual(args: Sequence[Value], slopes: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Quotients, where the derivative's inverse and product would be rounded once more."""
    (a, b), (slope_a, slope_b) = args, slopes
    below = b + EPSILON
    value = a / below
    first = None if slope_a is None else slope_a / below
    second = None if slope_b is None else value * slope_b / below
    if second is None:
        return value, first  # type: ignore[return-value]
    return value, -second if first is None else first - second  # type: ignore[return-value]


_TABLE = (
    Operator(
        "Add", 2, "elementwise", arithmetic.add,
        derivative=("1", "1"), interval=intervals.add,
        sympy=lambda sp, a, b: a + b,
        latex="{0} + {1}", latex_level=0, source="{0} + {1}",
        meaning="a + b", origin=_RELEASE, commutative=True,
    ),
    Operator(
        "Sub", 2, "elementwise", arithmetic.sub,
        derivative=("1", "-1"), interval=lambda a, b: intervals.add(a, intervals.negative(b)),
        sympy=lambda sp, a, b: a - b,
        latex="{0} - {1}", latex_level=0, latex_needs=(0, 1), source="{0} - {1}",
        meaning="a − b", origin=_RELEASE,
    ),
    Operator(
        "Mul", 2, "elementwise", arithmetic.mul,
        derivative=("b", "a"), interval=intervals.multiply,
        sympy=lambda sp, a, b: a * b,
        latex=r"{0} \cdot {1}", latex_level=1, latex_needs=(1, 1), source="{0} * {1}",
        meaning="a·b", origin=_RELEASE, commutative=True,
    ),
    Operator(
        "Div", 2, "elementwise", lambda a, b: a / (b + EPSILON),
        derivative=lambda v, a, b: (1 / (b + EPSILON), -v / (b + EPSILON)),
        spelled=("Div(1,b)", "Neg(Mul(v,Div(1,b)))"), dual=_div_dual,
        interval=lambda a, b: intervals.divide(a, (b[0] + EPSILON, b[1] + EPSILON)),
        sympy=lambda sp, a, b: a / (b + sp.Symbol("epsilon")),
        latex=r"\frac{{{0}}}{{{1}}}", source="{0} / ({1} + 1e-20)",
        meaning="a / (b + ε), ε = 1e-20", origin=_RELEASE,
    ),
    Operator(
        "Neg", 1, "elementwise", torch.neg,
        derivative=("-1",), interval=intervals.negative,
        rewrites=(("Neg(Neg(a))", "a"),),
        sympy=lambda sp, a: -a,
        latex="-{0}", latex_level=0, latex_needs=(1,), source="-{0}",
        meaning="−a", origin=_RELEASE,
    ),
    Operator(
        "Abs", 1, "elementwise", torch.abs,
        derivative=lambda v, a: (torch.sign(a),), followed=("Sub(Mul(2,Step(a)),1)",), kinks=(0.0,),
        interval=intervals.absolute,
        sympy=lambda sp, a: sp.Abs(a),
        latex=r"\left|{0}\right|", source="torch.abs({0})",
        meaning="|a|", origin=_RELEASE,
    ),
    Operator(
        "Exp", 1, "elementwise", lambda a: torch.exp(torch.clamp(a, max=EXP_LIMIT)),
        derivative=lambda v, a: (torch.where(a <= EXP_LIMIT, v, torch.zeros_like(v)),), kinks=(EXP_LIMIT,),
        followed=(f"Mul(v,Step(Sub({EXP_LIMIT},a)))",),
        interval=rising(lambda a: torch.exp(torch.clamp(a, max=EXP_LIMIT)), 0.0),
        sympy=lambda sp, a: sp.exp(a),
        latex="e^{{{0}}}", source="torch.exp(torch.clamp({0}, max=88.0))",
        meaning="exp(min(a, 88))", origin=_RELEASE,
    ),
    Operator(
        "Log", 1, "elementwise", lambda a: torch.log(a + EPSILON),
        derivative=("Div(1,a)",),
        interval=rising(lambda a: torch.log(a + EPSILON), slack=1e-19),
        sympy=lambda sp, a: sp.log(a + sp.Symbol("epsilon")),
        latex=r"\log\left({0}\right)", source="torch.log({0} + 1e-20)",
        meaning="log(a + ε), ε = 1e-20", origin=_RELEASE,
    ),
    Operator(
        "Sqrt", 1, "elementwise", torch.sqrt,
        derivative=lambda v, a: (0.5 / v,), followed=("Div(0.5,v)",), interval=rising(torch.sqrt, 0.0),
        rewrites=(
            ("Sqrt(Sig(a))", "Exp(Div(LogSig(a),2))"), ("Sqrt(Softmax(a))", "Exp(Div(LogSoftmax(a),2))"),
        ),
        sympy=lambda sp, a: sp.sqrt(a),
        latex=r"\sqrt{{{0}}}", source="torch.sqrt({0})",
        meaning="√a", origin=_RELEASE,
    ),
    Operator(
        "Softplus", 1, "elementwise", lambda a: torch.nn.functional.softplus(a, threshold=50.0),
        derivative=("Sig(a)",), rewrites=(("Log(Add(1,Exp(a)))", "Softplus(a)"),),
        interval=rising(lambda a: torch.nn.functional.softplus(a, threshold=50.0), 0.0), opaque=True,
        sympy=lambda sp, a: sp.log(1 + sp.exp(a)),
        source="torch.nn.functional.softplus({0}, threshold=50.0)",
        meaning="log(1 + eᵃ)", origin=_RELEASE,
    ),
    Operator(
        "Sig", 1, "elementwise", torch.sigmoid,
        derivative=("Mul(v,Sig(Neg(a)))",), interval=rising(torch.sigmoid, 0.0, 1.0), opaque=True,
        rewrites=(("Sub(1,Sig(a))", "Sig(Neg(a))"), ("Add(1,Neg(Sig(a)))", "Sig(Neg(a))")),
        sympy=lambda sp, a: 1 / (1 + sp.exp(-a)),
        latex=r"\sigma\left({0}\right)", source="torch.sigmoid({0})",
        meaning="σ(a) = 1/(1 + e⁻ᵃ)", origin=_RELEASE,
    ),
    Operator(
        "Serf", 1, "elementwise", lambda a: 0.5 * torch.erfc(a * -_SERF_SCALE),
        derivative=lambda v, a: (0.25 * torch.exp(-((a * _SERF_SCALE) ** 2)),), followed=(_BELL,),
        interval=rising(lambda a: 0.5 * torch.erfc(a * -_SERF_SCALE), 0.0, 1.0), opaque=True, named=True,
        sympy=lambda sp, a: (sp.erf(sp.sqrt(sp.pi) * a / 4) + 1) / 2,
        source=f"0.5 * torch.erfc({{0}} * {-_SERF_SCALE!r})",
        meaning="(erf(√π·a/4) + 1)/2", origin=_RELEASE,
    ),
    Operator(
        "Erfc", 1, "elementwise", lambda a: 0.5 * torch.erfc(a * _SERF_SCALE),
        derivative=lambda v, a: (-0.25 * torch.exp(-((a * _SERF_SCALE) ** 2)),), followed=(f"Neg({_BELL})",),
        interval=falling(lambda a: 0.5 * torch.erfc(a * _SERF_SCALE), 0.0, 1.0), named=True,
        rewrites=(("Sub(1,Serf(a))", "Erfc(a)"), ("Add(1,Neg(Serf(a)))", "Erfc(a)")),
        sympy=lambda sp, a: 1 - (sp.erf(sp.sqrt(sp.pi) * a / 4) + 1) / 2,
        latex=r"\operatorname{{serfc}}\left({0}\right)",
        source=f"0.5 * torch.erfc({{0}} * {_SERF_SCALE!r})",
        meaning="1 − Serf(a)", origin=_ASSUMED,
    ),
    Operator(
        "Salf", 1, "elementwise", lambda a: 0.5 + 0.25 * a * torch.rsqrt(1 + 0.25 * a * a),
        derivative=lambda v, a: (0.25 * torch.rsqrt(1 + 0.25 * a * a) ** 3,),
        followed=(f"Div(0.25,Mul({_ROOT},Sqrt({_ROOT})))",),
        interval=rising(_salf, 0.0, 1.0),
        opaque=True, named=True,
        sympy=lambda sp, a: (a / 2 / sp.sqrt(1 + a**2 / 4) + 1) / 2,
        source="0.5 + 0.25 * {0} * torch.rsqrt(1 + 0.25 * {0} * {0})",
        meaning="(a/2 / √(1 + a²/4) + 1)/2", origin=_RELEASE,
    ),
    Operator(
        "Sgdf", 1, "elementwise", _sgdf,
        derivative=lambda v, a: (0.25 / torch.cosh(torch.clamp(a, -100.0, 100.0) * (math.pi / 4)),),
        followed=(f"Mul(0.5,Sqrt(Mul(Sig(Mul({math.pi / 2},a)),Sig(Mul({-math.pi / 2},a)))))",),
        interval=rising(lambda a: torch.atan(torch.exp(a * (math.pi / 4))) * (2 / math.pi), 0.0, 1.0),
        opaque=True, named=True,
        sympy=lambda sp, a: (2 * sp.atan(sp.tanh(sp.pi * a / 8)) * 2 / sp.pi + 1) / 2,
        source=f"torch.atan(torch.tanh({{0}} * {math.pi / 8!r})) * {2 / math.pi!r} + 0.5",
        meaning="(gd(πa/4)·2/π + 1)/2, gd(v) = 2·atan(tanh(v/2))", origin=_RELEASE,
    ),
    Operator(
        "Tanh", 1, "elementwise", torch.tanh,
        derivative=lambda v, a: (1 - v * v,), followed=("Mul(4,Mul(Sig(Mul(2,a)),Sig(Mul(-2,a))))",),
        interval=rising(torch.tanh, -1.0, 1.0),
        sympy=lambda sp, a: sp.tanh(a),
        latex=r"\tanh\left({0}\right)", source="torch.tanh({0})",
        meaning="tanh(a)", origin=_RELEASE,
    ),
    Operator(
        "Relu", 1, "elementwise", torch.relu,
        derivative=lambda v, a: ((a > 0).to(v.dtype),), followed=("Step(a)",), kinks=(0.0,),
        interval=rising(torch.relu, 0.0), opaque=True,
        sympy=lambda sp, a: sp.Max(0, a),
        source="torch.relu({0})",
        meaning="max(0, a)", origin=_RELEASE,
    ),
    Operator(
        "Sin", 1, "elementwise", torch.sin,
        derivative=("Cos(a)",), interval=intervals.sine,
        sympy=lambda sp, a: sp.sin(a),
        latex=r"\sin\left({0}\right)", source="torch.sin({0})",
        meaning="sin(a)", origin=_RELEASE,
    ),
    Operator(
        "Cos", 1, "elementwise", torch.cos,
        derivative=("Neg(Sin(a))",), interval=intervals.cosine,
        sympy=lambda sp, a: sp.cos(a),
        latex=r"\cos\left({0}\right)", source="torch.cos({0})",
        meaning="cos(a)", origin=_RELEASE,
    ),
    Operator(
        "Softmax", 1, "softmax", lambda a: torch.softmax(a, -1),
        pull=lambda v, args, own: (v * (own - (own * v).sum(-1, keepdim=True)),),
        dual=_softmax_dual, interval=within(0.0, 1.0), opaque=True,
        sympy=lambda sp, a: sp.Function("softmax")(a),
        source="torch.softmax({0}, -1)",
        meaning="eᵃ / Σ eᵃ over the classes", origin=_RELEASE,
    ),
    Operator(
        "Dot", 2, "sum", arithmetic.mul,
        derivative=("b", "a"), interval=intervals.multiply, opaque=True,
        sympy=lambda sp, a, b: a * b,
        latex=r"\left\langle {0},\, {1} \right\rangle", source="{0} * {1}",
        meaning="Σ a·b over the classes", origin=_RELEASE, commutative=True,
    ),
    Operator(
        "LogSoftmax", 1, "softmax", lambda a: torch.log_softmax(a, -1),
        pull=lambda v, args, own: (own - v.exp() * own.sum(-1, keepdim=True),),
        dual=_log_softmax_dual, interval=within(-math.inf, 0.0),
        rewrites=(("Log(Softmax(a))", "LogSoftmax(a)"),), stable=True,
        sympy=lambda sp, a: sp.log(sp.Function("softmax")(a)),
        latex=r"\log\operatorname{{softmax}}\left({0}\right)", source="torch.log_softmax({0}, -1)",
        meaning="log of Softmax", origin=_STABLE,
    ),
    Operator(
        "LogSig", 1, "elementwise", torch.nn.functional.logsigmoid,
        derivative=("Sig(Neg(a))",), interval=rising(torch.nn.functional.logsigmoid, most=0.0),
        rewrites=(("Log(Sig(a))", "LogSig(a)"),), stable=True,
        sympy=lambda sp, a: -sp.log(1 + sp.exp(-a)),
        latex=r"\log\sigma\left({0}\right)", source="torch.nn.functional.logsigmoid({0})",
        meaning="log of Sig", origin=_STABLE,
    ),
)  # fmt: skip

ALL_OPERATORS: Mapping[str, Operator] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""Primitives and fused forms by name, in the order of the table."""

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {name: entry for name, entry in ALL_OPERATORS.items() if not entry.stable}
)
"""The primitives by name: what a formula may use."""

PAPER_OPERATORS: tuple[str, ...] = (
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Log", "Sqrt", "Softplus", "Sig", "Serf", "Erfc", "Salf", "Sgdf",
    "Tanh", "Relu", "Sin", "Cos", "Softmax", "Dot",
)  # fmt: skip
"""The paper's 21: what a search uses unless its settings say otherwise. Their order is part of what a seed means."""
