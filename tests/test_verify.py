"""Verification: right losses pass, and wrong ones are stopped for their right reason."""

from __future__ import annotations

import pytest
import torch

from cse_autoloss.graph import compile_graph
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES, MULTICLASS_ENTRIES
from cse_autoloss.spaces import CLS_BINARY, REG, SIGNATURES, parse
from cse_autoloss.spaces.curves import Look
from cse_autoloss.verification import VerifySettings, fingerprint, verify
from cse_autoloss.verification.grids import probe_grid
from cse_autoloss.verification.judge import judge
from cse_autoloss.verification.node_table import table_of_graph
from cse_autoloss.verification.table_evaluate import TableEvaluator

_FORMULAS = [e for e in (*BINARY_ENTRIES, *MULTICLASS_ENTRIES, *BOX_ENTRIES) if e.formula is not None]


@pytest.mark.parametrize("entry", _FORMULAS, ids=lambda e: e.name)
def test_every_catalogue_loss_passes(entry) -> None:
    verdict = verify(parse(entry.formula, entry.signature.name))
    assert verdict.accepted, str(verdict)
    assert verdict.stage == "verify"
    assert verdict.code == ""
    assert verdict.where == ""


_PT = "Sig(Mul(Sub(PY,NY),X))"
MORE_RIGHT = [
    ("cls-binary", "Exp(Mul(Sub(NY,PY),X))"),
    ("cls-binary", "Softplus(Mul(Sub(NY,PY),X))"),
    ("cls-binary", "Relu(Sub(1,Mul(Sub(PY,NY),X)))"),
    ("cls-binary", "Mul(Sub(PY,Sig(X)),Sub(PY,Sig(X)))"),
    ("cls-binary", "Mul(Sub(Q,Sig(X)),Sub(Q,Sig(X)))"),
    ("cls-binary", "Sub(1,Serf(Mul(Sub(PY,NY),X)))"),
    ("cls-binary", "Neg(Log(Salf(Mul(Sub(PY,NY),X))))"),
    ("cls-binary", "Neg(Log(Sgdf(Mul(Sub(PY,NY),X))))"),
    ("cls-binary", "Neg(Mul(Add(1,Q),Log(" + _PT + ")))"),
    ("cls-multiclass", "Dot(Softplus(Mul(Sub(1,Mul(2,Y)),X)),1)"),
    ("cls-multiclass", "Neg(Mul(Z,Dot(Y,Log(Softmax(X)))))"),
    ("cls-multiclass", "Sub(1,Dot(Y,Softmax(X)))"),
    ("reg", "Sub(1,Div(I,E))"),
    ("reg", "Sub(Add(U,E),Mul(2,I))"),
    ("reg", "Exp(Neg(Div(I,U)))"),
]


@pytest.mark.parametrize(("branch", "formula"), MORE_RIGHT)
def test_other_right_losses_pass(branch: str, formula: str) -> None:
    verdict = verify(parse(formula, branch))
    assert verdict.accepted, str(verdict)


WRONG_BINARY = [
    ("1", "ignores-logit"),
    ("Add(Q,PY)", "ignores-logit"),
    ("Neg(Log(Sig(X)))", "ignores-target"),
    ("Mul(X,X)", "ignores-target"),
    ("Neg(Log(Sig(Mul(Add(PY,NY),X))))", "ignores-target"),
    ("Mul(PY,Sub(X,X))", "constant"),
    ("Mul(Sub(PY,PY),Log(Sig(X)))", "constant"),
    (f"Log({_PT})", "rises-with-logit"),
    ("Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X)))))", "rises-with-logit"),
    ("Add(Neg(Mul(PY,Log(Sig(X)))),Mul(NY,Neg(X)))", "falls-with-logit"),
    ("Neg(Mul(PY,Log(Sig(X))))", "ignores-negatives"),
    ("Mul(NY,Softplus(X))", "ignores-positives"),
    ("Neg(Mul(Q,Log(Sig(X))))", "ignores-negatives"),
    ("Mul(Sub(NY,PY),X)", "gradient-does-not-vanish"),
    ("Neg(Mul(Sub(PY,NY),Softplus(Mul(Sub(PY,NY),X))))", "falls-with-logit"),
    ("Sub(Mul(NY,Softplus(X)),Mul(PY,Softplus(X)))", "gradient-does-not-vanish"),
    ("Div(1,Mul(Sub(PY,NY),X))", "jumps"),
    ("Add(Mul(PY,Div(1,X)),Mul(NY,Softplus(X)))", "jumps"),
    ("Add(Softplus(Mul(Sub(NY,PY),X)),Sqrt(Mul(X,X)))", "rises-with-logit"),
    ("Softplus(Mul(Sub(NY,PY),Mul(X,Sqrt(Abs(X)))))", "not-finite"),
    ("Mul(Sub(NY,PY),Log(X))", "not-finite"),
    ("Mul(Sub(NY,PY),Sqrt(X))", "not-finite"),
    ("Mul(Sub(NY,PY),Sin(X))", "oscillates"),
    ("Mul(Sub(NY,PY),Cos(X))", "oscillates"),
    ("Add(Softplus(Mul(Sub(NY,PY),X)),Mul(2,Sin(X)))", "oscillates"),
    ("Mul(Sub(X,PY),Sub(X,PY))", "rises-with-logit"),
    ("Neg(Mul(Mul(PY,X),X))", "rises-with-logit"),
    ("Abs(Mul(Sub(PY,NY),Sub(X,3)))", "ignores-target"),
    ("Mul(PY,Abs(Sub(X,3)))", "rises-with-logit"),
    ("Neg(Log(Sig(Mul(Sub(PY,NY),Abs(X)))))", "rises-with-logit"),
    ("Mul(Sub(PY,Tanh(X)),Sub(PY,Tanh(X)))", "falls-with-logit"),
    # Right at w = 1; at w < 1 the loss aims at |3w - 2|, at 1/2 for all w, at 0, or has many minima.
    (
        "Mul(Sub(Sig(X),Mul(PY,Abs(Sub(Mul(3,Q),2)))),Sub(Sig(X),Mul(PY,Abs(Sub(Mul(3,Q),2)))))",
        "aim-does-not-rise",
    ),
    (
        "Mul(Sub(Sig(X),Mul(PY,Div(Add(1,Exp(Mul(Sub(Q,1),Exp(Add(3,3))))),2))),"
        "Sub(Sig(X),Mul(PY,Div(Add(1,Exp(Mul(Sub(Q,1),Exp(Add(3,3))))),2))))",
        "aim-does-not-rise",
    ),
    ("Mul(Sub(Sig(X),Relu(Sub(Mul(3,Q),2))),Sub(Sig(X),Relu(Sub(Mul(3,Q),2))))", "aim-not-single"),
    ("Add(Softplus(Mul(Sub(NY,PY),X)),Mul(Mul(PY,Sub(1,Q)),Mul(3,Sin(X))))", "aim-not-single"),
    ("Neg(Mul(PY,Log(Softmax(X))))", "ignores-negatives"),
    ("Log(Softmax(Mul(PY,X)))", "rises-with-logit"),
]  # fmt: skip

_HUGE = "Exp(Exp(3))"
UNRESOLVED = [
    # A needle at a grid point, x = 0: its slope dwarfs all others there and is 0 elsewhere.
    ("cls-binary", f"Add(Softplus(Mul(Sub(NY,PY),X)),Sig(Mul(Mul(Sub(NY,PY),X),{_HUGE})))", "x = 0"),
    ("cls-binary", f"Add(Abs(Sub(PY,Sig(X))),Tanh(Mul(Mul(Sub(NY,PY),X),Mul({_HUGE},{_HUGE}))))", "x = 0"),
    # A stair between two points, which no slope shows.
    (
        "cls-binary",
        f"Add(Softplus(Mul(Sub(NY,PY),X)),Sig(Mul(Mul(Sub(NY,PY),Sub(X,Div(1,3))),{_HUGE})))",
        "between x = 0 and 0.344",
    ),
    (
        "cls-multiclass",
        f"Add(Neg(Dot(Y,Log(Softmax(X)))),Sig(Mul(Dot(X,Sub(Div(1,2),Y)),{_HUGE})))",
        "x = 0",
    ),
    ("reg", f"Sub(Sub(1,Div(I,U)),Sig(Mul(Sub(Div(I,U),Div(1,2)),{_HUGE})))", "between i/u = 0."),
]
RESOLVED = [
    ("cls-binary", "Sig(Mul(Mul(Sub(NY,PY),X),Mul(3,3)))"),
    ("cls-binary", "Relu(Sub(1,Mul(Sub(PY,NY),Mul(X,Mul(3,3)))))"),
    ("cls-binary", "Exp(Mul(Mul(3,2),Mul(Sub(NY,PY),Tanh(X))))"),
    # In float32, tanh is 1 from x = 9 on, and its logarithm has a stair there.
    ("cls-binary", "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Tanh(X))))))"),
    ("reg", "Relu(Sub(1,Div(I,U)))"),
    ("reg", "Exp(Mul(Mul(3,3),Sub(1,Div(I,U))))"),
]


@pytest.mark.parametrize(("branch", "formula", "place"), UNRESOLVED)
def test_what_the_grid_can_not_follow_is_rejected(branch: str, formula: str, place: str) -> None:
    verdict = verify(parse(formula, branch))
    assert not verdict.accepted
    assert verdict.code == "unresolved", str(verdict)
    assert place in verdict.where
    assert verdict.figure is not None
    assert 4 < verdict.figure <= 1e9


@pytest.mark.parametrize(("branch", "formula"), RESOLVED)
def test_kinks_and_steep_losses_are_resolved(branch: str, formula: str) -> None:
    assert verify(parse(formula, branch)).accepted


WRONG_MULTICLASS = [
    ("Z", "ignores-logit"),
    ("Dot(Y,Y)", "ignores-logit"),
    ("Neg(Dot(X,Log(Softmax(X))))", "ignores-target"),
    ("Dot(Softmax(X),Softmax(X))", "ignores-target"),
    ("Dot(Mul(Y,1),Sub(X,X))", "constant"),
    ("Dot(Softmax(X),Add(Y,Sub(1,Y)))", "constant"),
    ("Dot(Y,Log(Softmax(X)))", "rises-with-logit"),
    ("Dot(Y,X)", "rises-with-logit"),
    ("Dot(Y,Softmax(X))", "rises-with-logit"),
    ("Neg(Dot(Y,X))", "ignores-other-classes"),
    ("Dot(Sub(1,Mul(2,Y)),X)", "gradient-does-not-vanish"),
    ("Neg(Dot(Y,Log(Sig(X))))", "ignores-other-classes"),
    ("Neg(Dot(Sub(1,Y),Log(Sub(1,Sig(X)))))", "ignores-positives"),
    ("Dot(Y,Log(X))", "not-finite"),
    ("Sub(Div(1,Dot(Y,X)),Dot(Y,Log(Softmax(X))))", "jumps"),
    ("Dot(Y,Sqrt(X))", "not-finite"),
    ("Dot(Y,Sin(X))", "oscillates"),
    ("Cos(Dot(Y,X))", "oscillates"),
    ("Dot(Sub(X,Y),Sub(X,Y))", "rises-with-logit"),
    ("Dot(Mul(Y,X),X)", "rises-with-logit"),
    ("Neg(Dot(Sub(1,Y),Softplus(X)))", "falls-with-logit"),
    ("Neg(Dot(Sub(1,Y),Log(Softmax(X))))", "rises-with-logit"),
    ("Add(Neg(Dot(Y,Log(Softmax(X)))),Sin(Dot(Y,X)))", "oscillates"),
    ("Dot(Abs(Sub(X,Mul(3,Y))),Y)", "rises-with-logit"),
    ("Sub(Neg(Dot(Y,Log(Softmax(X)))),Dot(X,X))", "rises-with-logit"),
]  # fmt: skip

WRONG_REG = [
    ("1", "ignores-intersection"),
    ("Div(E,U)", "ignores-intersection"),
    ("Sub(E,U)", "ignores-intersection"),
    ("Neg(I)", "ignores-intersection"),
    ("Add(1,Mul(I,Sub(U,U)))", "constant"),
    ("Mul(Div(I,U),Sub(E,E))", "constant"),
    ("Div(I,U)", "rises-towards-target"),
    ("Log(Div(I,U))", "rises-towards-target"),
    ("Div(I,E)", "rises-towards-target"),
    ("Sub(I,U)", "rises-towards-target"),
    ("Add(I,Sub(U,E))", "rises-towards-target"),
    ("Neg(Add(U,I))", "least-elsewhere"),
    ("Add(Sub(1,Div(I,U)),Div(1,I))", "not-finite"),
    ("Sqrt(Sub(1,Div(I,U)))", "not-finite"),
    ("Neg(Sqrt(Div(I,U)))", "not-finite"),
    ("Sqrt(Sub(I,U))", "not-finite"),
    ("Sin(Mul(3,Mul(3,Div(I,U))))", "least-elsewhere"),
    ("Cos(Sub(I,U))", "rises-towards-target"),
    ("Abs(Sub(Div(I,U),Div(1,2)))", "least-elsewhere"),
    ("Mul(Sub(Div(2,3),Div(I,U)),Sub(Div(2,3),Div(I,U)))", "least-elsewhere"),
    ("Abs(Sub(Div(I,U),Abs(Cos(3))))", "least-elsewhere"),
    ("Abs(Sub(Div(I,U),Sub(1,Div(1,Exp(Mul(3,2))))))", "least-elsewhere"),
    ("Relu(Mul(Sub(U,I),Relu(E)))", "rises-towards-target"),
    ("Mul(Sub(U,I),Sub(E,U))", "flat-while-overlapping"),
    ("Relu(Sub(Div(1,2),Div(I,U)))", "flat-while-overlapping"),
    ("Relu(Sub(Div(U,E),Div(I,U)))", "rises-towards-target"),
    ("Sub(U,Mul(Div(1,E),I))", "rises-towards-target"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("branch", "formula", "code"),
    [
        (branch, formula, code)
        for branch, table in (
            ("cls-binary", WRONG_BINARY),
            ("cls-multiclass", WRONG_MULTICLASS),
            ("reg", WRONG_REG),
        )
        for formula, code in table
    ],
)
def test_wrong_losses_are_rejected_for_their_reason(branch: str, formula: str, code: str) -> None:
    verdict = verify(parse(formula, branch))
    assert not verdict.accepted
    assert verdict.code == code, str(verdict)
    assert verdict.reason
    assert verdict.where


def test_each_table_of_wrong_losses_has_twenty() -> None:
    assert min(len(WRONG_BINARY), len(WRONG_MULTICLASS), len(WRONG_REG)) >= 20


def test_reason_names_the_place_in_words() -> None:
    verdict = verify(parse("Abs(Sub(Div(I,U),Div(1,2)))", "reg"))
    assert verdict.code == "least-elsewhere"
    assert "i/u = 0.5" in verdict.reason
    verdict = verify(parse("Add(Softplus(Mul(Sub(NY,PY),X)),Mul(PY,Relu(Sub(X,3))))"))
    assert verdict.code == "rises-with-logit"
    assert "between x = 2.95" in verdict.reason
    assert verdict.where.startswith("y=1, w=1")
    assert verdict.figure is not None
    assert 0 < verdict.figure <= 3


def test_verdict_does_not_depend_on_the_scale_of_the_loss() -> None:
    for formula in ("Mul(Div({},3),Div(1,Exp(3)))", "Mul({},Mul(3,Exp(3)))"):
        scaled = formula.format("Softplus(Mul(Sub(NY,PY),X))")
        assert verify(parse(scaled)).accepted


@pytest.mark.parametrize(
    ("field", "value", "formula"),
    [
        ("vanish_share", 1e-9, "Softplus(Mul(Sub(NY,PY),X))"),
        ("flat", 10.0, "Softplus(Mul(Sub(NY,PY),X))"),
    ],
)
def test_thresholds_are_used(field: str, value: float, formula: str) -> None:
    assert not verify(parse(formula), VerifySettings(**{field: value})).accepted


def test_sign_tolerance_forgives_small_wrong_slopes() -> None:
    graph = parse("Add(Softplus(Mul(Sub(NY,PY),X)),Mul(Mul(PY,Relu(Sub(X,3))),Exp(Neg(Mul(3,2)))))")
    assert verify(graph).code == "rises-with-logit"
    assert verify(graph, VerifySettings(sign_tolerance=0.01)).code == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", _FORMULAS, ids=lambda e: e.name)
def test_slopes_on_the_grid_are_autograds(entry, dtype: torch.dtype) -> None:
    graph = parse(entry.formula, entry.signature.name)
    grid = probe_grid(entry.signature, Look(False, coupled=True), dtype)
    inputs = dict(grid.inputs)
    moving = {name: inputs[name].clone().requires_grad_() for name in grid.tangents}
    _, slope = TableEvaluator(grid).run(table_of_graph(graph))
    value = compile_graph(graph)({**inputs, **moving})
    gradients = torch.autograd.grad(value.sum(), list(moving.values()), allow_unused=True)
    expected = sum(g * t for g, t in zip(gradients, grid.tangents.values(), strict=True) if g is not None)
    wanted = expected.sum(-1) if expected.ndim == 2 else expected
    torch.testing.assert_close(slope[0], wanted.reshape(grid.shape), rtol=1e-4, atol=1e-5)


def test_motions_end_on_the_ground_truth_and_areas_move_as_told() -> None:
    grid = probe_grid(REG, Look(True), torch.float64)
    curves, points = grid.shape
    motions = [k for k, curve in enumerate(grid.curves) if curve.judged]
    assert len(motions) >= 40
    assert torch.allclose(grid.coordinate[motions, -1], torch.ones(len(motions), dtype=torch.float64))
    for name in ("I", "U", "E"):
        area = grid.inputs[name].view(curves, points)[motions]
        rate = grid.tangents[name].view(curves, points)[motions]
        step = area.diff(dim=1) / grid.step[motions]
        # Areas are pieces of parabolas: a step goes at the mean rate of its ends, but at kinks.
        middle = (rate[:, 1:-1] + rate[:, :-2]) / 2
        agrees = (step[:, :-1] - middle).abs() <= 1e-6 * (1 + rate[:, 1:-1].abs())
        assert agrees.double().mean() > 0.9


def test_the_judge_sees_a_fault_at_every_point_of_a_curve() -> None:
    grid = probe_grid(CLS_BINARY, Look(True), torch.float64)
    x = grid.inputs["X"].view(grid.shape)
    towards = x * torch.where(torch.arange(grid.shape[0]) == 1, -1.0, 1.0)[:, None]
    value, slope = torch.nn.functional.softplus(-towards), -torch.sigmoid(-towards)
    batch = slope.repeat(grid.shape[1], 1, 1)
    points = torch.arange(grid.shape[1])
    batch[points, 0, points] = 0.01
    findings = judge(value.expand_as(batch), batch, grid, VerifySettings())
    assert (findings.fault > 0).all()
    assert (findings.first <= points).all()
    assert (findings.last >= points).all()
    clean = judge(value[None], slope[None], grid, VerifySettings())
    assert int(clean.fault[0]) == 0


SAME = [
    ("cls-binary", "Add(Mul(PY,X),Sig(X))", "Add(Sig(X),Mul(X,PY))"),
    ("cls-binary", "Softplus(Mul(Sub(NY,PY),X))", "Neg(Log(Sig(Mul(Sub(PY,NY),X))))"),
    ("cls-binary", "Sub(1,Sig(X))", "Add(3,Sig(Neg(X)))"),
    ("cls-multiclass", "Neg(Dot(Y,Log(Softmax(X))))", "Sub(2,Dot(Log(Softmax(X)),Y))"),
    ("reg", "Sub(1,Div(I,U))", "Div(Sub(U,I),U)"),
]
DIFFERENT = [
    ("cls-binary", "Softplus(X)", "Mul(2,Softplus(X))"),
    ("cls-binary", "Neg(Mul(PY,Log(Sig(X))))", "Neg(Mul(Q,Log(Sig(X))))"),
    ("reg", "Sub(1,Div(I,U))", "Sub(1,Div(I,E))"),
]


@pytest.mark.parametrize(("branch", "one", "other"), SAME)
def test_equal_gradients_have_one_fingerprint(branch: str, one: str, other: str) -> None:
    assert fingerprint(parse(one, branch)) == fingerprint(parse(other, branch))


@pytest.mark.parametrize(("branch", "one", "other"), DIFFERENT)
def test_other_gradients_have_another_fingerprint(branch: str, one: str, other: str) -> None:
    assert fingerprint(parse(one, branch)) != fingerprint(parse(other, branch))


def test_catalogue_fingerprints_differ() -> None:
    marks = {fingerprint(parse(e.formula, e.signature.name)) for e in _FORMULAS}
    assert len(marks) == len(_FORMULAS)


def test_boxes_are_looked_at_on_the_range_of_sides_that_is_told() -> None:
    for pixels in ((0.5, 2000.0), (6.0, 50.0)):
        grid = probe_grid(REG, Look(True, pixels=pixels), torch.float64)
        judged = [k for k, curve in enumerate(grid.curves) if curve.judged]
        areas = grid.inputs["U"].view(grid.shape)[judged, -1]
        assert float(areas.min()) == pytest.approx(pixels[0] ** 2, rel=1e-5)
        assert float(areas.max()) == pytest.approx(pixels[1] ** 2, rel=1e-5)
    of_squared_pixels = parse("Add(Sub(1,Div(I,U)),Relu(Sub(1,Div(U,2))))", "reg")
    assert not verify(of_squared_pixels)
    assert verify(of_squared_pixels, VerifySettings(pixels=(6.0, 50.0)))


def test_the_seed_moves_the_points_and_decides_them() -> None:
    for signature in SIGNATURES.values():
        one, again, other = (
            probe_grid.__wrapped__(signature, Look(True, seed=seed), torch.float64) for seed in (3, 3, 4)
        )
        for name in one.tangents:
            assert torch.equal(one.inputs[name], again.inputs[name])
            assert not torch.equal(one.inputs[name], other.inputs[name])
            assert torch.isfinite(one.inputs[name]).all()
        assert float(one.step.min()) > 0


def _whole(n: int) -> str:
    """A whole number as a formula of 1, 2 and 3."""
    if n <= 3:
        return str(n)
    factor = next((f for f in (3, 2) if n % f == 0), None)
    return f"Mul({factor},{_whole(n // factor)})" if factor else f"Add(1,{_whole(n - 1)})"


_BCE = "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))"
_CE = "Neg(Dot(Y,Log(Softmax(X))))"
TURNED = [
    # Positives times Q − 1/n push the logit down at w < 1/n.
    *(
        ("cls-binary", f"Mul(Add(Mul(PY,Sub(Q,Div(1,{_whole(n)}))),NY),Softplus(Mul(Sub(NY,PY),X)))")
        for n in (3, 5, 9, 20, 40)
    ),
    *(("cls-binary", f"Add(Mul(Sub(Q,Div(1,{_whole(n)})),Neg(Log(Sig(X)))),Mul(NY,Softplus(X)))") for n in (4, 9, 30)),
    # BCE and a wave that even points of its period do not see; π is 355/113.
    *(
        (
            "cls-binary",
            f"Add({_BCE},Mul(Mul(Sig(X),Sub(1,Sig(X))),{wave}(Mul(Div({_whole(355 * n)},{_whole(113)}),X))))",
        )
        for n in (2, 4, 8, 16, 24)
        for wave in ("Cos", "Sin")
    ),
    # Coincidence of large, of middling and of small boxes is punished.
    *(
        ("reg", f"Add(Sub(1,Div(I,U)),Relu(Sub(Div(I,Exp({_whole(n)})),1)))")
        for n in (1, 3, 6, 9, 12)
    ),
    *(("reg", f"Add(Sub(1,Div(I,E)),Relu(Sub(1,Div(U,{area}))))") for area in ("2", "3", "Exp(3)", "Exp(Mul(3,3))")),
    # Cross-entropy that the number of classes turns.
    *(("cls-multiclass", f"Mul({_CE},Sub({_whole(n)},Dot(Sub(1,Y),Sub(1,Y))))") for n in (2, 3, 4, 9, 20, 79)),
    *(("cls-multiclass", f"Mul({_CE},Sub(Dot(Sub(1,Y),Sub(1,Y)),Div({_whole(n)},2)))") for n in (3, 9, 19)),
]  # fmt: skip


@pytest.mark.parametrize(("branch", "formula"), TURNED)
def test_losses_that_turn_where_few_look_are_rejected(branch: str, formula: str) -> None:
    graph = parse(formula, branch)
    for seed in range(3):
        assert not verify(graph, VerifySettings(seed=seed)).accepted


@pytest.mark.parametrize("entry", _FORMULAS, ids=lambda e: e.name)
def test_no_seed_rejects_a_catalogue_loss(entry) -> None:
    graph = parse(entry.formula, entry.signature.name)
    verdicts = [verify(graph, VerifySettings(seed=seed)) for seed in range(3, 6)]
    assert [str(v) for v in verdicts if not v.accepted] == []


def test_a_verdict_says_how_many_points_were_looked_at() -> None:
    for formula, branch in ((_BCE, "cls-binary"), (_CE, "cls-multiclass"), ("Sub(1,Div(I,U))", "reg")):
        reason = verify(parse(formula, branch)).reason
        assert "points looked at" in reason
        assert "every" not in reason
    assert "0.5 to 2000 px" in reason


@pytest.mark.parametrize(
    ("branch", "one", "other"),
    [
        ("cls-binary", _BCE, f"Add({_BCE},Mul(Sub(1,Sig(X)),Sin(Mul(Div({_whole(2840)},{_whole(113)}),X))))"),
        ("reg", "Sub(1,Div(I,U))", "Add(Sub(1,Div(I,U)),Relu(Sub(Div(I,Exp(Mul(3,3))),1)))"),
        ("cls-binary", _BCE, f"Add({_BCE},Relu(Sub(Mul(PY,X),Mul(3,3))))"),
    ],
)  # fmt: skip
def test_fingerprints_look_elsewhere(branch: str, one: str, other: str) -> None:
    assert fingerprint(parse(one, branch)) != fingerprint(parse(other, branch))
