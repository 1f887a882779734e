"""The 21 primitive operators: the one table that everything else is derived from.

To add an operator, append one entry here. The parser, the search's primitive set, verification, export, LaTeX, docs
and the generic tests pick it up from the table.

Source: Liu et al., "Loss Function Discovery for Object Detection via Convergence-Simulation Driven Search", ICLR
2021 (CSE-Autoloss). Its public release names 20 operators; the 21st is taken here to be `Erfc`, the mirror of `Serf`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from cse_autoloss.operators.operator import Operator

EPSILON = 1e-20
"""Added inside Log and to Div's denominator."""

EXP_LIMIT = 88.0
"""Exp's argument is cut here: the largest whole number whose exponential is finite in float32."""

CONSTANTS: tuple[str, ...] = ("1", "2", "3")
"""The numbers that a formula may hold."""

_RELEASE = "CSE-Autoloss, public release"
_ASSUMED = "CSE-Autoloss; the 21st operator, not named in the public release"
_SERF_SCALE = math.sqrt(math.pi) / 4


def _sgdf(a: Tensor) -> Tensor:
    return torch.atan(torch.tanh(a * (math.pi / 8))) * (2 / math.pi) + 0.5


def _softmax_jvp(value: Tensor, args: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Tensor:
    (tangent,) = tangents
    return value * (tangent - (value * tangent).sum(-1, keepdim=True))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _dot_jvp(value: Tensor, args: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Tensor:
    return (args[0] * tangents[1] + args[1] * tangents[0]).sum(-1, keepdim=True)


_TABLE = (
    Operator(
        "Add", 2, "elementwise", torch.add,
        derivative=lambda v, a, b: (torch.ones_like(v), torch.ones_like(v)),
        sympy=lambda sp, a, b: a + b,
        latex="{0} + {1}", latex_level=0, latex_needs=(0, 0), source="{0} + {1}",
        meaning="a + b", origin=_RELEASE, commutative=True,
    ),
    Operator(
        "Sub", 2, "elementwise", torch.sub,
        derivative=lambda v, a, b: (torch.ones_like(v), -torch.ones_like(v)),
        sympy=lambda sp, a, b: a - b,
        latex="{0} - {1}", latex_level=0, latex_needs=(0, 1), source="{0} - {1}",
        meaning="a − b", origin=_RELEASE,
    ),
    Operator(
        "Mul", 2, "elementwise", torch.mul,
        derivative=lambda v, a, b: (b, a),
        sympy=lambda sp, a, b: a * b,
        latex=r"{0} \cdot {1}", latex_level=1, latex_needs=(1, 1), source="{0} * {1}",
        meaning="a·b", origin=_RELEASE, commutative=True,
    ),
    Operator(
        "Div", 2, "elementwise", lambda a, b: a / (b + EPSILON),
        derivative=lambda v, a, b: (1 / (b + EPSILON), -v / (b + EPSILON)),
        sympy=lambda sp, a, b: a / (b + sp.Symbol("epsilon")),
        latex=r"\frac{{{0}}}{{{1}}}", latex_needs=(0, 0), source="{0} / ({1} + 1e-20)",
        meaning="a / (b + ε), ε = 1e-20", origin=_RELEASE,
    ),
    Operator(
        "Neg", 1, "elementwise", torch.neg,
        derivative=lambda v, a: (-torch.ones_like(v),),
        sympy=lambda sp, a: -a,
        latex="-{0}", latex_level=0, latex_needs=(1,), source="-{0}",
        meaning="−a", origin=_RELEASE,
    ),
    Operator(
        "Abs", 1, "elementwise", torch.abs,
        derivative=lambda v, a: (torch.sign(a),),
        sympy=lambda sp, a: sp.Abs(a),
        latex=r"\left|{0}\right|", latex_needs=(0,), source="torch.abs({0})",
        meaning="|a|", origin=_RELEASE,
    ),
    Operator(
        "Exp", 1, "elementwise", lambda a: torch.exp(torch.clamp(a, max=EXP_LIMIT)),
        derivative=lambda v, a: (torch.where(a <= EXP_LIMIT, v, torch.zeros_like(v)),),
        sympy=lambda sp, a: sp.exp(a),
        latex="e^{{{0}}}", latex_needs=(0,), source="torch.exp(torch.clamp({0}, max=88.0))",
        meaning="exp(min(a, 88))", origin=_RELEASE,
    ),
    Operator(
        "Log", 1, "elementwise", lambda a: torch.log(a + EPSILON),
        derivative=lambda v, a: (1 / (a + EPSILON),),
        sympy=lambda sp, a: sp.log(a + sp.Symbol("epsilon")),
        latex=r"\log\left({0}\right)", latex_needs=(0,), source="torch.log({0} + 1e-20)",
        meaning="log(a + ε), ε = 1e-20", origin=_RELEASE,
    ),
    Operator(
        "Sqrt", 1, "elementwise", torch.sqrt,
        derivative=lambda v, a: (0.5 / v,),
        sympy=lambda sp, a: sp.sqrt(a),
        latex=r"\sqrt{{{0}}}", latex_needs=(0,), source="torch.sqrt({0})",
        meaning="√a", origin=_RELEASE,
    ),
    Operator(
        "Softplus", 1, "elementwise", lambda a: torch.nn.functional.softplus(a, threshold=50.0),
        derivative=lambda v, a: (torch.sigmoid(a),),
        sympy=lambda sp, a: sp.log(1 + sp.exp(a)),
        latex=r"\operatorname{{softplus}}\left({0}\right)", latex_needs=(0,),
        source="torch.nn.functional.softplus({0}, threshold=50.0)",
        meaning="log(1 + eᵃ)", origin=_RELEASE,
    ),
    Operator(
        "Sig", 1, "elementwise", torch.sigmoid,
        derivative=lambda v, a: (v * torch.sigmoid(-a),),
        sympy=lambda sp, a: 1 / (1 + sp.exp(-a)),
        latex=r"\sigma\left({0}\right)", latex_needs=(0,), source="torch.sigmoid({0})",
        meaning="σ(a) = 1/(1 + e⁻ᵃ)", origin=_RELEASE,
    ),
    Operator(
        "Serf", 1, "elementwise", lambda a: 0.5 * torch.erfc(a * -_SERF_SCALE),
        derivative=lambda v, a: (0.25 * torch.exp(-((a * _SERF_SCALE) ** 2)),),
        sympy=lambda sp, a: (sp.erf(sp.sqrt(sp.pi) * a / 4) + 1) / 2,
        latex=r"\operatorname{{serf}}\left({0}\right)", latex_needs=(0,),
        source=f"0.5 * torch.erfc({{0}} * {-_SERF_SCALE!r})",
        meaning="(erf(√π·a/4) + 1)/2", origin=_RELEASE,
    ),
    Operator(
        "Erfc", 1, "elementwise", lambda a: 0.5 * torch.erfc(a * _SERF_SCALE),
        derivative=lambda v, a: (-0.25 * torch.exp(-((a * _SERF_SCALE) ** 2)),),
        sympy=lambda sp, a: 1 - (sp.erf(sp.sqrt(sp.pi) * a / 4) + 1) / 2,
        latex=r"\operatorname{{serfc}}\left({0}\right)", latex_needs=(0,),
        source=f"0.5 * torch.erfc({{0}} * {_SERF_SCALE!r})",
        meaning="1 − Serf(a)", origin=_ASSUMED,
    ),
    Operator(
        "Salf", 1, "elementwise", lambda a: 0.5 + 0.25 * a * torch.rsqrt(1 + 0.25 * a * a),
        derivative=lambda v, a: (0.25 * torch.rsqrt(1 + 0.25 * a * a) ** 3,),
        sympy=lambda sp, a: (a / 2 / sp.sqrt(1 + a**2 / 4) + 1) / 2,
        latex=r"\operatorname{{salf}}\left({0}\right)", latex_needs=(0,),
        source="0.5 + 0.25 * {0} * torch.rsqrt(1 + 0.25 * {0} * {0})",
        meaning="(a/2 / √(1 + a²/4) + 1)/2", origin=_RELEASE,
    ),
    Operator(
        "Sgdf", 1, "elementwise", _sgdf,
        derivative=lambda v, a: (0.25 / torch.cosh(torch.clamp(a, -100.0, 100.0) * (math.pi / 4)),),
        sympy=lambda sp, a: (2 * sp.atan(sp.tanh(sp.pi * a / 8)) * 2 / sp.pi + 1) / 2,
        latex=r"\operatorname{{sgdf}}\left({0}\right)", latex_needs=(0,),
        source=f"torch.atan(torch.tanh({{0}} * {math.pi / 8!r})) * {2 / math.pi!r} + 0.5",
        meaning="(gd(πa/4)·2/π + 1)/2, gd(v) = 2·atan(tanh(v/2))", origin=_RELEASE,
    ),
    Operator(
        "Tanh", 1, "elementwise", torch.tanh,
        derivative=lambda v, a: (1 - v * v,),
        sympy=lambda sp, a: sp.tanh(a),
        latex=r"\tanh\left({0}\right)", latex_needs=(0,), source="torch.tanh({0})",
        meaning="tanh(a)", origin=_RELEASE,
    ),
    Operator(
        "Relu", 1, "elementwise", torch.relu,
        derivative=lambda v, a: ((a > 0).to(v.dtype),),
        sympy=lambda sp, a: sp.Max(0, a),
        latex=r"\operatorname{{relu}}\left({0}\right)", latex_needs=(0,), source="torch.relu({0})",
        meaning="max(0, a)", origin=_RELEASE,
    ),
    Operator(
        "Sin", 1, "elementwise", torch.sin,
        derivative=lambda v, a: (torch.cos(a),),
        sympy=lambda sp, a: sp.sin(a),
        latex=r"\sin\left({0}\right)", latex_needs=(0,), source="torch.sin({0})",
        meaning="sin(a)", origin=_RELEASE,
    ),
    Operator(
        "Cos", 1, "elementwise", torch.cos,
        derivative=lambda v, a: (-torch.sin(a),),
        sympy=lambda sp, a: sp.cos(a),
        latex=r"\cos\left({0}\right)", latex_needs=(0,), source="torch.cos({0})",
        meaning="cos(a)", origin=_RELEASE,
    ),
    Operator(
        "Softmax", 1, "softmax", lambda a: torch.softmax(a, -1),
        cross_jvp=_softmax_jvp,
        sympy=lambda sp, a: sp.Function("softmax")(a),
        latex=r"\operatorname{{softmax}}\left({0}\right)", latex_needs=(0,), source="torch.softmax({0}, -1)",
        meaning="eᵃ / Σ eᵃ over the classes", origin=_RELEASE,
    ),
    Operator(
        "Dot", 2, "dot", _dot,
        cross_jvp=_dot_jvp,
        sympy=lambda sp, a, b: sp.Function("dot")(a, b),
        latex=r"\left\langle {0},\, {1} \right\rangle", latex_needs=(0, 0),
        source="({0} * {1}).sum(-1, keepdim=True)",
        meaning="Σ a·b over the classes", origin=_RELEASE, commutative=True,
    ),
)  # fmt: skip

OPERATORS: Mapping[str, Operator] = MappingProxyType({operator.name: operator for operator in _TABLE})
"""The operators by name, in the order of the table."""
