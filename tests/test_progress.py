"""Losses that change with the progress of the training: `spaces: extended`."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cse_autoloss as cal
from cse_autoloss.certify.certificate import certificate_of
from cse_autoloss.certify.equal import same_function
from cse_autoloss.errors import ConfigError, DataError, FormulaError
from cse_autoloss.losses import CATALOGUE, GraphLoss, nearest
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.searches.evolution.genome import PrimitiveSet, fade, seeded
from cse_autoloss.searches.parametric import space_slot
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.spaces import CLS_MULTICLASS, parse, plain_of, signature_of
from cse_autoloss.spaces.progress import BY_PROGRESS
from cse_autoloss.spaces.signatures import takes
from cse_autoloss.surrogate import slope_features
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.verification import fingerprint, shortened

BINARY, MULTICLASS, BOXES = "cls-binary-progress", "cls-multiclass-progress", "reg-progress"
FADING = "Sub(Mul(NY,Mul(Sig(X),Sig(X))),Mul(PY,Mul(Add(Mul(T,Q),Sub(1,T)),Log(Sig(X)))))"
"""At the beginning all positives count alike, at the end by the IoU of their boxes."""
EASING = "Neg(Dot(Y,Mul(Sub(2,T),Log(Softmax(X)))))"
TIGHTENING = "Sub(1,Exp(Mul(Add(1,T),Log(Div(I,U)))))"
"""From 1 − IoU to 1 − IoU²."""
LOSSES = [(FADING, BINARY), (EASING, MULTICLASS), (TIGHTENING, BOXES)]
HEADS = LOSSES[:2]
SMALL = {"canvas": 32, "digits": [1, 2], "size": [12, 20], "counts": [48, 24, 24]}


def batch(signature: str, count: int = 40) -> tuple[torch.Tensor, ...]:
    extra = signature == MULTICLASS
    generator = torch.Generator().manual_seed(1)
    if signature == BOXES:
        low = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 20
        target = torch.cat((low, low + 10), -1)
        return target + torch.randn(count, 4, generator=generator, dtype=torch.float64), target
    logits = torch.randn(count, 5 + extra, generator=generator, dtype=torch.float64)
    return logits, torch.arange(count) % 6, torch.rand(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
@pytest.mark.parametrize("share", [0.0, 0.37, 1.0])
def test_is_the_formula_with_a_number_for_t(formula: str, signature: str, share: float) -> None:
    loss = cal.load_loss(formula, signature)
    given, number = batch(signature), "Div(37,100)" if share == 0.37 else str(int(share))
    loss.set_progress(share)
    values = loss(*given)
    # 37/100 of whole numbers that the operators know: 1, 2 and 3.
    thirty_seven = "Add(1,Mul(3,Mul(3,Add(2,2))))"
    hundred = "Mul(Add(3,2),Mul(Add(3,2),Add(2,2)))"
    text = {"Div(37,100)": f"Div({thirty_seven},{hundred})", "0": "Sub(1,1)", "1": "1"}[number]
    plain = cal.load_loss(formula.replace("T", text), plain_of(signature_of(signature)))
    torch.testing.assert_close(values, plain(*given), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss(*given, share), values)
    torch.testing.assert_close(loss(*given, progress=torch.tensor(share)), values)


@pytest.mark.parametrize(("formula", "signature"), HEADS)
def test_fused_and_plain_forms_agree_with_both_derivatives(formula: str, signature: str) -> None:
    loss = cal.load_loss(formula, signature, "sum")
    logits, target, iou = batch(signature, 6)
    logits.requires_grad_()
    loss.set_progress(0.4)
    results = []
    for fused in (True, False):
        loss.fused = fused
        value = loss(logits, target, iou)
        (slope,) = torch.autograd.grad(value, logits, create_graph=True)
        (bend,) = torch.autograd.grad(slope.square().sum(), logits)
        results.append((value.detach(), slope.detach(), bend))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    # A backward that comes when the training has gone on is that of then.
    loss.fused = True
    value = loss(logits, target, iou)
    loss.set_progress(1.0)
    (slope,) = torch.autograd.grad(value, logits, create_graph=True)
    torch.testing.assert_close(slope.detach(), results[0][1])


@pytest.mark.parametrize("name", [e.name for e in CATALOGUE.values() if e.signature.name in BY_PROGRESS])
def test_what_reads_no_progress_is_the_papers_loss(name: str) -> None:
    loss = cal.load_loss(name, alpha=None)
    if not isinstance(loss, GraphLoss):
        pytest.skip("no expression")
    longer = BY_PROGRESS[loss.signature.name]
    graph = parse(loss.formula, longer)
    assert cal.verify(graph).accepted == cal.verify(loss.graph).accepted
    assert takes(longer, loss.signature.name)
    assert not takes(loss.signature, longer.name)
    assert isinstance(cal.load_loss(name, longer), GraphLoss), "a slot of it takes the catalogue's losses"
    same = cal.load_loss(loss.formula, longer)
    given = batch(longer.name)
    torch.testing.assert_close(same(*given), loss(*given))
    torch.testing.assert_close(same(*given), loss(*given, 0.2))


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_a_right_loss_is_verified_and_proved_all_through_the_training(formula: str, signature: str) -> None:
    graph = parse(formula, signature)
    assert cal.verify(graph).accepted
    found = certificate_of(graph)
    required = [one for one in found.findings if one.required]
    assert required
    allowed = (
        {"proved", "open"} if signature == BOXES else {"proved"}
    )  # four sides and a power are too much for bisection
    assert {one.outcome for one in required} <= allowed, [str(one) for one in required]
    assert "t in [0, 1]" in required[0].domain or "all through the training" in required[0].domain


@pytest.mark.parametrize("when", ["T", "Sub(1,T)"])
def test_wrong_at_one_end_alone_is_wrong(when: str) -> None:
    text = f"Neg(Add(Mul(PY,Mul(Sub(1,Mul(2,{when})),Log(Sig(X)))),Mul(NY,Log(Sub(1,Sig(X))))))"
    graph = parse(text, BINARY)
    verdict = cal.verify(graph)
    assert not verdict.accepted
    assert "t=" in verdict.where
    found = certificate_of(graph)
    assert found.refuted
    (wrong, *_) = found.of("refuted")
    assert wrong.witness is not None
    assert "t" in wrong.witness


def test_parts_that_do_nothing_at_any_time_are_cut_and_others_are_not() -> None:
    idle = parse(FADING.replace("Mul(T,Q)", "Mul(T,Mul(1,Q))"), BINARY)
    assert shortened(idle, load_config().looking).formula.count("1,") < idle.formula.count("1,")
    own, plain = parse(FADING, BINARY), parse(FADING.replace("Add(Mul(T,Q),Sub(1,T))", "Q"), BINARY)
    assert same_function(own, plain) == "refuted"
    assert fingerprint(own) != fingerprint(plain)
    assert slope_features([own, plain]).shape[0] == 2


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_export_stands_by_itself(formula: str, signature: str, tmp_path: object) -> None:
    path = cal.export_loss(formula, f"{tmp_path}/loss.py", signature=signature)
    space: dict[str, object] = {}
    exec(Path(str(path)).read_text(), space)
    own, loss = space["DiscoveredLoss"](), cal.load_loss(formula, signature)  # type: ignore[operator]
    given = [one.float() if one.is_floating_point() else one for one in batch(signature)]
    torch.testing.assert_close(own(*given), loss(*given))
    for share in (0.0, 0.6, 1.0):
        own.set_progress(share)
        loss.set_progress(share)
        torch.testing.assert_close(own(*given), loss(*given))
    kept = cal.load_loss(cal.export_loss(formula, f"{tmp_path}/loss.json", signature=signature))
    assert kept.signature == signature_of(signature)
    copied = pickle.loads(pickle.dumps(loss))
    copied.set_progress(0.6)
    loss.set_progress(0.6)
    torch.testing.assert_close(copied(*given), loss(*given))


def test_compiled_it_follows_the_training() -> None:
    loss = cal.load_loss(FADING, BINARY)
    compiled = torch.compile(loss, backend="eager")
    given = batch(BINARY)
    for share in (0.1, 0.5, 0.9):
        loss.set_progress(share)
        torch.testing.assert_close(compiled(*given), loss(*given))


def test_a_formula_with_t_tells_its_signature() -> None:
    assert cal.load_loss(FADING).signature.name == BINARY
    assert cal.load_loss(EASING).signature.name == MULTICLASS
    assert cal.load_loss(TIGHTENING).signature.name == BOXES
    assert cal.load_loss(FADING.replace("Add(Mul(T,Q),Sub(1,T))", "Q")).signature.name == "cls-binary"


@pytest.mark.parametrize("progress", [1.5, -0.1, True, "half", torch.zeros(3)])
def test_progress_that_is_none(progress: object) -> None:
    loss = cal.load_loss(FADING, BINARY)
    with pytest.raises(DataError, match="progress must be"):
        loss(*batch(BINARY), progress)


def test_the_papers_signature_knows_no_progress() -> None:
    with pytest.raises(FormulaError, match="T"):
        cal.load_loss(FADING, "cls-binary")


def test_the_simulation_moves_on() -> None:
    settings = DetectionSettings.model_validate({"data": "digits", "scenes": SMALL})
    simulator = DetectionTask(settings).simulation(load_config().simulate)
    texts = ["Sub(Mul(NY,Mul(Sig(X),Sig(X))),Mul(PY,Log(Sig(X))))", FADING]
    plain, fading = simulator.run_batch([parse(text, BINARY) for text in texts])
    (papers,) = simulator.run_batch([parse(texts[0], "cls-binary")])
    assert plain.figure == papers.figure
    texts = ["Sub(1,Div(I,U))", TIGHTENING]
    box, tightening = simulator.run_batch([parse(text, BOXES) for text in texts])
    (papers,) = simulator.run_batch([parse(texts[0], "reg")])
    assert box.figure == papers.figure
    assert tightening.accepted
    assert tightening.figure != box.figure
    assert plain.accepted
    assert fading.accepted
    assert fading.figure != plain.figure


def test_a_training_tells_its_loss_how_far_it_is() -> None:
    settings = DetectionSettings.model_validate({"data": "digits", "scenes": SMALL, "spaces": "extended"})
    task = DetectionTask(settings)
    assert task.slots["cls"].name == BINARY
    assert task.slots["reg"].name == BOXES
    told: list[float] = []

    class Told(GraphLoss):
        def set_progress(self, share: float) -> None:
            told.append(share)
            super().set_progress(share)

    losses = {"cls": Told(parse(FADING, BINARY), "sum"), "reg": cal.load_loss("giou", reduction="sum")}
    score = task.train(losses, seed=0, schedule=Schedule(epochs=2), settings={}, split="val")
    assert score.status == "ok"
    assert told == [step / 6 for step in range(6)]


def test_classification_too() -> None:
    task = ClassificationTask(ClassificationSettings(spaces="extended"))
    assert task.slots["loss"].name == MULTICLASS
    assert ClassificationTask(ClassificationSettings()).slots["loss"] == CLS_MULTICLASS


def test_a_search_in_extended_spaces(tmp_path: object) -> None:
    result = cal.evolve(
        config="smoke",
        out=f"{tmp_path}/run",
        generations=2,
        detection__spaces="extended",
        seed_losses=[FADING, TIGHTENING],
    )
    assert result.summary["slots"]["cls"] == BINARY
    again = result.load("cls")
    assert result.load("reg").signature.name in (BOXES, "reg")
    assert again.signature.name in (BINARY, "cls-binary")
    assert result.summary["slots"]["reg"] == BOXES
    _, shown = cal.compare_losses(
        [str(result.directory), f"fading={FADING}+giou", "focal"],
        seeds=2,
        config="smoke",
        overrides={"audit.epochs": 1},  # the spaces widen by themselves
        tune=False,
        out=f"{tmp_path}/compared",
    )
    assert len(shown.standings) == 3


@pytest.mark.parametrize("signature", [BINARY, MULTICLASS, BOXES])
def test_parts_fade(signature: str) -> None:
    primitives = PrimitiveSet.of(signature_of(signature))
    names = {
        BINARY: ["bce", "quality-hill", "quality-focal"],
        MULTICLASS: ["cross-entropy", "softmax-focal"],
        BOXES: ["iou", "giou", "square-iou"],
    }[signature]
    parents = [
        primitives.to_tree(parse(cal.load_loss(name, alpha=None).formula, signature)) for name in names
    ]

    def bred() -> list[str]:
        made = []
        with seeded(3):
            for number in range(60):
                child = fade(parents[number % len(parents)], parents[(number + 1) % len(parents)], primitives)
                with contextlib.suppress(FormulaError):  # a distribution over classes of what has none
                    made.append(primitives.to_graph(child).formula)
        return made

    found = bred()
    assert found == bred()
    assert len(set(found)) > 15
    assert all("T" in formula for formula in found)
    right = [formula for formula in found if cal.verify(formula, signature=signature).accepted]
    assert len(right) > 8
    few = ["Sub", "Div"] if signature == BOXES else ["Neg", "Log", "Softmax", "Dot", "Sig", "Mul"]
    assert primitives.fades
    assert not PrimitiveSet.of(plain_of(signature_of(signature))).fades
    assert not PrimitiveSet.of(signature_of(signature), few).fades


@given(st.floats(0, 1))
def test_any_share_is_right(share: float) -> None:
    loss = cal.load_loss(FADING, BINARY)
    logits = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    (rising,) = torch.autograd.grad(loss(logits, torch.tensor([0]), torch.tensor([0.5]), share), logits)
    assert rising.item() < 0


def test_spaces_is_a_setting() -> None:
    assert load_config(None, {"detection.spaces": "extended"}).own.spaces == "extended"
    with pytest.raises(ConfigError, match="spaces"):
        load_config(None, {"detection.spaces": "extensive"})


def test_parametric_spaces_fit_extended_slots() -> None:
    config = load_config(
        None,
        {
            "detection.spaces": "extended",
            "search": "cma",
            "reinforce.space": "ap",
            "detection.data": "digits",
        },
    )
    slots = DetectionTask(config.own).slots
    assert list(space_slot(config, slots, make_space("ap"))) == ["cls"]


def test_what_becomes_a_known_loss_is_none() -> None:
    assert [str(one) for one in cal.find_alike("Sub(1,Mul(Div(I,U),Div(I,U)))", BOXES)] == [
        "this is squared IoU loss (1 − IoU²)"
    ]
    assert cal.find_alike(TIGHTENING, BOXES) == []
    entry, cosine = nearest(TIGHTENING, BOXES) or (None, 0.0)
    assert entry is not None
    assert 0.9 < cosine < 1
    assert [one.entry.name for one in cal.find_alike("Mul(Add(T,1),Sub(1,Div(I,U)))", BOXES)] == []
    idle = cal.find_alike("Add(Mul(T,Sub(1,Div(I,U))),Mul(Sub(1,T),Sub(1,Div(I,U))))", BOXES)
    assert [one.entry.name for one in idle] == ["iou"]
