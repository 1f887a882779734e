"""SymPy: shorter, the same loss to 40 digits, within the time; a process that hangs is killed."""

from __future__ import annotations

import math
import time
from pathlib import Path

import mpmath
import pytest
import sympy
from export_samples import ENTRIES, catalogue_graph

from cse_autoloss.errors import AutoLossError
from cse_autoloss.export import simplify_worker as worker
from cse_autoloss.export import sympy_form
from cse_autoloss.export.domain import sample_domain
from cse_autoloss.export.exact_value import as_vectors, difference, expression_value, graph_value
from cse_autoloss.export.sympy_form import _Judge, expression_latex, simplify, to_sympy
from cse_autoloss.graph import compile_graph
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import SIGNATURES, parse


@pytest.mark.parametrize("branch", list(SIGNATURES))
def test_exact_values_are_those_of_torch(branch: str) -> None:
    inputs = sample_domain(SIGNATURES[branch], 12)
    for number in range(60):
        graph = random_graph(SIGNATURES[branch], f"exact-{number}", 1, 3)
        values = compile_graph(graph)(inputs)
        for row in range(12):
            exact = graph_value(graph, as_vectors(inputs, row))
            got = values.reshape(12, -1)[row].tolist() if values.dim() else [float(values)]
            for a, b in zip(exact, got, strict=False):
                if mpmath.isnan(a) or abs(a) > 1e6:
                    continue  # beyond that float64 differs by rounding
                assert abs(a - b) <= 1e-6 * max(1, abs(a)), (graph, row)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_sympy_form_is_the_loss(entry) -> None:  # type: ignore[no-untyped-def]
    graph = catalogue_graph(entry.name)
    inputs = sample_domain(graph.signature, 30)
    form = to_sympy(graph, epsilon=True)
    for row in range(30):
        variables = as_vectors(inputs, row)
        assert difference(graph_value(graph, variables), expression_value(form, variables)) < 1e-12
    assert worker.decode(worker.encode(form)) == form
    assert r"\left(" not in expression_latex(form, graph.signature).replace(r"\left(\frac", "")[:20]


def test_a_sum_over_classes_of_what_is_the_same_for_all_keeps_their_number() -> None:
    graph = parse("Dot(Add(Y,Sub(1,Y)),1)", "cls-multiclass")
    form = to_sympy(graph)
    assert form == worker.symbol("classes")
    assert expression_latex(form, graph.signature) == "C"
    smoothing = simplify(catalogue_graph("label-smoothing"))
    assert smoothing.agrees
    assert "classes" in smoothing.text


def test_simplifies_and_proves_it() -> None:
    found = simplify(parse("Add(Sub(X,Q),Mul(Sub(Q,X),Sub(1,Sig(Neg(X)))))"))
    assert found.agrees
    assert found.finished
    assert found.operations[1] <= 4
    assert found.operations[1] < found.operations[0]
    giou = simplify(catalogue_graph("giou"))
    assert giou.text == "2 - I/U - U/E"
    assert giou.latex == r"2 - \frac{i}{u} - \frac{u}{e}"
    assert not giou.keeps_epsilon


def test_a_form_that_differs_is_not_taken() -> None:
    """Q/Q is 1 in algebra, but 0 where Q = 0, which the domain holds: ε must stay."""
    found = simplify(parse("Sub(1,Div(Q,Q))"))
    assert found.keeps_epsilon
    assert found.agrees
    assert "epsilon" in found.text
    assert r"\varepsilon" in found.latex


def test_says_so_where_algebra_does_not_hold() -> None:
    found = simplify(parse("Log(Exp(Mul(X,Mul(3,3))))"))
    assert not found.agrees
    assert "NOT the same loss" in str(found)


def test_time_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker that gives one form and then hangs is killed; the form is used."""
    half = "import sys, time, json\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    half += """print(json.dumps(["Symbol", "X"]), flush=True)\nprint('["Add", ', end='', flush=True)\n"""
    hanging = tmp_path / "hanging.py"
    hanging.write_text(half + "time.sleep(600)\n")
    monkeypatch.setattr(worker, "__file__", str(hanging))
    begun = time.monotonic()
    found = simplify(parse("Add(X,Sub(Q,Mul(Q,1)))"), seconds=0.5)
    assert time.monotonic() - begun < 60
    assert not found.finished
    assert found.text == "X"


def test_gives_up_in_words() -> None:
    graph = random_graph(SIGNATURES["cls-binary"], "long", 6, 7)
    found = simplify(graph, seconds=0.05)
    assert not found.finished
    assert "gave up after" in str(found)


def test_a_worker_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "missing.py"))
    with pytest.raises(AutoLossError, match="did not start"):
        simplify(parse("Add(X,X)"))
    with pytest.raises(AutoLossError, match="above 0 seconds"):
        simplify(parse("X"), seconds=0)


def test_trees_hold_known_heads_only() -> None:
    with pytest.raises(worker.UnknownFormError, match="Derivative"):
        worker.encode(sympy.Derivative(sympy.Symbol("X"), sympy.Symbol("X")))
    for tree in (["__import__", ["Symbol", "X"]], ["Symbol", "os.system"]):
        with pytest.raises(KeyError):
            worker.decode(tree)


def test_every_operator_has_a_form() -> None:
    for branch, signature in SIGNATURES.items():
        for number in range(100):
            graph = random_graph(signature, f"forms-{number}", 1, 3)
            form = to_sympy(graph, epsilon=True)
            if not form.has(sympy.zoo, sympy.nan, sympy.oo, sympy.I):
                worker.encode(form)
            expression_latex(form, signature)
            assert branch
    assert sympy_form.SAME < 1e-6


def test_of_a_formula_that_takes_too_long_fewer_places_are_compared() -> None:
    graph = parse("Sub(X,Add(X,1))")
    assert _Judge(graph, 0.0).places < _Judge(graph, 60.0).places
    assert _Judge(graph, 60.0)(to_sympy(graph), time.process_time() - 1.0) == math.inf


def test_angles_of_a_million_digits_are_no_values() -> None:
    angle = sympy.exp(sympy.Symbol("U", positive=True))
    variables = {"U": [mpmath.mpf(900_000)]}
    (value,) = expression_value(sympy.sin(angle), variables)
    assert mpmath.isnan(value)
    (value,) = expression_value(sympy.sin(angle), {"U": [mpmath.mpf(2)]})
    assert abs(value - mpmath.sin(mpmath.exp(2))) < 1e-12
