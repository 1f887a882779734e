"""Families of losses, named with their parameters: `focal(gamma=1)`."""

from __future__ import annotations

import re

import pytest
import torch

from cse_autoloss.errors import AutoLossError
from cse_autoloss.graph import compile_graph
from cse_autoloss.losses import CATALOGUE, GraphLoss, load_loss, open_parameters, with_parameters
from cse_autoloss.losses.family import number
from cse_autoloss.spaces import parse


@pytest.mark.parametrize("name", list(CATALOGUE.families))
def test_the_bare_name_is_the_point_of_the_defaults(name: str) -> None:
    family = CATALOGUE.families[name]
    defaults = {one.name: one.default for one in family.parameters}
    made = family.make(**defaults)
    assert made == family.default.formula or family.default.formula is None
    assert family.title.format(**defaults) == family.default.title
    assert CATALOGUE[f"{name}()"] is CATALOGUE[name]
    for one in family.parameters:
        assert one.low <= one.span[0] <= one.default <= one.span[1] <= one.high
        assert one.span[0] < one.span[1]
        assert one.span[0] > 0 or not one.log


@pytest.mark.parametrize("text", ["focal(gamma=1)", "square-iou", "softmax-focal-1", "poly-1(epsilon=1)"])
def test_a_point_has_one_meaning_by_whatever_name(text: str) -> None:
    same = {
        "focal(gamma=1)": "focal-1", "square-iou": "alpha-iou(alpha=2)",
        "softmax-focal-1": "softmax-focal( gamma = 1.0 )", "poly-1(epsilon=1)": "poly-1",
    }  # fmt: skip
    loss, other = load_loss(text), load_loss(same[text])
    assert isinstance(loss, GraphLoss)
    assert isinstance(other, GraphLoss)
    assert loss.formula == other.formula


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("focal(gama=1)", "unknown parameter of focal 'gama'; did you mean 'gamma'"),
        ("fokal(gamma=1)", "unknown loss 'fokal'; did you mean 'focal'"),
        ("focal(gamma=-1)", "focal: gamma: expected a number from 0 to 10, got '-1'"),
        ("focal(gamma=nan)", "focal: gamma: expected a number from 0 to 10, got 'nan'"),
        ("taylor-ce(order=1.5)", "taylor-ce: order: expected a whole number from 1 to 20, got '1.5'"),
        ("focal(1)", "focal: expected NAME=NUMBER, got '1'"),
        ("focal(gamma=1, gamma=2)", "focal: gamma is given twice"),
        ("focal(gamma=__import__('os'))", "focal: gamma: expected a number from 0 to 10"),
        ("giou(a=1)", "giou has no parameters"),
        ("mae(x=1)", "mae has no parameters"),
    ],
)
def test_a_mistake_in_a_point_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(AutoLossError, match=re.escape(message)) as caught:
        load_loss(text)
    assert "\n" not in str(caught.value)


def test_what_a_name_leaves_open_may_be_moved() -> None:
    for text in ("giou", "Sub(1,Div(I,U))", "focal-1", "focal(gamma=2)"):
        assert open_parameters(text) == ()
        assert with_parameters(text, {}) == text
    assert [one.name for one in open_parameters("varifocal")] == ["alpha", "gamma"]
    assert with_parameters("varifocal", {"alpha": 0.5, "gamma": 2}) == "varifocal(alpha=0.5)"
    assert with_parameters("varifocal(gamma=2)", {"alpha": 1.0}) == "varifocal(alpha=1, gamma=2)"


@pytest.mark.parametrize("value", [0, 0.05, 0.7, 1, 1.5, 4, 17, 1000, 0.123456, -0.5])
def test_numbers_are_expressions_of_themselves(value: float) -> None:
    graph = parse(f"Mul(X,{number(value)})", "cls-binary")
    one = torch.ones(1, 1, dtype=torch.float64)
    assert compile_graph(graph)(dict.fromkeys(("X", "Q", "PY", "NY"), one)).item() == pytest.approx(value)
