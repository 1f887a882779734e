"""Three more operators, each by one entry, put into the table before anything is derived from it.

Used as a plug-in of pytest (`-p tests.extra_operators`), in a process of its own: what a person gets who appends them
to `operators/table.py`.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import torch

from cse_autoloss import operators
from cse_autoloss.operators import table
from cse_autoloss.operators.intervals import Interval, rising
from cse_autoloss.operators.operator import Operator


def _highest(a: Interval, b: Interval) -> Interval:
    return np.maximum(a[0], b[0]), np.maximum(a[1], b[1])


EXTRA = (
    Operator(
        "Atan", 1, "elementwise", torch.atan,
        derivative=("Div(1,Add(1,Mul(a,a)))",), interval=rising(torch.atan),
        sympy=lambda sp, a: sp.atan(a), latex=r"\arctan\left({0}\right)", source="torch.atan({0})",
        meaning="arc tangent of a", origin="test",
    ),
    Operator(
        "Max", 2, "elementwise", torch.maximum,
        derivative=lambda v, a, b: ((a > b) + 0.5 * (a == b), (b > a) + 0.5 * (a == b)),
        followed=("Step(Sub(a,b))", "Step(Sub(b,a))"), ties=True, interval=_highest, commutative=True,
        sympy=lambda sp, a, b: sp.Max(a, b), source="torch.maximum({0}, {1})",
        meaning="the larger of a and b", origin="test",
    ),
    Operator(  # without a derivative: autograd's
        "Square", 1, "elementwise", torch.square,
        sympy=lambda sp, a: a**2, source="torch.square({0})", meaning="a²", origin="test",
    ),
)  # fmt: skip

EVERY = MappingProxyType({**table.ALL_OPERATORS, **{entry.name: entry for entry in EXTRA}})
table.ALL_OPERATORS = operators.ALL_OPERATORS = EVERY
table.OPERATORS = operators.OPERATORS = MappingProxyType({n: o for n, o in EVERY.items() if not o.stable})
