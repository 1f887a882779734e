"""Everything that an operator must do, for the operators of `extra_operators`; run by `test_operator_entry.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cse_autoloss import load_loss, verify
from cse_autoloss.certify import certificate_of
from cse_autoloss.errors import ConfigError, UnknownNameError
from cse_autoloss.export.draw import draw
from cse_autoloss.export.exact_value import as_vectors, graph_value
from cse_autoloss.export.latex import to_latex
from cse_autoloss.export.sympy_form import simplify
from cse_autoloss.export.torch_source import torch_source
from cse_autoloss.graph import LossGraph, compile_graph
from cse_autoloss.operators import OPERATORS, PAPER_OPERATORS
from cse_autoloss.searches.evolution.genome import PrimitiveSet, random_tree, seeded
from cse_autoloss.simulation.losses import LossBatch
from cse_autoloss.spaces import SIGNATURES, binary_inputs, parse
from cse_autoloss.spaces.random_expressions import RandomShape, random_forest, searched_operators
from cse_autoloss.verification import fingerprint, verify_population

DETECTION = ("cls-binary", "cls-multiclass", "reg")

NEW = [name for name in OPERATORS if name not in PAPER_OPERATORS]
CALLS = {1: "{0}(Mul(Sub(NY,PY),X))", 2: "{0}(Mul(NY,X),Mul(PY,Neg(X)))"}
each = pytest.mark.parametrize("name", NEW)


def loss_with(name: str) -> LossGraph:
    """Binary cross-entropy with a little of the operator's value added."""
    return parse(f"Add(Softplus(Mul(Sub(NY,PY),X)),{CALLS[OPERATORS[name].arity].format(name)})")


def batch() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    logits = 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.arange(6) % 5
    return logits, target, binary_inputs(logits, target)


def test_there_are_new_ones() -> None:
    assert NEW


@each
def test_verdict_alone_and_in_a_crowd_and_fingerprint(name: str) -> None:
    graph, constant = loss_with(name), CALLS[OPERATORS[name].arity].format(name).replace("X", "1")
    with_constant = parse(f"Add(Softplus(Mul(Sub(NY,PY),X)),{constant})")
    verdicts = verify_population([graph, with_constant, parse("Softplus(Mul(Sub(NY,PY),X))")])
    assert [v.accepted for v in verdicts[1:]] == [True, True]
    assert replace(verify(graph), seconds=0.0) == replace(verdicts[0], seconds=0.0)
    assert fingerprint(graph) != fingerprint(with_constant)
    assert fingerprint(with_constant) == fingerprint(parse("Softplus(Mul(Sub(NY,PY),X))"))


@each
def test_training_and_simulation_agree_with_torch(name: str) -> None:
    logits, target, inputs = batch()
    graph, plain = loss_with(name), logits.clone().requires_grad_()
    sign = inputs["NY"] - inputs["PY"]
    args = (sign * plain,) if OPERATORS[name].arity == 1 else (inputs["NY"] * plain, -inputs["PY"] * plain)
    expected = torch.nn.functional.softplus(sign * plain) + OPERATORS[name].torch(*args)
    gradient = torch.autograd.grad(expected.sum(), plain)[0]
    loss = load_loss(graph.formula, reduction="sum")
    moved = logits.clone().requires_grad_()
    value = loss(moved, target)
    value.backward()
    assert value.item() == pytest.approx(expected.sum().item())
    torch.testing.assert_close(moved.grad, gradient)
    together = LossBatch([graph], ("X",), torch.device("cpu"))
    torch.testing.assert_close(together.value({k: v[None] for k, v in inputs.items()})[0], expected)
    torch.testing.assert_close(together.gradients(torch.ones(6, 4))["X"][0], gradient, check_dtype=False)


@each
def test_a_loss_is_certified(name: str) -> None:
    """Its signs are proved where the operator tells its slope as terms, and open where it does not."""
    found = certificate_of(loss_with(name), boxes=2_000)
    signs = [one for one in found.findings if one.name.startswith("Never")]
    expected = "proved" if OPERATORS[name].followed_terms else "open"
    assert [one.outcome for one in signs] == [expected, expected]


@each
def test_exports(name: str, tmp_path: Path) -> None:
    graph = loss_with(name)
    logits, target, inputs = batch()
    expected = compile_graph(graph)(inputs)
    space: dict[str, object] = {}
    exec(torch_source(graph), space)
    torch.testing.assert_close(space["DiscoveredLoss"](reduction="none")(logits, target), expected)  # type: ignore[operator]
    exact = [[float(x) for x in graph_value(graph, as_vectors(inputs, row))] for row in range(6)]
    torch.testing.assert_close(torch.tensor(exact, dtype=torch.float64), expected)
    assert simplify(graph).agrees
    assert to_latex(parse(CALLS[OPERATORS[name].arity].format(name))).startswith("\\")
    assert draw(graph, tmp_path / "loss.svg").exists()


def test_one_onnx_file_with_all_of_them(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from cse_autoloss.export.onnx_form import write_onnx

    text = "Softplus(Mul(Sub(NY,PY),X))"
    for name in NEW:
        text = f"Add({text},{CALLS[OPERATORS[name].arity].format(name)})"
    assert write_onnx(parse(text), tmp_path / "loss.onnx").stat().st_size


@pytest.mark.parametrize("branch", DETECTION)
def test_searches_use_them_when_told_and_only_then(branch: str) -> None:
    signature = SIGNATURES[branch]
    assert set(NEW) <= set(signature.operators)
    assert searched_operators(signature) == tuple(n for n in PAPER_OPERATORS if n in signature.operators)
    for names, wanted in ((None, set()), (("Add", "Dot", *NEW), set(NEW))):
        primitives = PrimitiveSet.of(signature, names)
        with seeded(1):
            trees = [random_tree(primitives) for _ in range(60)]
        bred = {node.name for tree in trees for node in tree}
        forest = random_forest(signature, 300, np.random.default_rng(0), RandomShape(operators=names))
        drawn = {node.symbol for row in range(300) for node in forest.graph(row).nodes}
        assert bred & set(NEW) == drawn & set(NEW) == wanted
        for tree in trees[:20]:
            graph = parse(primitives.to_graph(tree).formula, branch)
            assert primitives.to_graph(primitives.to_tree(graph)) == graph


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Square'"):
        searched_operators(SIGNATURES["reg"], ("Sqare",))
    with pytest.raises(ConfigError, match="Dot"):
        searched_operators(SIGNATURES["cls-multiclass"], ("Add",))
    with pytest.raises(ConfigError, match="elementwise"):
        searched_operators(SIGNATURES["cls-multiclass"], ("Dot",))
