"""Aliases by meaning: the same loss is recognised however it is written, and others are not."""

from __future__ import annotations

import pytest

from cse_autoloss.errors import AutoLossError
from cse_autoloss.losses import CATALOGUE, find_alike, nearest

BCE_LONG = "Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X)))))"


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if not entry.whole])
def test_every_loss_is_itself_and_no_other(name: str) -> None:
    matches = find_alike(name)
    assert [match.entry.name for match in matches] == [name]
    assert str(matches[0]) == f"this is {CATALOGUE[name].title}"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (
            f"Mul(Add(2,2),Neg(Mul(Mul(Sub(PY,Sig(X)),Sub(PY,Sig(X))),{BCE_LONG})))",
            "focal loss (γ = 2) times 4",
        ),
        ("Sub(Softplus(X),Mul(PY,X))", "binary cross-entropy"),
        ("Div(Softplus(Mul(Sub(NY,PY),X)),2)", "binary cross-entropy times 0.5"),
        ("Mul(Softplus(Mul(Sub(NY,PY),X)),Add(PY,Mul(3,NY)))", "binary cross-entropy with α = 0.25 times 4"),
        ("Neg(Div(I,U))", "IoU loss (1 − IoU) minus 1"),
        ("Sub(2,Add(Div(I,U),Div(U,E)))", "GIoU loss"),
        ("Sub(3,Mul(2,Add(Div(I,U),Div(U,E))))", "GIoU loss times 2 minus 1"),
        ("Sub(Log(U),Log(I))", "logarithmic IoU loss (−log IoU) where the boxes overlap"),
        ("Sub(Log(Dot(Exp(X),Div(X,X))),Dot(X,Y))", "cross-entropy"),
        ("Sub(Neg(Dot(Y,Log(Softmax(X)))),Z)", "cross-entropy plus a term that has no gradient"),
    ],
)
def test_an_alias_is_found(formula: str, said: str) -> None:
    assert [str(match) for match in find_alike(formula)] == [f"this is {said}"]


@pytest.mark.parametrize(
    ("formula", "signature", "said"),
    [
        ("Sub(1,Exp(Neg(Mul(Div(R,Div(2,3)),Div(R,Div(2,3))))))", "regression", "Welsch loss (c = 0.666667)"),
        ("Neg(Exp(Neg(Div(Mul(R,R),2))))", "regression", "Welsch loss (c = 1.41421) minus 1"),
        ("focal(gamma=1.5)", "cls-binary", "focal loss (γ = 1.5)"),
    ],
)
def test_a_known_loss_with_other_numbers_is_found(formula: str, signature: str, said: str) -> None:
    assert [str(match) for match in find_alike(formula, signature)] == [f"this is {said}"]


def test_the_nearest_loss_may_have_other_numbers() -> None:
    """|r| where it is large, and another square than Huber's at 0: near to none of them, and nearest at another δ."""
    found = nearest("Sub(Sqrt(Add(3,Mul(R,R))),Abs(Div(R,3)))", "regression")
    assert found is not None
    assert "=" in found[0].name
    assert 0.9 < found[1] < 1


@pytest.mark.parametrize(
    ("formula", "branch"),
    [
        ("Div(I,U)", "reg"),
        (f"Neg(Mul({BCE_LONG},X))", "cls-binary"),
        ("Add(1,2)", "reg"),
        ("Log(Neg(I))", "reg"),
        ("Add(PY,Q)", "cls-binary"),
        ("Sqrt(Neg(Softplus(X)))", "cls-binary"),
    ],
)
def test_a_stranger_is_not(formula: str, branch: str) -> None:
    assert find_alike(formula, branch) == []


def test_the_nearest_loss() -> None:
    found = nearest("Add(Sub(1,Div(I,U)),Mul(Div(Sub(E,U),E),2))")
    assert found is not None
    assert found[0].name == "giou"
    assert 0.9 < found[1] < 1
    assert nearest("Add(1,2)", "reg") is None


def test_a_bad_formula_is_told() -> None:
    with pytest.raises(AutoLossError, match="tell no signature"):
        find_alike("Add(X,1)")
