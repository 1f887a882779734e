"""LaTeX: no more parentheses than needed, and matplotlib's mathtext takes all of it."""

from __future__ import annotations

import pytest
from export_samples import NAMES, catalogue_graph
from matplotlib.mathtext import MathTextParser

from cse_autoloss.export import to_latex
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import SIGNATURES, parse


@pytest.mark.parametrize(
    ("formula", "latex"),
    [
        ("Sub(X,Sub(Q,PY))", "x - (q - y)"),
        ("Sub(Sub(X,Q),PY)", "x - q - y"),
        ("Mul(Add(X,1),Q)", r"(x + 1) \cdot q"),
        ("Add(Mul(X,Q),1)", r"x \cdot q + 1"),
        ("Neg(Add(X,Q))", "-(x + q)"),
        ("Neg(Mul(X,Q))", r"-x \cdot q"),
        ("Mul(Sub(1,Q),Sub(1,Q))", "(1 - q)^{2}"),
        ("Mul(Sig(X),Sig(X))", r"\sigma(x)^{2}"),
        ("Div(Add(X,1),Sub(Q,1))", r"\frac{x + 1}{q - 1}"),
        ("Log(Div(X,Q))", r"\log\left(\frac{x}{q}\right)"),
        ("Abs(X)", "|x|"),
        ("Exp(Neg(X))", "e^{-x}"),
        ("Sqrt(Add(X,1))", r"\sqrt{x + 1}"),
        ("Log(Sub(1,Sig(X)))", r"\log(1 - \sigma(x))"),
        ("NY", r"\bar{y}"),
        ("Mul(Div(1,Add(2,Mul(3,Mul(3,2)))),X)", r"\frac{1}{20} \cdot x"),
        ("Mul(X,Add(2,2))", r"x \cdot 4"),
        ("Add(X,Sub(1,3))", "x + 1 - 3"),
        ("Div(X,Div(3,Add(1,Mul(3,3))))", r"\frac{x}{\frac{3}{10}}"),
    ],
)
def test_parentheses_are_minimal(formula: str, latex: str) -> None:
    assert to_latex(parse(formula)) == latex


def test_as_written_keeps_the_signs() -> None:
    graph = parse("Add(1,Neg(X))")
    assert to_latex(graph) == "1 - x"
    assert to_latex(graph, as_written=True) == r"1 + (-x)"
    assert to_latex(parse("Mul(Add(2,2),X)"), as_written=True) == r"(2 + 2) \cdot x"


@pytest.mark.parametrize("as_written", [False, True])
def test_mathtext_takes_every_formula(as_written: bool) -> None:
    parser = MathTextParser("path")
    graphs = [catalogue_graph(name) for name in NAMES]
    graphs += [random_graph(SIGNATURES[b], f"latex-{i}", 1, 4) for b in SIGNATURES for i in range(40)]
    for graph in graphs:
        latex = to_latex(graph, as_written=as_written)
        parser.parse(f"${latex}$")
        assert latex.count(r"\left(") == latex.count(r"\right)")
