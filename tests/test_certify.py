"""Certificates: what is proved holds, what is refuted has a witness that violates it."""

from __future__ import annotations

import pytest
import torch

from cse_autoloss.certify import certificate_of
from cse_autoloss.certify.enclose import enclose
from cse_autoloss.certify.tape import Tape
from cse_autoloss.operators import ALL_OPERATORS, Operator
from cse_autoloss.operators.derivatives import partials
from cse_autoloss.spaces import parse

BCE = "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))"
PLACES = (-20.0, -3.0, -1.0, -0.3, 0.3, 1.0, 3.0, 20.0)
pointwise = [one for one in ALL_OPERATORS.values() if one.shape != "softmax"]


@pytest.mark.parametrize("operator", pointwise, ids=lambda one: one.name)
def test_slopes_lie_within_their_intervals(operator: Operator) -> None:
    """Of each operator of the table, as it is: at points, and over the boxes between neighbours."""
    tape = Tape()
    names = ("a", "b")[: operator.arity]
    letters = [tape.variable(name) for name in names]
    name = "Mul" if operator.shape == "sum" else operator.name
    value = tape.apply(name, *letters)
    wanted = [tape.slope(value, {name: tape.number(1)}) for name in names]
    for low, high in zip(PLACES, PLACES[1:], strict=False):
        boxes = {"a": (low, high), "b": (1.5, 2.0)}
        found = enclose(tape, wanted, {name: boxes[name] for name in names})
        for x in (low, 0.5 * low + 0.5 * high, high):
            args = [torch.tensor(v, dtype=torch.float64) for v in (x, 1.75)[: operator.arity]]
            exact = partials(operator, operator.torch(*args), args)
            for (least, most), slope in zip(found, exact, strict=True):
                slack = 1e-12 * abs(float(slope)) + 1e-15
                unknown = bool(torch.tensor(float(least)).isnan())
                assert unknown or least - slack <= float(slope) <= most + slack


def test_a_wrong_sign_between_the_filter_s_points_is_found() -> None:
    """BCE + σ(1 − σ)·cos(8πx): its period is that of the filter's grid."""
    pi = "Div(Add(Mul(2,Mul(3,3)),Div(Exp(1),3)),Add(Add(3,3),Div(1,Add(2,3))))"
    found = certificate_of(
        parse(f"Add({BCE},Mul(Mul(Sig(X),Sub(1,Sig(X))),Cos(Mul({pi},Mul(Add(2,2),Add(2,X))))))")
    )
    assert found.refuted
