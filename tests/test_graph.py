"""Loss expressions: parsing, printing, hashing, shapes, conversion, evaluation and the stable forms."""

import copy
import pickle
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cse_autoloss.errors import AutoLossError, FormulaError, UnknownNameError
from cse_autoloss.graph import Kind, compile_graph, stabilize
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.spaces import SIGNATURES, binary_inputs, box_inputs, multiclass_inputs, parse

DETECTION = ("cls-binary", "cls-multiclass", "reg")

A_CLS = "Neg(Dot(Mul(Y,Add(1,Sin(Z))),Log(Softmax(X))))"
BCE = "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))"


def inputs_for(branch: str, dtype: torch.dtype = torch.float64, n: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    if branch == "reg":
        low = torch.rand(n, 2, generator=generator, dtype=dtype) * 20
        pred = torch.cat((low, low + 5 + torch.rand(n, 2, generator=generator, dtype=dtype) * 20), 1)
        return box_inputs(pred, pred + torch.rand(n, 4, generator=generator, dtype=dtype))
    logits = torch.randn(n, 4, generator=generator, dtype=dtype)
    target = torch.tensor([0, 1, 2, 3, 3, 0])
    iou = torch.rand(n, generator=generator, dtype=dtype)
    return (binary_inputs if branch == "cls-binary" else multiclass_inputs)(logits, target, iou)


def test_prints_what_it_read() -> None:
    assert str(parse(A_CLS, "cls-multiclass")) == A_CLS
    assert (
        str(parse("  Neg ( Dot( Y ,Log(Softmax(X)) ) ) ", "cls-multiclass")) == "Neg(Dot(Y,Log(Softmax(X))))"
    )


def test_equal_subexpressions_are_one_node() -> None:
    graph = parse("Add(Mul(Sig(X),Sig(X)),Sig(X))")
    assert [node.symbol for node in graph.nodes] == ["X", "Sig", "Mul", "Add"]
    assert (len(graph), graph.tree_size, graph.depth) == (4, 8, 3)


def test_hash_is_blind_to_the_order_of_commutative_operands_alone() -> None:
    assert parse("Add(X,Mul(PY,NY))").digest == parse("Add(Mul(NY,PY),X)").digest
    assert parse("Sub(X,PY)").digest != parse("Sub(PY,X)").digest
    assert parse("Add(I,U)", "reg") == parse("Add(U,I)", "reg")


def test_graph_does_not_change() -> None:
    graph = parse(BCE)
    with pytest.raises(AttributeError):
        graph.nodes = ()
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert copy.deepcopy(graph).formula == graph.formula


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("Neg(Sigg(X))", 4, "did you mean 'Sig'"),
        ("Neg(", 4, "expected an operator"),
        ("", 0, "expected an operator"),
        ("Neg(X", 5, "expected ',' or ')'"),
        ("Neg(X))", 6, "expected the end"),
        ("Add(X)", 5, "takes 2 arguments, got 1"),
        ("Neg(X,X)", 5, "takes 1 argument"),
        ("0.5", 0, "the constants are 1, 2, 3"),
        ("Dot(X,PY)", 0, "not an operator of cls-binary"),
        ("Mul(X;PY)", 5, "expected ',' or ')'"),
        ("Neg X", 4, "expected '('"),
        ("Softmax(1)", 0, "works over the classes"),
        ("__import__('os')", 0, "unknown name"),
    ],
)
def test_bad_formulas_say_where_and_what(text: str, position: int, words: str) -> None:
    with pytest.raises(FormulaError, match=r".") as caught:
        parse(text)
    assert caught.value.position == position
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["(" * 10**6, "Neg(" * 10**6, "Neg(" * 4000, "Add(1," * 3000, "X" * 10**6, "1" * 9999]
)
def test_hostile_formulas_end_in_an_error(text: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert len(str(caught.value)) < 300


def test_unknown_branch() -> None:
    with pytest.raises(UnknownNameError, match="cls-binary"):
        parse("X", "cls-binry")


def test_multiclass_loss_must_be_per_sample() -> None:
    with pytest.raises(FormulaError, match="Dot"):
        parse("Neg(Log(Softmax(X)))", "cls-multiclass")


@given(st.text(alphabet="ADdSXYPNQ()123, \x00é", max_size=40))
def test_any_text_parses_or_raises_our_error(text: str) -> None:
    try:
        graph = parse(text)
    except AutoLossError:
        return
    assert parse(graph.formula) == graph


@pytest.mark.parametrize("branch", DETECTION)
def test_random_graphs_survive_text(branch: str) -> None:
    for seed in range(200):
        graph = random_graph(SIGNATURES[branch], seed)
        assert parse(graph.formula, branch).formula == graph.formula


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_evaluates_in_any_floating_dtype(dtype: torch.dtype) -> None:
    value = compile_graph(parse(BCE))(inputs_for("cls-binary", dtype))
    assert value.dtype == dtype
    assert value.shape == (6, 4)


def test_stable_forms() -> None:
    def stable(text: str, branch: str = "cls-binary") -> str:
        return stabilize(parse(text, branch)).formula

    assert stable("Log(Sig(X))") == "LogSig(X)"
    assert stable("Log(Add(1,Neg(Sig(X))))") == "LogSig(Neg(X))"
    assert stable("Log(Sub(1,Sig(X)))") == "LogSig(Neg(X))"
    assert stable("Log(Add(Neg(Sig(X)),1))") == "LogSig(Neg(X))"
    assert stable("Log(Add(1,Exp(X)))") == "Softplus(X)"
    assert stable("Log(Softmax(X))") == "LogSoftmax(X)"
    assert stable("Neg(Neg(X))") == "X"
    assert stable("Sub(1,Serf(X))") == "Erfc(X)"
    assert stable("Sub(Sig(X),1)") == "Sub(Sig(X),1)"


def test_stable_form_is_finite_where_the_plain_one_loses_its_gradient() -> None:
    x = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    stable = compile_graph(parse("Log(Sub(1,Sig(X)))"))({"X": x})
    torch.testing.assert_close(stable, torch.tensor([[0.0, -200.0]]))
    assert torch.autograd.grad(stable.sum(), x)[0].tolist() == [[0.0, -1.0]]
    plain = compile_graph(parse("Log(Sub(1,Sig(X)))"), stable=False)({"X": x})
    assert plain[0, 1].item() == pytest.approx(-46.05, abs=0.01)


@pytest.mark.parametrize("branch", DETECTION)
def test_stable_equals_plain_on_moderate_inputs(branch: str) -> None:
    for seed in range(200):
        graph = random_graph(SIGNATURES[branch], seed)
        values = inputs_for(branch)
        plain, stable = (compile_graph(graph, stable=flag)(values) for flag in (False, True))
        good = torch.isfinite(plain) & (plain.abs() < 1e6)
        torch.testing.assert_close(stable[good], plain[good], rtol=1e-7, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_kinds_agree_with_shapes(seed: int) -> None:
    graph = random_graph(SIGNATURES["cls-multiclass"], seed)
    assert graph.kinds[graph.root] is Kind.PER_SAMPLE
    assert compile_graph(graph)(inputs_for("cls-multiclass")).shape in {(6, 1), ()}


def test_random_is_not_disturbed() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    random_graph(SIGNATURES["reg"], 1)
    assert random.random() == expected
