"""Simulation: what learns on ten small images goes on; what diverges or does not learn is stopped, and
told why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits

from cse_autoloss.errors import AutoLossError
from cse_autoloss.simulation import SimulateSettings, SimulationData, Simulator
from cse_autoloss.simulation.small_model import (
    Cells,
    choose_cells,
    detection_score,
    make_targets,
    paired_iou,
)
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
    cells = choose_cells(targets, torch.zeros(len(targets.labels), 1), background=1000, seed=0)
    perfect = torch.ones(1, len(cells.boxes))
    scores = _truth(cells)
    assert float(detection_score(scores, perfect, cells)) == pytest.approx(1.0)
    assert float(detection_score(scores, perfect / 2, cells)) == pytest.approx(0.25)
    assert float(detection_score(-scores, perfect, cells)) < 0.2
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert float(paired_iou(box, box + torch.tensor([1.0, 0.0, 1.0, 0.0]))) == pytest.approx(1 / 3)


def _truth(cells: Cells) -> torch.Tensor:
    scores = torch.zeros(1, len(cells.labels), CLASSES)
    positive = torch.arange(len(cells.boxes))
    scores[0, positive, cells.labels[positive]] = 1.0
    return scores


def test_cells_that_are_kept_stand_for_those_that_are_not() -> None:
    targets = make_targets(_data())
    cells = choose_cells(targets, torch.rand(len(targets.labels), 3), background=7, seed=1)
    count = len(targets.positive)
    assert cells.positives == count
    assert len(cells.labels) % 32 == len(cells.boxes) % 32 == 0
    assert (cells.weight > 0).sum() == count + 7
    assert float(cells.weight.sum()) == pytest.approx(len(targets.labels))
    assert (cells.labels[:count] == targets.labels[targets.positive]).all()
    assert (cells.labels[len(cells.boxes) :] == CLASSES).all()
    # A wrong detection on a cell that stands for many costs as much as those would.
    scores = _truth(cells)
    scores[0, len(cells.boxes), 0] = 2.0
    wrong = float(cells.weight[len(cells.boxes)])
    expected = sum(k / (k + wrong) for k in range(1, count + 1)) / count
    found = detection_score(scores, torch.ones(1, len(cells.boxes)), cells)
    assert float(found) == pytest.approx(expected)


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
    with pytest.raises(AutoLossError, match=r"SimulateSettings: steps: expected a number of at least 1"):
        SimulateSettings(steps=0)
    with pytest.raises(AutoLossError, match=r"SimulateSettings: share"):
        SimulateSettings(share=-1.0)
    empty = SimulationData(torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 4), torch.full((1, 1), -1), 2)
    with pytest.raises(AutoLossError, match="no object"):
        Simulator(SimulateSettings(), empty)
    simulator = Simulator(SimulateSettings(steps=1), _data())
    with pytest.raises(AutoLossError, match="stand in each other's place"):
        simulator.run(parse("1", "reg"), None)
    with pytest.raises(AutoLossError, match="stand in each other's place"):
        simulator.run(None, parse("X"))


MIXED = (
    BCE,
    "Mul(PY,Log(X))",
    "Mul(2,Softplus(Mul(Sub(NY,PY),X)))",
    "Add(Mul(PY,Div(1,Sub(X,X))),Mul(NY,X))",
    "1",
    "Neg(Mul(PY,Log(Softmax(X))))",
)


def test_a_batch_gives_the_verdicts_of_single_runs_beside_diverging_losses(simulator: Simulator) -> None:
    graphs = [parse(f) for f in MIXED]
    graphs += [parse("Neg(Dot(Y,Log(Softmax(X))))", "cls-multiclass")]
    graphs += [parse(f, "reg") for f in ("Sub(1,Div(I,U))", "Sqrt(Neg(Div(I,U)))", "Div(E,I)", "1")]
    batch = simulator.run_batch(graphs)
    codes = set()
    for graph, verdict in zip(graphs, batch, strict=True):
        alone = simulator.run(*((None, graph) if graph.branch == "reg" else (graph, None)))
        assert replace(verdict, seconds=0.0) == replace(alone, seconds=0.0), graph.formula
        codes.add(verdict.code)
    assert codes == {"", "diverged", "does-not-learn"}
    assert simulator.run_batch([]) == []


def test_more_candidates_than_fit_side_by_side(simulator: Simulator) -> None:
    graphs = [parse(f) for f in MIXED[:3]] * 25
    verdicts = simulator.run_batch(graphs, alpha=0.25)
    assert [v.figure for v in verdicts] == [v.figure for v in verdicts[:3]] * 25
    assert verdicts[0].figure == simulator.run(graphs[0], None, alpha=0.25).figure
    assert verdicts[0].figure != simulator.run(graphs[0], None).figure


def test_many_cells_make_smaller_blocks_with_the_same_verdicts(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = [parse(f) for f in MIXED]
    whole = simulator.run_batch(graphs)
    sizes = []
    train = Simulator._scores

    def spy(self: Simulator, branch: str, scored: str, pairs: list, alpha: float | None) -> list:
        sizes.append(len(pairs))
        return train(self, branch, scored, pairs, alpha)  # type: ignore[arg-type]

    monkeypatch.setattr(Simulator, "_scores", spy)
    monkeypatch.setattr("cse_autoloss.simulation.simulator._BLOCK_NUMBERS", 1000)
    parts = simulator.run_batch(graphs)
    assert sizes == [1] * len(graphs)
    assert [v.figure for v in parts] == [v.figure for v in whole]
