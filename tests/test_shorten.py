"""Leaving out what does nothing."""

from __future__ import annotations

import pytest
import torch

from cse_autoloss.graph import compile_graph
from cse_autoloss.losses import list_losses
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.searches.evolution import random_graph
from cse_autoloss.spaces import SIGNATURES, binary_inputs, parse
from cse_autoloss.verification import fingerprint, verify
from cse_autoloss.verification.shorten import shortened


@pytest.mark.parametrize(
    ("branch", "formula", "short"),
    [
        ("reg", "Add(Sub(1,Div(I,U)),Mul(3,Sub(E,E)))", "Sub(1,Div(I,U))"),
        ("reg", "Sub(1,Div(Div(I,U),Exp(Sub(U,U))))", "Sub(1,Div(I,U))"),
        # y · 1, and a factor that is 1 wherever y is not 0
        ("cls-binary", "Neg(Add(Mul(Mul(PY,Add(PY,NY)),Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))", None),
    ],
)
def test_parts_without_effect_go(branch: str, formula: str, short: str | None) -> None:
    graph = parse(formula, branch)
    result = shortened(graph)
    assert fingerprint(result) == fingerprint(graph)
    assert result.tree_size < graph.tree_size
    if short:
        # a constant in front does nothing either
        assert result.tree_size <= parse(short, branch).tree_size


def test_a_term_that_is_nought_on_the_domain_goes() -> None:
    found = parse(
        "Neg(Add(Mul(Q,Add(Mul(Q,Log(Sig(X))),Mul(Sub(3,Q),Log(PY)))),Mul(Mul(Sub(1,Div(Q,Q)),Div(Div(3,3),Add(2,2))),"
        "Mul(Mul(Sig(X),Sig(X)),Log(Sig(Mul(Div(PY,NY),X)))))))"
    )
    short = shortened(found)
    assert "Log(PY)" not in short.formula
    # That 1 − q/q is nought holds of floating-point numbers alone: it stays.
    assert short.tree_size <= found.tree_size - 7
    assert verify(short).accepted
    logits, target = torch.randn(40, 3, requires_grad=True), torch.arange(40) % 4
    inputs = binary_inputs(logits, target, torch.rand(40))
    slopes = [torch.autograd.grad(compile_graph(one)(inputs).sum(), logits)[0] for one in (found, short)]
    torch.testing.assert_close(slopes[0], slopes[1])


@pytest.mark.parametrize("branch", list(SIGNATURES))
def test_gradients_stay_and_nothing_grows(branch: str) -> None:
    graphs = [loss.graph for entry in list_losses(branch) if isinstance(loss := entry.make(), GraphLoss)][:4]
    graphs += [random_graph(SIGNATURES[branch], seed, 2, 3) for seed in range(6)]
    for graph in graphs:
        short = shortened(graph)
        assert fingerprint(short) == fingerprint(graph)
        assert short.tree_size <= graph.tree_size
        if not verify(graph).accepted:
            assert short == graph
        assert shortened(short) == short
