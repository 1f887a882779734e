"""Losses that read the class's frequency, the box's chance and its size: `spaces: wide`."""

from __future__ import annotations

import contextlib
import pickle
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cse_autoloss as cal
from cse_autoloss.certify.certificate import certificate_of
from cse_autoloss.certify.equal import same_function
from cse_autoloss.detectors.assign import IGNORED
from cse_autoloss.detectors.one_stage import OneStageDetector
from cse_autoloss.detectors.two_stage import TwoStageDetector
from cse_autoloss.errors import ConfigError, DataError, FormulaError, UnknownNameError
from cse_autoloss.explain.curves import panels
from cse_autoloss.losses import GraphLoss
from cse_autoloss.searches.evolution.genome import PrimitiveSet, fade, seeded
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.settings.tasks.segmentation import SegmentationSettings
from cse_autoloss.spaces import REG, parse, plain_of, signature_of
from cse_autoloss.spaces.progress import BY_PROGRESS
from cse_autoloss.spaces.signatures import takes
from cse_autoloss.spaces.standing import standing_of
from cse_autoloss.spaces.wide import BY_WIDE, box_size
from cse_autoloss.surrogate.memory import Remembered, remembered
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.segmentation import SegmentationTask
from cse_autoloss.training.loop import TrainingRun, watched
from cse_autoloss.training.stacked import advance_together
from cse_autoloss.verification import fingerprint

BINARY, MULTICLASS, BOXES = "cls-binary-wide", "cls-multiclass-wide", "reg-wide"
RARE = "Sub(Mul(NY,Mul(Sig(X),Sig(X))),Mul(PY,Mul(Sub(2,F),Log(Sig(X)))))"
"""Positives of rare classes count up to twice."""
ADJUSTED = "Neg(Dot(Y,Log(Softmax(Add(X,Log(F))))))"
"""Logit adjustment (Menon et al., ICLR 2021; balanced softmax)."""
SURE = "Mul(Add(1,Mul(P,Sub(1,G))),Sub(1,Div(I,U)))"
"""Small boxes whose class is sure count up to twice."""
LOSSES = [(RARE, BINARY), (ADJUSTED, MULTICLASS), (SURE, BOXES)]
SMALL = {"canvas": 32, "digits": [1, 2], "size": [12, 20], "counts": [48, 24, 24]}


def batch(signature: str, count: int = 40) -> tuple[Tensor, ...]:
    extra = signature == MULTICLASS
    generator = torch.Generator().manual_seed(1)
    if signature == BOXES:
        low = torch.rand(count, 2, generator=generator) * 20
        target = torch.cat((low, low + 3 + 60 * torch.rand(count, 2, generator=generator)), -1)
        return target + torch.randn(count, 4, generator=generator), target
    logits = torch.randn(count, 5 + extra, generator=generator)
    return logits, torch.arange(count) % 6, torch.rand(count, generator=generator)


def by_hand(signature: str, given: tuple[Tensor, ...], frequency: Tensor, chance: Tensor) -> Tensor:
    """The mean of each loss above, written again."""
    if signature == BOXES:
        pred, target = given
        low, high = torch.maximum(pred[:, :2], target[:, :2]), torch.minimum(pred[:, 2:], target[:, 2:])
        inter = (high - low).clamp(min=0).prod(1)
        area = (pred[:, 2:] - pred[:, :2]).clamp(min=0).prod(1)
        sides = (target[:, 2:] - target[:, :2]).prod(1)
        side = sides.sqrt()
        return ((1 + chance * (1 - side / (side + 32))) * (1 - inter / (area + sides - inter))).mean()
    logits, target, _ = given
    if signature == MULTICLASS:
        adjusted = logits + torch.cat((frequency, torch.ones(1))).log()
        return torch.nn.functional.cross_entropy(adjusted, target)
    y = torch.nn.functional.one_hot(target, 6)[:, :5]
    p = logits.sigmoid()
    return ((1 - y) * p.square() - y * (2 - frequency) * p.log()).mean()


FREQUENCY = torch.tensor([1.0, 0.5, 0.25, 0.05, 0.01])


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_means_what_it_says_and_so_does_the_exported_file(
    formula: str, signature: str, tmp_path: Path
) -> None:
    loss, given = cal.load_loss(formula), batch(signature)
    assert loss.signature == signature_of(signature)
    assert loss.formula == formula
    text = cal.export_loss(formula, tmp_path / "loss.py").read_text()
    assert "cse_autoloss" not in text.split('"""', 2)[2]
    own = alone(tmp_path / "loss.py").DiscoveredLoss()
    kept = cal.load_loss(cal.export_loss(formula, tmp_path / "loss.json"))
    assert kept.signature == loss.signature
    copied = pickle.loads(pickle.dumps(loss))
    chance = torch.rand(40, generator=torch.Generator().manual_seed(2))
    for told in (None, FREQUENCY):
        named = {} if signature != BOXES or told is None else {"score": chance}
        for one in (loss, own, kept, copied):
            if told is not None and signature != BOXES:
                one.set_frequency(told)
            first = given[0].clone().requires_grad_()
            value = one(first, *given[1:], **named)
            often = torch.ones(5) if told is None else told
            torch.testing.assert_close(
                value.detach(), by_hand(signature, given, often, named.get("score", torch.ones(40)))
            )
            (slope,) = torch.autograd.grad(value, first)
            if one is loss:
                wanted = slope
            torch.testing.assert_close(slope, wanted)


def alone(path: Path) -> Any:
    spec = spec_from_file_location(f"wide_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_onnx_has_the_inputs(formula: str, signature: str, tmp_path: Path) -> None:
    onnx, reference = pytest.importorskip("onnx"), pytest.importorskip("onnx.reference")
    pytest.importorskip("onnxscript")
    path = cal.export_loss(formula, tmp_path / "loss.onnx")
    session = reference.ReferenceEvaluator(onnx.load(path))
    given = batch(signature, 12)
    named = dict(zip(("pred_boxes", "target_boxes") if signature == BOXES else ("logits", "target"), given))
    if signature == BOXES:
        named["score"] = torch.linspace(0, 1, 12)
    else:
        named["frequency"] = torch.linspace(0.1, 1, given[0].shape[1])
    assert [one.name for one in onnx.load(path).graph.input] == list(named)
    (found,) = session.run(None, {name: value.numpy() for name, value in named.items()})
    torch.testing.assert_close(torch.from_numpy(found), cal.load_loss(formula, reduction="none")(**named))


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_right_losses_are_accepted_and_proved(formula: str, signature: str) -> None:
    graph = parse(formula, signature)
    assert cal.verify(graph).accepted
    # Of the adjusted softmax thirty seconds; its signs alone are told here.
    found = certificate_of(graph, boxes=60_000, signs=True)
    required = [one for one in found.findings if one.required]
    assert required
    assert not found.refuted
    assert required[0].outcome == "proved", str(required[0])
    assert ("any chance of the class" if signature == BOXES else "f in [0.01, 1]") in required[0].domain


WRONG = {
    "f": ("Neg(Dot(Y,Mul(Sub(Mul(2,F),1),Log(Softmax(X)))))", MULTICLASS, "f=0.01"),
    "f, sigmoid": (RARE.replace("Sub(2,F)", "Sub(Mul(3,F),1)"), BINARY, "f=0.01"),
    "p": ("Mul(Sub(Mul(2,P),1),Sub(1,Div(I,U)))", BOXES, "p=0"),
    "large p": ("Mul(Sub(1,Mul(2,P)),Sub(1,Div(I,U)))", BOXES, "p=1"),
    "large g": ("Mul(Sub(1,Mul(2,G)),Sub(1,Div(I,U)))", BOXES, "g=1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_at_one_end_alone_is_rejected_there_and_refuted(what: str) -> None:
    formula, signature, place = WRONG[what]
    graph = parse(formula, signature)
    verdict = cal.verify(graph)
    assert not verdict.accepted
    assert place in verdict.where
    found = certificate_of(graph, boxes=20_000, signs=True)
    assert found.refuted
    (wrong, *_) = found.of("refuted")
    assert wrong.witness is not None
    assert {"f": "f", "p": "score", "g": "size"}[place[0]] in wrong.witness


def test_what_reads_less_fits_and_what_reads_more_does_not() -> None:
    for name, wide in BY_WIDE.items():
        assert [one for one in SIGNATURES if takes(wide, one)] == [name, f"{name}-progress", f"{name}-wide"]
        assert not takes(BY_PROGRESS[name], wide.name)
        assert plain_of(wide).name == name
        default = cal.verify(wide.default, signature=wide)
        assert default.accepted == cal.verify(wide.default, signature=name).accepted
    assert cal.load_loss(RARE.replace("F", "T")).signature.name == "cls-binary-progress"
    assert cal.load_loss(RARE.replace("Sub(2,F)", "2")).signature.name == "cls-binary"
    assert isinstance(cal.load_loss("giou", BOXES), GraphLoss)
    with pytest.raises(FormulaError, match="F"):
        cal.load_loss(RARE, "cls-binary-progress")
    with pytest.raises(UnknownNameError, match="cls-binary-wide"):
        signature_of("cls-binary-wid")


SIGNATURES = [f"{name}{end}" for name in BY_WIDE for end in ("", "-progress", "-wide")]


def test_told_apart_by_what_stands_still_alone() -> None:
    own, plain = parse(RARE, BINARY), parse(RARE.replace("Sub(2,F)", "1"), BINARY)
    assert fingerprint(own) != fingerprint(plain)
    for one, other in ((own, plain), (plain, own)):
        assert same_function(one, other) == "refuted"
    idle = parse(RARE.replace("Sub(2,F)", "Add(Sub(2,F),Mul(0,F))").replace("0", "Sub(1,1)"), BINARY)
    assert same_function(own, idle) == "proved"
    assert fingerprint(own) == fingerprint(idle)


def test_memories_of_what_reads_less_are_used_and_not_the_other_way() -> None:
    rows = [
        Remembered("detection", "d", name, formula, 0.5)
        for name, formula in (
            (BINARY, RARE), ("cls-binary-progress", RARE.replace("F", "T")), ("cls-binary", RARE.replace("F", "1"))
        )
    ]  # fmt: skip
    counts = {}
    for name in ("cls-binary", "cls-binary-progress", BINARY):
        found = remembered(rows, "detection", signature_of(name))
        assert found is not None
        counts[name] = len(found[0])
    assert list(counts.values()) == [1, 2, 3]


@pytest.mark.parametrize("wrong", [[1.0, 2.0], torch.zeros(2, 2), [float("nan")], "often", []])
def test_frequencies_that_are_none(wrong: Any) -> None:
    with pytest.raises(DataError, match="frequency must be"):
        cal.load_loss(RARE).set_frequency(wrong)


def test_other_mistakes_are_told() -> None:
    loss = cal.load_loss(RARE)
    loss.set_frequency([1.0, 0.5])
    with pytest.raises(DataError, match="frequency has the shape"):
        loss(*batch(BINARY))
    box = cal.load_loss(SURE)
    for wrong in (torch.ones(3), 2.0, "sure"):
        with pytest.raises(DataError, match="score must be"):
            box(*batch(BOXES), score=wrong)
    # The paper's losses can be called alike.
    torch.testing.assert_close(
        cal.load_loss("giou")(*batch(BOXES), score=0.5), cal.load_loss("giou")(*batch(BOXES))
    )


def test_what_is_rarer_than_was_looked_at_counts_as_that() -> None:
    loss, given = cal.load_loss(RARE), batch(BINARY)
    values = []
    for least in (0.0, 0.01):
        loss.set_frequency([1.0, 1.0, 1.0, 1.0, least])
        values.append(loss(*given))
    assert values[0] == values[1]


def test_fused_and_plain_forms_agree_with_both_derivatives() -> None:
    loss = cal.load_loss(RARE.replace("Sub(2,F)", "Add(Mul(T,Q),Sub(2,F))"), reduction="sum")
    logits, target, iou = batch(BINARY, 6)
    logits.requires_grad_()
    results = []
    for fused in (True, False):
        loss.fused = fused
        loss.set_progress(0.4)
        loss.set_frequency(FREQUENCY)
        value = loss(logits, target, iou)
        loss.set_frequency(1.0)  # a backward that comes later is that of then
        (slope,) = torch.autograd.grad(value, logits, create_graph=True)
        (bend,) = torch.autograd.grad(slope.square().sum(), logits)
        results.append((value.detach(), slope.detach(), bend))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def detection(**more: Any) -> DetectionTask:
    settings = {"data": "digits", "scenes": SMALL, "spaces": "wide", **more}
    return DetectionTask(DetectionSettings.model_validate(settings))


class Told(GraphLoss):
    """Remembers what it was told and called with."""

    def set_frequency(self, frequency: Any) -> None:
        self.told = torch.as_tensor(frequency).clone()
        super().set_frequency(frequency)


def test_detection_tells_frequencies_as_annotated() -> None:
    task = detection(faults={"unlabelled": 0.3, "mislabelled": 0.3})
    assert [one.name for one in task.slots.values()] == [BINARY, BOXES]
    train = task.split("train")
    counts = [0] * task.num_classes
    for labels, crowd in zip(train.labels.tolist(), train.crowd.tolist(), strict=True):
        for label, whole in zip(labels, crowd, strict=True):
            counts[label] += int(label >= 0 and not whole)
    wanted = torch.tensor(counts) / max(counts)
    assert IGNORED < 0
    losses = {"cls": Told(parse(RARE, BINARY), "sum"), "reg": cal.load_loss(SURE, reduction="sum")}
    score = task.train(losses, seed=0, schedule=Schedule(epochs=1), settings={}, split="val")
    assert score.status == "ok"
    torch.testing.assert_close(losses["cls"].told, wanted)
    assert wanted.max() == 1
    # The faults take some objects away, and a label that is wrong counts as what it says.
    assert not torch.equal(detection().frequency, wanted)


def test_classification_and_segmentation_tell_them_too() -> None:
    task = ClassificationTask(ClassificationSettings(spaces="wide", label_noise=0.3, train_limit=300))
    assert task.slots["loss"].name == MULTICLASS
    labels = task.splits.train.labels.tolist()
    counts = torch.tensor([labels.count(one) for one in range(10)])
    loss = Told(parse(ADJUSTED, MULTICLASS), "sum")
    score = task.train({"loss": loss}, seed=0, schedule=Schedule(epochs=1), settings={}, split="val")
    assert score.status == "ok"
    torch.testing.assert_close(loss.told, counts / counts.max())
    pixels = SegmentationTask(SegmentationSettings(spaces="wide"))
    assert pixels.slots["loss"].name == BINARY
    assert pixels.frequency.tolist() == [1.0]


@pytest.mark.parametrize("kind", [OneStageDetector, TwoStageDetector])
def test_detectors_give_the_chance_of_the_boxs_class(kind: type) -> None:
    torch.manual_seed(0)
    model = kind(1, 3)
    told: dict[str, Tensor] = {}
    signature = BINARY if kind is OneStageDetector else MULTICLASS
    box = cal.load_loss("Mul(Add(1,P),Sub(1,Div(I,U)))", reduction="sum")

    def cls_loss(logits: Tensor, target: Tensor, iou: Tensor) -> Tensor:
        own = target < 3
        chances = logits.sigmoid() if signature == BINARY else logits.softmax(-1)
        told["wanted"] = chances[own].gather(1, target[own, None])[:, 0]
        return logits.sum() * 0

    def reg_loss(pred: Tensor, target: Tensor, score: Tensor | None = None) -> Tensor:
        assert score is not None
        told["score"] = score
        told["value"] = box(pred, target, score=score)
        return told["value"]

    def without(pred: Tensor, target: Tensor) -> Tensor:
        return cal.load_loss("iou", reduction="sum")(pred, target)

    reg_loss.reads_score = True  # type: ignore[attr-defined]
    images = torch.randn(2, 1, 64, 64)
    boxes = torch.tensor([[[4.0, 4, 30, 30], [34, 30, 60, 60]], [[10, 8, 44, 40], [0, 0, 0, 0]]])
    assigned = model.targets(boxes, torch.tensor([[0, 2], [1, -1]]), (64, 64))
    for own in (without, watched(reg_loss)):
        loss = model.loss(model(images), assigned, cls_loss, own)
        assert loss.isfinite()
        assert ("score" in told) == (own is not without)
    assert len(told["score"]) > 2
    assert not told["score"].requires_grad
    torch.testing.assert_close(told["score"], told["wanted"].detach())
    assert told["value"].requires_grad
    assert box.reads_score
    assert not cal.load_loss("giou", BOXES).reads_score


def test_the_simulation_gives_all_of_them() -> None:
    simulator = detection().simulation(load_config().simulate)
    texts = [RARE.replace("Sub(2,F)", "1"), RARE]
    plain, rare = simulator.run_batch([parse(text, BINARY) for text in texts])
    (papers,) = simulator.run_batch([parse(texts[0], "cls-binary")])
    assert plain.figure == papers.figure
    assert rare.accepted
    assert rare.figure != plain.figure
    (adjusted,) = simulator.run_batch([parse(ADJUSTED, MULTICLASS)])
    assert adjusted.accepted
    texts = ["Sub(1,Div(I,U))", "Mul(Add(1,P),Sub(1,Div(I,U)))", "Mul(Add(1,Mul(3,G)),Sub(1,Div(I,U)))"]
    found = simulator.run_batch([parse(text, BOXES) for text in texts])
    (papers,) = simulator.run_batch([parse(texts[0], REG.name)])
    assert found[0].figure == papers.figure
    assert len({one.figure for one in found}) == 3
    assert all(one.accepted for one in found)


@pytest.mark.parametrize(("formula", "signature"), LOSSES)
def test_pictures_show_it_where_it_differs(formula: str, signature: str) -> None:
    drawn = panels(cal.load_loss(formula, reduction="none"))
    labels = [line.label for panel in drawn for line in panel.lines]
    for wanted in ("p = 0", "p = 0.5", "p = 1") if signature == BOXES else ("f = 0.01", "f = 0.1", "f = 1"):
        assert any(f"{wanted} " in f"{label} " for label in labels), labels
    assert all(bool(line.loss.isfinite().all()) for panel in drawn for line in panel.lines)
    assert any(line.role == "baseline" for line in drawn[0].lines)


@pytest.mark.parametrize("signature", [BINARY, MULTICLASS, BOXES])
def test_parts_are_others_for_rare_classes_or_sure_boxes(signature: str) -> None:
    primitives = PrimitiveSet.of(signature_of(signature))
    names = {
        BINARY: ["bce", "quality-hill"], MULTICLASS: ["cross-entropy", "softmax-focal"], BOXES: ["iou", "giou"]
    }[signature]  # fmt: skip
    parents = [
        primitives.to_tree(parse(cal.load_loss(name, alpha=None).formula, signature)) for name in names
    ]
    made = []
    with seeded(3):
        for number in range(60):
            with contextlib.suppress(FormulaError):
                made.append(
                    primitives.to_graph(fade(parents[number % 2], parents[(number + 1) % 2], primitives))
                )
    read = [{one.name for one in standing_of(graph.signature)} & set(graph.variables) for graph in made]
    assert all(read)
    assert {name for names in read for name in names} == {
        one.name for one in standing_of(primitives.signature)
    }
    right = [graph for graph in made if cal.verify(graph).accepted]
    assert len(right) > 8


def test_known_losses_are_known_all_through() -> None:
    assert [one.entry.name for one in cal.find_alike("Mul(Add(P,1),Sub(1,Div(I,U)))", BOXES)] == []
    idle = "Add(Mul(P,Sub(1,Div(I,U))),Mul(Sub(1,P),Sub(1,Div(I,U))))"
    assert [one.entry.name for one in cal.find_alike(idle, BOXES)] == ["iou"]
    assert cal.find_alike(SURE) == []
    assert cal.find_alike(RARE) == []


def test_the_size_is_that_of_the_target() -> None:
    boxes = torch.tensor([[0.0, 0, 32, 32], [5, 5, 13, 7], [0, 0, 0, 9], [0, 0, 320, 320]])
    torch.testing.assert_close(box_size(boxes), torch.tensor([0.5, 4 / 36, 0.0, 10 / 11]))


def test_a_search_in_wide_spaces(tmp_path: Path) -> None:
    result = cal.evolve(
        config="smoke",
        out=f"{tmp_path}/run",
        generations=2,
        detection__spaces="wide",
        seed_losses=[RARE, SURE],
    )
    assert result.summary["slots"] == {"cls": BINARY, "reg": BOXES}
    for slot in ("cls", "reg"):
        assert takes(BY_WIDE["cls-binary" if slot == "cls" else "reg"], result.load(slot).signature.name)
    _, shown = cal.compare_losses(
        [f"rare={RARE}+{SURE}", "focal"],
        seeds=2,
        config="smoke",
        overrides={"audit.epochs": 1},  # the spaces widen by themselves
        tune=False,
        out=f"{tmp_path}/compared",
    )
    assert len(shown.standings) == 2


def test_wide_is_a_setting() -> None:
    assert load_config(None, {"detection.spaces": "wide"}).own.spaces == "wide"
    with pytest.raises(ConfigError, match="did you mean 'wide'"):
        load_config(None, {"detection.spaces": "wid"})


def test_trainings_in_a_stack_read_what_each_reads_alone() -> None:
    task = detection(faults={"unlabelled": 0.3, "mislabelled": 0.3})
    pairs = [(RARE, "giou"), ("bce", SURE)]

    def runs() -> list[TrainingRun]:
        return [
            task.training(
                {"cls": cal.load_loss(cls, reduction="sum"), "reg": cal.load_loss(reg, reduction="sum")},
                seed=0, epochs=1, settings={},
            )
            for cls, reg in pairs
        ]  # fmt: skip

    alone, together = runs(), runs()
    for run in alone:
        run.advance(run.steps)
    assert advance_together(together, together[0].steps) == {}
    for one, other in zip(alone, together, strict=True):
        for name, weight in one.model.state_dict().items():
            torch.testing.assert_close(other.model.state_dict()[name], weight, rtol=1e-3, atol=1e-3)
