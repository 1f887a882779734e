"""Certificates: what is proved holds, what is refuted has a witness that violates it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from cse_autoloss import certify_loss, export_loss
from cse_autoloss.certify import Certificate, Finding, calibration, certificate_of, same_function
from cse_autoloss.certify.enclose import enclose
from cse_autoloss.certify.tape import Tape
from cse_autoloss.explain import explain
from cse_autoloss.graph import Input, Signature, Walk, compile_graph
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.operators import ALL_OPERATORS, Operator
from cse_autoloss.operators.derivatives import partials
from cse_autoloss.spaces import parse
from cse_autoloss.verification import verify

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
    for low, high in pairwise(PLACES):
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


def _bce(positive: str = "", negative: str = "", more: str = "") -> str:
    """BCE, its positives or negatives times a factor, plus a term."""
    parts = {"PY": "Log(Sig(X))", "NY": "Log(Sub(1,Sig(X)))"}
    terms = [
        f"Mul({f'Mul({mark},{factor})' if factor else mark},{log})"
        for (mark, log), factor in zip(parts.items(), (positive, negative), strict=True)
    ]
    loss = f"Neg(Add({terms[0]},{terms[1]}))"
    return f"Add({loss},{more})" if more else loss


CROSS_ENTROPY = "Neg(Dot(Y,Log(Softmax(X))))"
WRONG = (
    # Positives times (Q − c) push the logit down at w < c.
    *((_bce(f"Sub(Q,{c})"), "cls-binary") for c in ("Div(1,Mul(3,3))", "Div(1,Exp(3))", "Div(1,Mul(2,Mul(3,3)))")),
    (_bce("Sub(Mul(Q,Q),Div(1,Exp(Mul(2,3))))"), "cls-binary"),
    # What punishes the coincidence of large boxes.
    *(
        (f"Add(Sub(1,Div(I,U)),Relu(Sub(Div(I,{size}),1)))", "reg")
        for size in ("Exp(Mul(3,3))", "Exp(Add(Mul(3,3),2))", "Exp(Mul(2,Mul(2,3)))")
    ),
    # Reversed from so many classes on.
    *(
        (f"Mul({CROSS_ENTROPY},Sub({most},Dot(Sub(1,Y),Sub(1,Y))))", "cls-multiclass")
        for most in ("3", "Mul(3,3)", "Exp(3)", "Exp(Mul(2,3))")
    ),
    # A wave whose period is the filter's grid, and others.
    *(
        (_bce(more=f"Mul(Mul(Sig(X),Sub(1,Sig(X))),Cos(Mul(X,{rate})))"), "cls-binary")
        for rate in ("Mul(Mul(3,3),Sub(3,Div(Exp(1),Mul(3,Exp(1)))))", "Exp(3)", "Mul(Mul(3,3),Exp(3))")
    ),
)  # fmt: skip


@pytest.mark.parametrize(("formula", "signature"), WRONG)
def test_wrong_losses_are_refuted_by_witnesses_that_violate(formula: str, signature: str) -> None:
    """Families of losses that a grid of points lets through."""
    found = certificate_of(parse(formula, signature), boxes=500)
    assert found.refuted
    for one in found.of("refuted"):
        if one.required:
            assert one.witness is not None
            assert _wrong(one, signature), one


def _wrong(one: Finding, signature: str) -> bool:
    """Whether the slope at the witness, as the loss itself has it, goes the wrong way."""
    assert one.witness is not None
    if "loss" in one.witness:
        return one.witness["loss"] < one.witness["loss of the target itself"]
    slope = one.witness["slope"]
    if signature == "reg":
        return slope < 0
    if "vanishes" in one.name:
        return slope != 0
    return (slope < 0) if "Never falls" in one.name else (slope > 0)


@pytest.mark.parametrize(
    "name", [n for n, e in CATALOGUE.items() if e.formula is not None and e.signature.name != "margin"]
)
def test_no_accepted_loss_of_the_catalogue_is_refuted(name: str) -> None:
    graph = CATALOGUE[name].make().graph
    found = certificate_of(graph, boxes=500)
    assert found.findings
    assert not (verify(graph) and found.refuted)


def test_least_where_boxes_coincide_is_proved_and_refuted_by_itself() -> None:
    """Also where intervals do not settle the slopes."""

    def outcome(formula: str) -> str:
        return {one.name: one.outcome for one in certificate_of(parse(formula, "reg"), boxes=500).findings}[
            "Least where the boxes coincide"
        ]

    assert outcome("Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))") == "proved"
    assert outcome("Abs(Sub(Div(I,U),Div(1,2)))") == outcome("Cos(Mul(Div(I,U),Mul(2,2)))") == "refuted"


@pytest.mark.parametrize("name", ["bce", "poly-1", "cross-entropy"])
def test_signs_are_proved(name: str) -> None:
    found = certificate_of(CATALOGUE[name].make().graph, boxes=2_000)
    assert [one.outcome for one in found.findings if one.name.startswith("Never")].count("proved") >= 1
    assert not [one for one in found.findings if one.name.startswith("Never") and one.outcome != "proved"]


def test_a_place_without_a_value_is_never_proved() -> None:
    found = certificate_of(parse(_bce(more="Sig(Sqrt(X))")), boxes=2_000)
    assert not any(one.name.startswith("Never rises") for one in found.of("proved"))


@pytest.mark.parametrize(
    "term",
    [
        "Log(X)",
        "Mul(Sub(1,1),Log(X))",
        "Mul(PY,Mul(NY,Log(X)))",
        "Sub(Log(X),Log(X))",
        "Sub(Add(2,Log(X)),Log(X))",
        "Mul(Sub(1,1),Sqrt(X))",
    ],
)
def test_nothing_is_proved_where_a_part_without_effect_has_no_value(term: str) -> None:
    """0·a is no 0 where `a` has no value, and neither is a − a."""
    whole = _bce(more=term)
    found = certificate_of(parse(whole), boxes=1_000)
    # Tails of positives are looked at from 12 on, where all has a value.
    assert [one.name for one in found.of("proved")] == ["Slope vanishes towards a positive's right answer"]
    assert same_function(parse(whole), parse(BCE), boxes=1_000) != "proved"


def test_nothing_is_proved_of_boxes_where_the_loss_has_no_value() -> None:
    found = certificate_of(parse("Add(Sub(1,Div(I,U)),Mul(Sub(1,1),Log(Sub(Div(I,U),1))))", "reg"), boxes=500)
    assert not found.of("proved")


def test_parts_without_effect_are_still_seen_to_have_none() -> None:
    """Where they have a value everywhere: of Log and Sqrt too."""
    for term in ("Mul(Sub(1,1),Log(Exp(X)))", "Sub(Sqrt(Exp(X)),Sqrt(Exp(X)))", "Sub(Div(Q,Q),Div(Q,Q))"):
        assert same_function(parse(_bce(more=term)), parse(BCE)) == "proved"


def test_a_logit_that_others_equal_is_not_long_right() -> None:
    """A large logit of a target says nothing where another class's is as large."""
    found = certificate_of(parse("Dot(3,Mul(Y,Softmax(Neg(Sub(X,Z)))))", "cls-multiclass"), boxes=500)
    assert not found.refuted


MEAN_ABSOLUTE_ERROR = "Abs(Sub(PY,Sig(X)))"


def test_calibration_tells_proper_losses() -> None:
    found = {
        name: {
            one.name.partition(":")[0]: one for one in certificate_of(parse(formula), boxes=5_000).findings
        }
        for name, formula in (
            ("bce", BCE),
            ("focal", CATALOGUE["focal"].make().graph.formula),
            ("mae", MEAN_ABSOLUTE_ERROR),
            ("upside down", f"Neg({BCE})"),
        )
    }
    proper = {name: one["Proper"].outcome for name, one in found.items()}
    assert proper.pop("bce") == "proved"
    assert set(proper.values()) == {"refuted"}
    flat = certificate_of(parse("Add(Mul(PY,Sub(1,Sig(X))),Mul(NY,Sig(X)))"))
    assert {one.name: one.outcome for one in flat.findings}["L(x, 0) + L(x, 1) is constant"] == "proved"


@pytest.mark.parametrize(
    "formula", [MEAN_ABSOLUTE_ERROR, BCE, _bce("Sub(2,Sig(X))"), _bce(more="Div(Sig(X),Mul(3,3))")]
)
def test_what_is_told_is_refuted_by_witnesses_that_violate(formula: str) -> None:
    """Proper, and L(x, 0) + L(x, 1) constant: the slopes at the witness, from the formula as it is."""
    evaluate = compile_graph(parse(formula))
    told = [one for one in certificate_of(parse(formula), boxes=5_000).of("refuted") if not one.required]
    assert told
    for one in told:
        assert one.witness is not None
        x = torch.tensor([[one.witness["logit"]]] * 2, dtype=torch.float64, requires_grad=True)
        mark = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        evaluate({"X": x, "PY": mark, "NY": 1 - mark, "Q": mark}).sum().backward()
        assert x.grad is not None
        up, down = x.grad.flatten().tolist()
        if one.name.startswith("Proper"):
            chance = float(x.detach().sigmoid()[0, 0])
            assert abs(down / (down - up) - chance) > 1e-3
            assert one.witness["η less σ of the logit"] == pytest.approx(
                down / (down - up) - chance, abs=1e-9
            )
        else:
            assert abs(up + down) > 1e-5
            assert one.witness["slope of the sum"] == pytest.approx(up + down)


MORE_CLASSES = "Mul(Sub(Dot(Sub(1,Y),Sub(1,Y)),1),Dot(Y,Softmax(X)))"


@pytest.mark.parametrize(
    ("name", "proper", "constant"),
    [
        ("cross-entropy", "proved", "refuted"),
        ("softmax-focal", "refuted", "refuted"),
        ("mae", "refuted", "proved"),
        # Of two columns it is cross-entropy, of ten no more.
        (f"Add({CROSS_ENTROPY},{MORE_CLASSES})", "refuted", "refuted"),
    ],
)
def test_softmax_heads_are_told_proper_or_not(name: str, proper: str, constant: str) -> None:
    """A witness is checked with the formula as it is: the slopes by the logit for each target, two kinds of them."""
    graph = parse(CATALOGUE[name].formula or "" if name in CATALOGUE else name, "cls-multiclass")
    found = {one.name.partition(":")[0]: one for one in certificate_of(graph, boxes=40_000).findings}
    told = found["Proper"], found["L(x, c) summed over the targets c is constant"]
    assert (told[0].outcome, told[1].outcome) == (proper, constant)
    assert MORE_CLASSES not in name or told[0].domain.startswith("10 columns")
    evaluate = compile_graph(graph)
    for one in told:
        if one.witness is None:
            assert one.domain.startswith("2 and 10 columns")
            continue
        n, lead = one.witness["columns"], one.witness["logit"]
        x = torch.full((2, n), one.witness["the other logits"], dtype=torch.float64)
        x[:, 0] = lead
        x.requires_grad_()
        mark = torch.zeros(2, n, dtype=torch.float64)
        mark[0, 0] = mark[1, n - 1] = 1.0
        evaluate({"X": x, "Y": mark, "Z": torch.ones(2, 1, dtype=torch.float64)}).sum().backward()
        assert x.grad is not None
        up, down = x.grad[:, 0].tolist()
        if one is told[0]:
            chance = float(x.detach().softmax(1)[0, 0])
            assert abs(down / (down - up) - chance) > 1e-3
        else:
            assert abs(up + (n - 1) * down) > 1e-5


def test_a_violation_that_the_loss_itself_does_not_confirm_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the intervals say, and the reason is told."""
    monkeypatch.setattr(calibration, "_both", lambda *scenes: lambda point: (1e-9, {"logit": point["x"]}))
    monkeypatch.setattr(calibration, "_distance", lambda *scenes: lambda point: (9e-4, {"logit": point["x"]}))
    told = [one for one in certificate_of(parse(MEAN_ABSOLUTE_ERROR), boxes=500).findings if not one.required]
    proper = next(one for one in told if one.name.startswith("Proper"))
    assert proper.outcome == "open"
    assert proper.detail.startswith("intervals refute it at x = ")
    whole = [one for one in certificate_of(parse(BCE), boxes=500).findings if "constant" in one.name]
    assert [one.outcome for one in whole] == ["open"]


def test_what_is_proved_holds_of_the_weighted_loss(tmp_path: Path) -> None:
    """With α = 1/4, BCE answers to a chance of one half as to one quarter."""
    found = certificate_of(parse(BCE), boxes=5_000, alpha=0.25)
    by_name = {one.name.partition(":")[0]: one for one in found.findings}
    assert found.alpha == Certificate.from_dict(found.to_dict()).alpha == 0.25
    assert by_name["Proper"].outcome == "refuted"
    assert "50% as 25%" in by_name["Proper"].detail
    assert by_name["Slope is bounded"].detail == "≤ 0.75 (comes to 0.75)"
    coupled = parse("Neg(Mul(PY,Log(Softmax(X))))")
    bounds = {one.name: one.detail for one in certificate_of(coupled, boxes=5_000, alpha=0.25).findings}
    assert bounds["Slope is bounded"] == "≤ 0.25 (comes to 0.25)"
    # Of box losses there is no α.
    assert certificate_of(parse("Sub(1,Div(I,U))", "reg"), boxes=500, alpha=0.25).alpha is None

    file = tmp_path / "loss.json"
    file.write_text(json.dumps({"format": 1, "signature": "cls-binary", "formula": BCE, "alpha": 0.25}))
    (certified,) = certify_loss(file)
    assert certified.alpha == 0.25
    exported = json.loads(export_loss(file, tmp_path / "again.json").read_text(encoding="utf-8"))
    assert exported["provenance"]["certificate"]["alpha"] == 0.25
    assert "Proper" not in export_loss(file, tmp_path / "again.py").read_text(encoding="utf-8")
    assert "with α = 0.25" in explain(file).html()


def test_each_of_two_losses_of_a_file_has_its_certificate(tmp_path: Path) -> None:
    """Also beside other facts; a run's own lines are not made anew."""
    file, code = tmp_path / "loss.json", tmp_path / "loss.py"

    def held(**facts: str) -> None:
        halves = {
            slot: {"signature": signature, "formula": formula}
            for slot, signature, formula in (("cls", "cls-binary", BCE), ("reg", "reg", "Sub(1,Div(I,U))"))
        }
        file.write_text(json.dumps({"format": 1, **halves, "provenance": facts}))

    held(task="mine")
    text = export_loss(file, code).read_text(encoding="utf-8")
    assert "cls proved  Never rises with the logit of a positive" in text
    assert "reg proved  Never rises while overlapping boxes" in text
    facts = json.loads(export_loss(file, tmp_path / "again.json").read_text(encoding="utf-8"))["provenance"]
    assert facts["task"] == "mine"
    assert {slot: one["signature"] for slot, one in facts["certificate"].items()} == {
        "cls": "cls-binary",
        "reg": "reg",
    }
    held(**{"cls proved": "what the run proved"})
    assert "reg proved" not in export_loss(file, code).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("one", "other", "signature", "expected"),
    [
        (WRONG[4][0], "Sub(1,Div(I,U))", "reg", "refuted"),
        ("Add(Sub(1,Div(I,U)),Relu(Sub(Div(I,U),2)))", "Sub(1,Div(I,U))", "reg", "proved"),
        (_bce(more="Relu(Neg(Exp(X)))"), BCE, "cls-binary", "proved"),
        (_bce("Div(Q,Q)"), BCE, "cls-binary", "proved"),
        (WRONG[-3][0], BCE, "cls-binary", "refuted"),
        (CROSS_ENTROPY, "Neg(Dot(Mul(Y,Y),Log(Softmax(X))))", "cls-multiclass", "proved"),
        (WRONG[8][0], CROSS_ENTROPY, "cls-multiclass", "refuted"),
    ],
)
def test_sameness_is_proved_or_refuted(one: str, other: str, signature: str, expected: str) -> None:
    assert same_function(parse(one, signature), parse(other, signature)) == expected


def test_bounds_hold_for_every_logit_and_every_number_of_classes() -> None:
    """Slopes by another class's logit that come to e⁸⁸; a loss that with one class comes down to 1."""
    cases = (
        (f"Add({CROSS_ENTROPY},Dot(Sub(1,Y),Exp(X)))", "cls-multiclass"),
        ("Add(Neg(Mul(PY,Log(Softmax(X)))),Mul(NY,Exp(X)))", "cls-binary"),
        (f"Add({CROSS_ENTROPY},Dot(Sub(1,Y),Sub(1,Y)))", "cls-multiclass"),
    )
    first, second, third = (
        {one.name: one for one in certificate_of(parse(*case), boxes=5_000).findings} for case in cases
    )
    assert first["Slope is bounded"].detail.startswith("≤ 1.652e+38")
    assert second["Slope is bounded"].detail.startswith("≤ 1.652e+38")
    assert third["Bounded below"].detail == "≥ 1 (comes to 1)"
    assert third["Bounded below"].domain == "1, 2, 10, 80 and 1000 classes; all logits"
    assert third["Slope is bounded"].domain == "any number of classes; all logits"


def test_certificates_are_plain_data() -> None:
    found = certificate_of(parse(BCE), boxes=2_000)
    assert Certificate.from_dict(json.loads(json.dumps(found.to_dict()))).to_dict() == found.to_dict()


def test_a_signature_of_a_user_is_certified_along_its_walks() -> None:
    signature = Signature("mine", [Input("D", 0.0)], default="Mul(D,D)", walks=[Walk("D", 5.0, 0.0)])
    assert not certificate_of(parse("Mul(D,D)", signature)).refuted
    assert certificate_of(parse("Add(D,Sin(Mul(3,D)))", signature)).refuted
