"""Simulation: what learns on ten small images goes on; what diverges or does not learn is stopped, and
told why."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from cse_autoloss.convergence import SimulateSettings, SimulationData, Simulator
from cse_autoloss.convergence.small_model import detection_score, make_targets, paired_iou
from cse_autoloss.errors import AutoLossError
from cse_autoloss.spaces import parse

CLASSES = 5


def _data() -> SimulationData:
    """One digit of each of five classes on a canvas of 32x32 pixels, and one image with a second, padded
    row."""
    digits = load_digits()
    images, boxes, labels = [], [], []
    for category in range(CLASSES):
        glyph = torch.tensor(digits.images[digits.target == category][0] / 16).float()
        big = torch.nn.functional.interpolate(glyph[None, None], size=(20, 20), mode="bilinear")[0, 0]
        canvas = torch.zeros(32, 32)
        x, y = 2 + 2 * category, 10 - 2 * category
        canvas[y : y + 20, x : x + 20] = big
        images.append((canvas * 255).to(torch.uint8)[None])
        boxes.append(torch.tensor([[x, y, x + 20.0, y + 20.0], [0.0, 0.0, 0.0, 0.0]]))
        labels.append(torch.tensor([category, -1]))
    return SimulationData(torch.stack(images), torch.stack(boxes), torch.stack(labels))


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulateSettings(steps=60, width=16), _data())


BCE = "Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))"


def test_targets_give_cells_to_their_objects() -> None:
    targets = make_targets(_data())
    assert targets.num_classes == CLASSES
    assert targets.points.shape == (16, 2)
    assert targets.labels.shape == (CLASSES * 16,)
    assert set(targets.labels[targets.positive].tolist()) == set(range(CLASSES))
    assert (targets.labels == CLASSES).sum() + len(targets.positive) == len(targets.labels)
    points = targets.points.repeat(CLASSES, 1)[targets.positive]
    assert (points > targets.boxes[:, :2]).all()
    assert (points < targets.boxes[:, 2:]).all()
    assert targets.images.mean().abs() < 1e-5


def test_smaller_box_wins_a_cell_and_crop_is_whole_cells() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 24.0, 24.0], [6.0, 6.0, 18.0, 18.0]]])
    data = SimulationData(torch.rand(1, 3, 35, 30), boxes, torch.tensor([[0, 1]]))
    targets = make_targets(data)
    assert targets.images.shape == (1, 3, 32, 24)
    middle = int(((targets.points - 12).abs().sum(1)).argmin())
    assert int(targets.labels[middle]) == 1


def test_score_is_1_for_the_truth_and_falls_with_each_fault() -> None:
    targets = make_targets(_data())
    scores = torch.zeros(len(targets.labels), CLASSES)
    scores[targets.positive, targets.labels[targets.positive]] = 1.0
    perfect = torch.ones(len(targets.positive))
    assert detection_score(scores, perfect, targets) == pytest.approx(1.0)
    assert detection_score(scores, perfect / 2, targets) == pytest.approx(0.25)
    assert detection_score(-scores, perfect, targets) < 0.2
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert float(paired_iou(box, box + torch.tensor([1.0, 0.0, 1.0, 0.0]))) == pytest.approx(1 / 3)


def test_default_losses_learn(simulator: Simulator) -> None:
    assert simulator.default_score("cls-binary") > 0.4
    assert simulator.default_score("cls-binary", scored="reg") > 0.25
    assert simulator.default_score("cls-multiclass") > 0.4


@pytest.mark.parametrize(
    ("cls", "reg"),
    [
        (BCE, None),
        ("Mul(2,Softplus(Mul(Sub(NY,PY),X)))", None),
        (None, "Sub(1,Div(I,U))"),
        (None, "Neg(Log(Div(I,U)))"),
        (BCE, "Sub(1,Div(I,U))"),
    ],
)
def test_good_losses_are_accepted(simulator: Simulator, cls: str | None, reg: str | None) -> None:
    verdict = simulator.run(cls and parse(cls), reg and parse(reg, "reg"))
    assert verdict.accepted, str(verdict)
    assert verdict.stage == "simulate"
    assert verdict.figure is not None
    assert verdict.figure > 0.5
    assert verdict.seconds > 0


def test_multiclass_losses_are_tried_on_their_own_heads(simulator: Simulator) -> None:
    good = simulator.run(parse("Neg(Dot(Y,Log(Softmax(X))))", "cls-multiclass"), None)
    assert good.accepted
    assert good.figure == pytest.approx(1.0)
    assert not simulator.run(parse("Dot(Y,Log(Softmax(X)))", "cls-multiclass"), None).accepted


@pytest.mark.parametrize(
    ("cls", "reg", "code"),
    [
        ("Mul(PY,Sub(X,X))", None, "does-not-learn"),
        ("1", None, "does-not-learn"),
        ("Neg(Mul(PY,Log(Sig(X))))", None, "does-not-learn"),
        (f"Neg({BCE})", None, "does-not-learn"),
        ("Mul(PY,Log(X))", None, "diverged"),
        ("Add(Mul(PY,Div(1,Sub(X,X))),Mul(NY,X))", None, "diverged"),
        (None, "Sqrt(Neg(Div(I,U)))", "diverged"),
        (None, "Div(I,U)", "does-not-learn"),
        (None, "1", "does-not-learn"),
    ],
)
def test_bad_losses_are_stopped_with_their_reason(
    simulator: Simulator, cls: str | None, reg: str | None, code: str
) -> None:
    verdict = simulator.run(cls and parse(cls), reg and parse(reg, "reg"))
    assert not verdict.accepted
    assert verdict.code == code, str(verdict)
    assert verdict.where.startswith("step")
    if code == "does-not-learn":
        assert verdict.figure is not None
        assert verdict.figure < simulator.settings.share
    else:
        assert verdict.figure is None


def test_same_seed_gives_the_same_figure_whatever_ran_before(simulator: Simulator) -> None:
    first = simulator.score(parse(BCE), None)
    torch.manual_seed(123)
    torch.rand(5)
    other = Simulator(simulator.settings, _data())
    assert other.score(parse(BCE), None) == first
    state = torch.get_rng_state()
    simulator.score(parse(BCE), None)
    assert torch.equal(state, torch.get_rng_state())


def test_alpha_weights_the_classification_loss(simulator: Simulator) -> None:
    plain, _ = simulator.score(parse(BCE), None)
    weighted, _ = simulator.score(parse(BCE), None, alpha=0.25)
    assert plain != weighted


def test_mistakes_are_told() -> None:
    with pytest.raises(AutoLossError, match=r"simulate: expected steps"):
        SimulateSettings(steps=0)
    with pytest.raises(AutoLossError, match=r"simulate\.share"):
        SimulateSettings(share=-1.0)
    empty = SimulationData(torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 4), torch.full((1, 1), -1), 2)
    with pytest.raises(AutoLossError, match="no object"):
        Simulator(SimulateSettings(), empty)
    simulator = Simulator(SimulateSettings(steps=1), _data())
    with pytest.raises(AutoLossError, match="stand in each other's place"):
        simulator.run(parse("1", "reg"), None)
    with pytest.raises(AutoLossError, match="stand in each other's place"):
        simulator.run(None, parse("X"))
