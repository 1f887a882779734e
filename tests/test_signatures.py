"""Signatures: the three built in and two users' ones through the conformance suite, and mistakes in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import cse_autoloss as cal
from cse_autoloss import export_loss as export
from cse_autoloss import simulate
from cse_autoloss.errors import AutoLossError, ConfigError, DataError, FormulaError, UnknownNameError
from cse_autoloss.losses import GraphLoss
from cse_autoloss.spaces import CLS_BINARY, CLS_MULTICLASS, REG, signature_of, signatures
from cse_autoloss.spaces.signatures import REGRESSION
from cse_autoloss.spaces.wide import BY_WIDE
from cse_autoloss.testing.signatures import SignatureConformance

R = cal.Input("R", meaning="prediction − target, in target deviations")
WALKS = (cal.Walk("R", start=-10, end=0), cal.Walk("R", start=10, end=0))
RESIDUAL = cal.Signature("residual", [R], default="Mul(R,R)", walks=WALKS, even=True)

PIXELS = cal.Signature(
    "pixels",
    [cal.Input("X", meaning="logit"), cal.Input("Y", 0, 1, "target")],
    default="Sub(Softplus(X),Mul(Y,X))",
    walks=[
        cal.Walk("X", start=-12, end=12, at={"Y": 1}, may_rest=True),
        cal.Walk("X", start=12, end=-12, at={"Y": 0}, may_rest=True),
    ],
)
CLASSES = cal.Signature(
    "classes",
    [
        cal.Input("L", kind="per-class"),
        cal.Input("T", 0, 1, kind="per-class", one_hot=True),
        cal.Input("W", 0, 2, "weight of the sample"),
    ],
    default="Mul(W,Neg(Dot(T,Log(Softmax(L)))))",
    walks=[
        cal.Walk("L", (-8, 0, 1), (8, 0, 1), {"T": (1, 0, 0), "W": 1}, may_rest=True),
        cal.Walk("L", (8, 0, 1), (-8, 0, 1), {"T": (0, 1, 0), "W": 2}, may_rest=True),
    ],
)


STEEP = "Mul(3,Mul(3,Mul(3,Mul(3,Mul(3,Mul(3,Sub(3,Abs(R))))))))"


class TestSigmoidHeads(SignatureConformance):
    signature = CLS_BINARY
    wrong = (("Neg(Log(Sig(X)))", "ignores-target"), ("PY", "ignores-logit"))


class TestSoftmaxHeads(SignatureConformance):
    signature = CLS_MULTICLASS
    wrong = (("Dot(Y,Softmax(X))", "rises-with-logit"),)


class TestBoxes(SignatureConformance):
    signature = REG
    wrong = (("Div(I,U)", "rises-towards-target"),)


class TestWideSigmoidHeads(SignatureConformance):
    signature = BY_WIDE["cls-binary"]
    right = ("Neg(Add(Mul(PY,Mul(Sub(2,F),Log(Sig(X)))),Mul(NY,Log(Sub(1,Sig(X))))))",)
    wrong = (
        ("Neg(Add(Mul(PY,Mul(Sub(F,Sub(1,F)),Log(Sig(X)))),Mul(NY,Log(Sub(1,Sig(X))))))", "rises-with-logit"),
    )


class TestWideSoftmaxHeads(SignatureConformance):
    signature = BY_WIDE["cls-multiclass"]
    right = ("Neg(Dot(Y,Log(Softmax(Add(X,Log(F))))))",)


class TestWideBoxes(SignatureConformance):
    signature = BY_WIDE["reg"]
    right = ("Mul(Add(1,Mul(P,G)),Sub(1,Div(I,U)))",)
    wrong = (("Mul(P,Sub(1,Div(I,U)))", "flat-while-overlapping"),)


class TestRegression(SignatureConformance):
    signature = REGRESSION
    right = ("Abs(R)", "Sub(1,Exp(Neg(Mul(R,R))))", "Relu(Sub(Abs(R),1))")


class TestResidual(SignatureConformance):
    signature = RESIDUAL
    right = ("Log(Add(1,Mul(R,R)))", "Abs(R)", "Sub(Softplus(R),Div(R,2))")
    wrong = (
        ("Neg(R)", "least-elsewhere"),
        ("Abs(Sub(Abs(R),Div(1,Exp(Add(3,3)))))", "least-elsewhere"),
        ("Neg(Mul(R,R))", "rises-along-walk"),
        ("Relu(Sub(Abs(R),1))", "flat-along-walk"),
        ("Add(Mul(R,R),Mul(Relu(R),R))", "not-even"),
        ("Sqrt(Mul(R,R))", "not-finite"),
        ("Div(1,R)", "not-finite"),
        ("Sub(R,R)", "constant"),
        ("2", "ignores-input"),
        (f"Sub(Mul(R,R),Mul(3,Mul(3,Sig({STEEP}))))", "unresolved"),
    )


class TestPixels(SignatureConformance):
    signature = PIXELS
    right = ("Abs(Sub(Sig(X),Y))", "Mul(Sub(Sig(X),Y),Sub(Sig(X),Y))")
    wrong = (
        ("Softplus(X)", "least-elsewhere"),
        ("X", "least-elsewhere"),
        ("Mul(Y,Softplus(Neg(X)))", "rests-on-walk"),
    )


class TestClasses(SignatureConformance):
    signature = CLASSES
    wrong = (("Dot(T,L)", "rests-on-walk"), ("Dot(T,Softmax(L))", "rises-along-walk"))


def test_the_suite_fails_on_a_wrong_signature() -> None:
    class Wrong(SignatureConformance):
        signature = cal.Signature("wrong", [R], default="Neg(Mul(R,R))", walks=WALKS)

    with pytest.raises(AssertionError, match="rises along the walk of R"):
        Wrong().test_the_default_is_right_and_its_negative_is_wrong()


def test_a_reason_names_the_walk_and_the_place() -> None:
    verdict = cal.verify("Neg(R)", signature=RESIDUAL)
    assert verdict.reason == "loss is least at R = 10, not where it ends, on the walk of R from 10 to 0"
    assert verdict.where == "walk of R from 10 to 0, R = 10"
    assert "walk of R from -10 to 0" in cal.verify("Div(1,R)", RESIDUAL).reason
    assert (
        cal.verify("Add(1,2)", RESIDUAL).reason
        == "formula does not read R, so it can't fall along a walk of it"
    )


def test_a_loss_is_called_by_place_and_by_name() -> None:
    loss = cal.load_loss("Log(Add(1,Mul(R,R)))", signature=RESIDUAL, reduction="none")
    r = torch.tensor([[-2.0, 0.0], [1.0, 3.0]])
    assert torch.equal(loss(r), loss(R=r))
    torch.testing.assert_close(loss(r), (1 + r * r).log())
    pixel = cal.load_loss(PIXELS.default, signature=PIXELS)
    logits, target = torch.randn(2, 1, 4, 4, requires_grad=True), torch.randint(2, (2, 1, 4, 4))
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(pixel(Y=target, X=logits), wanted)
    weights = torch.rand(3, requires_grad=True)
    cal.load_loss(CLASSES.default, CLASSES)(
        torch.randn(3, 4, requires_grad=True), torch.eye(4)[:3], weights
    ).backward()
    assert weights.grad is None, "no walk moves W"
    twin = pickle.loads(pickle.dumps(pixel))
    assert torch.equal(twin(logits, target), pixel(logits, target))


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "needs X, a tensor of floating point"),
        ((1.0,), {}, "needs X, a tensor of floating point"),
        ((torch.zeros(2, dtype=torch.int64),), {}, "needs X, a tensor of floating point"),
        ((torch.zeros(2),), {}, "reads 'Y', which was not given"),
        ((torch.zeros(2), torch.zeros(3)), {}, r"X \(2,\), Y \(3,\)"),
        ((torch.zeros(2), [0, 1]), {}, "'Y' must be a tensor, got list"),
        ((torch.zeros(2), torch.zeros(2), torch.zeros(2)), {}, "takes X, Y; got 3 tensors"),
        ((torch.zeros(2),), {"X": torch.zeros(2)}, "'X' is given twice"),
        ((torch.zeros(2),), {"Z": torch.zeros(2)}, "unknown input 'Z'"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    loss = cal.load_loss(PIXELS.default, signature=PIXELS)
    with pytest.raises(AutoLossError, match=message) as caught:
        loss(*arguments, **named)
    assert "\n" not in str(caught.value)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"inputs": [R, R]}, "the input 'R' stands there twice"),
    ({"inputs": []}, "1 to 12 of Input"),
    ({"inputs": None}, "1 to 12 of Input"),
    ({"inputs": "R"}, r"inputs: expected a list of Input\(...\), got 'R'"),
    ({"walks": 3}, r"walks: expected a list of Walk\(...\), got 3"),
    ({"operators": "Add"}, "operators: expected a list of names, got 'Add'"),
    ({"walks": []}, "needs a walk along which the loss must fall"),
    ({"walks": [cal.Walk("S", 0, 1)]}, "unknown input in the walk of S: 'S'"),
    ({"walks": [cal.Walk("r", -1, 0)]}, "did you mean 'R'"),
    ({"walks": [cal.Walk("R", 1, 1)]}, "start and end are the same place"),
    ({"walks": [cal.Walk("R", (0, 1), (1, 1))]}, "R is per-sample, so it stands at one number"),
    ({"inputs": [cal.Input("R", -1, 1)]}, "R = -10 is out of its range, -1 to 1"),
    ({"inputs": [R, cal.Input("Q")]}, "say where 'Q' stands"),
    ({"operators": ["Add", "Mull"]}, "unknown operator 'Mull'; did you mean 'Mul'"),
    ({"operators": ["Add", "Softmax"]}, "Softmax works over classes, and no input is per-class"),
    ({"operators": ["Add", "Add"]}, "the operator Add stands there twice"),
    ({"operators": ["Add"]}, "default: formula, character 0"),
    ({"default": "Mul(R,"}, "default: formula ends at character"),
    ({"default": ""}, "needs a default"),
    ({"name": "../x"}, "a name is letters"),
    ({"result": "per-clas"}, "did you mean 'per-class'"),
    ({"result": "per-class"}, "result is per-class, but no input is"),
    ({"inputs": [cal.Input("R", -10, 11)], "even": True}, "even needs a range about 0"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_one_line(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "mine", "inputs": [R], "default": "Mul(R,R)", "walks": WALKS}
    cal.Signature(**good)
    with pytest.raises((ConfigError, UnknownNameError), match=message) as caught:
        cal.Signature(**{**good, **change})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("signature ")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cal.Input("Add"), "that is an operator"),
        (lambda: cal.Input("1"), "letters, digits and underscores"),
        (lambda: cal.Input("a-b"), "letters, digits and underscores"),
        (lambda: cal.Input("class"), "means something else in exported code"),
        (lambda: cal.Input("R", 1, 0), "low < high must hold, got low=1 and high=0"),
        (lambda: cal.Input("R", float("nan")), "low must be a number"),
        (lambda: cal.Input("R", latex='"""'), "without quotes"),
        (lambda: cal.Input("R", meaning='"""\nimport os'), "without quotes"),
        (lambda: cal.Input("R", meaning="a\nb"), "one line"),
        (lambda: cal.Input("R", meaning="\\"), "without quotes"),
        (lambda: cal.Input("R", kind="per-pixel"), "unknown input 'R': kind 'per-pixel'"),
        (lambda: cal.Walk("R", "a", 0), "start must be a number"),
        (lambda: cal.Walk("R", 0, float("inf")), "must be finite"),
        (lambda: cal.Walk(("R", "Q"), 0, 1), "start must have one place an input"),
        (lambda: cal.Walk("R", 0, 1, spacing="log"), "unknown spacing 'log'"),
        (lambda: cal.Walk("R", 0, 1, points=2), "points must be 9 to 1025"),
    ],
)
def test_a_mistake_in_a_part_is_one_line(make: Any, message: str) -> None:
    with pytest.raises(AutoLossError, match=message):
        make()


def test_the_registry() -> None:
    name = "test-registry"
    mine = cal.Signature(name, [R], default="Mul(R,R)", walks=WALKS)
    try:
        assert cal.register_signature(mine) is mine
        cal.register_signature(mine)
        assert signature_of(name) == mine
        assert cal.verify("Abs(R)", signature=name)
        assert cal.parse("Abs(R)", name).signature == mine
        with pytest.raises(ConfigError, match="another one has that name"):
            cal.register_signature(cal.Signature(name, [R], default="Abs(R)", walks=WALKS))
    finally:
        signatures._registered.pop(name)
    with pytest.raises(UnknownNameError, match="unknown signature 'cls-binry'; did you mean 'cls-binary'"):
        cal.parse("X", "cls-binry")


def test_two_signatures_of_one_name_do_not_share_digests_or_fingerprints() -> None:
    other = cal.Signature("residual", [R], default="Mul(R,R)", walks=WALKS)
    assert other != RESIDUAL
    one, two = cal.parse("Mul(R,R)", RESIDUAL), cal.parse("Mul(R,R)", other)
    assert one.digest != two.digest
    assert one != two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"walks": []}, "needs a walk"),
        ({"walks": 3}, "walks: expected a list"),
        ({"inputs": [{"name": "R", "low": "0"}]}, "low must be a number"),
        ({"inputs": [{"nam": "R"}]}, "did you mean 'name'"),
        ({"inputs": [{}]}, "name"),
        ({"form": {"x": 1}}, "unknown key in signature: 'form'"),
        ({"inputs": [{"name": "R", "latex": '"""\nimport os'}]}, "without quotes"),
        ({"name": 'x"""'}, "a name is letters"),
        ({"operators": 5}, "signature"),
    ],
)
def test_a_hostile_file_ends_in_an_error(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "loss.json"
    export("Mul(R,R)", path, RESIDUAL)
    data = json.loads(path.read_text())
    assert cal.load_loss(path).signature == RESIDUAL
    path.write_text(json.dumps({**data, "signature": {**data["signature"], **change}}))
    with pytest.raises((ConfigError, DataError, UnknownNameError), match=message) as caught:
        cal.load_loss(path)
    assert str(path) in str(caught.value)


def test_walks_of_several_inputs_and_of_geometric_steps() -> None:
    pair = cal.Signature(
        "pair",
        [cal.Input("A"), cal.Input("B", 0)],
        default="Add(Mul(A,A),B)",
        walks=[cal.Walk(("A", "B"), (-3, 2), (0, 0), spacing="geometric", points=129)],
    )
    assert cal.verify("Add(Mul(A,A),B)", pair)
    assert cal.verify("Add(A,B)", pair).code == "rises-along-walk"
    assert cal.verify("Sub(Mul(A,A),Mul(2,B))", pair).code in ("rises-along-walk", "least-elsewhere")
    assert cal.verify("Add(Mul(A,A),Sqrt(B))", pair).code == "not-finite"


def test_what_has_no_small_detector_is_told() -> None:
    with pytest.raises(FormulaError, match="makes no inputs of the signature 'residual'"):
        simulate("Mul(R,R)", RESIDUAL)


def test_onnx_takes_the_inputs_that_are_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    path = tmp_path / "loss.onnx"
    export(PIXELS.default, path, PIXELS)
    assert [one.name for one in onnx.load(path).graph.input] == ["X", "Y"]


def test_alpha_is_for_sigmoid_heads() -> None:
    with pytest.raises(ConfigError, match="a residual loss has none"):
        GraphLoss(cal.parse("Mul(R,R)", RESIDUAL), alpha=0.3)
