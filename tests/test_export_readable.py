"""The readable form is the same loss to the last bit."""

from __future__ import annotations

import pytest
import torch

from cse_autoloss.export.domain import sample_domain
from cse_autoloss.export.readable import least_value, readable
from cse_autoloss.graph import compile_graph
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import SIGNATURES, parse


@pytest.mark.parametrize(
    ("formula", "tidy"),
    [
        ("Add(1,Neg(X))", "Sub(1,X)"),
        ("Add(Neg(X),1)", "Sub(1,X)"),
        ("Neg(Sub(Q,X))", "Sub(X,Q)"),
        ("Sub(X,Neg(Q))", "Add(X,Q)"),
        ("Sub(Neg(X),Q)", "Neg(Add(X,Q))"),
        ("Add(Neg(X),Neg(Q))", "Neg(Add(X,Q))"),
        ("Mul(Neg(X),Neg(Q))", "Mul(X,Q)"),
        ("Neg(Mul(Neg(X),Q))", "Mul(X,Q)"),
        ("Mul(1,Neg(Neg(X)))", "X"),
        ("Div(X,1)", "X"),
        ("Div(Neg(X),Neg(3))", "Div(X,3)"),
        ("Div(X,Neg(1))", "Neg(X)"),
        # ε = 1e-20 shows where the denominator may be 0: its sign stays where it is.
        ("Div(X,Neg(Q))", "Div(X,Neg(Q))"),
        ("Neg(Add(X,Q))", "Neg(Add(X,Q))"),
    ],
)
def test_signs_are_tidied(formula: str, tidy: str) -> None:
    assert readable(parse(formula)).formula == tidy


@pytest.mark.parametrize("branch", list(SIGNATURES))
def test_values_keep_every_bit(branch: str) -> None:
    inputs = sample_domain(SIGNATURES[branch], 60, dtype=torch.float32)
    for number in range(150):
        graph = random_graph(SIGNATURES[branch], f"readable-{number}")
        shown = readable(graph)
        assert len(shown.nodes) <= len(graph.nodes)
        got = compile_graph(shown, stable=False)(inputs)
        expected = compile_graph(graph, stable=False)(inputs)
        assert torch.equal(torch.nan_to_num(got), torch.nan_to_num(expected)), graph
        assert readable(shown).formula == shown.formula


def test_lower_bounds_hold() -> None:
    inputs = sample_domain(SIGNATURES["reg"], 300)
    for number in range(200):
        graph = random_graph(SIGNATURES["reg"], f"bounds-{number}")
        value = compile_graph(graph, stable=False)(inputs)
        assert (value[value.isfinite()] >= least_value(graph, graph.root)).all(), graph
