"""Fused forms that replace patterns of primitives where the plain form loses digits or overflows.

They mean the same as the pattern they stand for, except that the ε inside Log and the cut inside Exp are gone: those
exist only to keep the plain form finite. No formula may name them; `graph.rewrite` puts them in before a loss runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from cse_autoloss.operators.operator import Operator

_ORIGIN = "stable form"


def _log_softmax_jvp(value: Tensor, args: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> Tensor:
    (tangent,) = tangents
    return tangent - (value.exp() * tangent).sum(-1, keepdim=True)


_TABLE = (
    Operator(
        "LogSoftmax", 1, "softmax", lambda a: torch.log_softmax(a, -1),
        cross_jvp=_log_softmax_jvp,
        sympy=lambda sp, a: sp.log(sp.Function("softmax")(a)),
        latex=r"\log\operatorname{{softmax}}\left({0}\right)", latex_needs=(0,),
        source="torch.log_softmax({0}, -1)",
        meaning="log of Softmax", origin=_ORIGIN,
    ),
    Operator(
        "LogSig", 1, "elementwise", torch.nn.functional.logsigmoid,
        derivative=lambda v, a: (torch.sigmoid(-a),),
        sympy=lambda sp, a: -sp.log(1 + sp.exp(-a)),
        latex=r"\log\sigma\left({0}\right)", latex_needs=(0,),
        source="torch.nn.functional.logsigmoid({0})",
        meaning="log of Sig", origin=_ORIGIN,
    ),
)  # fmt: skip

STABLE_OPERATORS: Mapping[str, Operator] = MappingProxyType({operator.name: operator for operator in _TABLE})
"""The fused forms by name."""
