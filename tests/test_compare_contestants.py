"""What may be named as a loss, how pairs are completed, and what is refused in which words."""

import json
from pathlib import Path

import pytest
import torch

from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.compare.contestants import Field, enlist
from cse_autoloss.compare.units import weight_unit
from cse_autoloss.errors import AutoLossError, ConfigError, DataError, RunError, UnknownNameError
from cse_autoloss.export import to_json_pair
from cse_autoloss.losses import list_losses
from cse_autoloss.losses.catalogue import open_parameters
from cse_autoloss.losses.margin import CosFace
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.spaces import CLS_MULTICLASS, parse
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.detection import DetectionTask

BCE = "Neg(Log(Sig(Mul(Sub(PY,NY),X))))"
IOU = "Sub(1,Div(I,U))"


def one_stage(*texts: str) -> Field:
    return enlist(texts, DetectionTask(DetectionSettings()))


def two_stage(*texts: str) -> Field:
    return enlist(texts, DetectionTask(DetectionSettings(detector="two-stage")))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A search that has found something."""
    directory = tmp_path / "found"
    with RunStore.create(directory, {}) as store:
        best = {"losses": {"cls": BCE, "reg": IOU}, "alpha": 0.25}
        store.set_meta("summary", {"slots": {"cls": "cls-binary", "reg": "reg"}, "best": best})
    return directory


def test_a_pair_is_named_as_it_is_written() -> None:
    (one,) = one_stage("focal+giou").contestants
    assert (one.name, one.losses) == ("focal + giou", LossSet.of({"cls": "focal", "reg": "giou"}))
    assert one_stage(" focal + giou ").contestants == (one,)


def test_inner_parameters_are_written_with_a_name() -> None:
    first, second = one_stage(
        "focal( gamma = 1 )+smooth-l1(beta=4)", "mine=asymmetric(margin=0.1)"
    ).contestants
    assert first.name == "focal(gamma=1) + smooth-l1(beta=4)"
    assert first.losses == LossSet.of({"cls": "focal(gamma=1)", "reg": "smooth-l1(beta=4)"})
    assert (second.name, second.losses["cls"]) == ("mine", "asymmetric(margin=0.1)")
    with pytest.raises(ConfigError, match="are the same losses"):
        one_stage("focal(gamma=1)+giou", "focal-1+giou")
    with pytest.raises(UnknownNameError, match="unknown parameter of focal 'gama'; did you mean 'gamma'"):
        one_stage("focal(gama=1)+giou")


def test_a_published_pair_goes_by_its_name() -> None:
    field = one_stage("cse-autoloss-b", "focal+giou")
    pair = field.contestants[0].losses
    assert (field.contestants[0].name, pair["cls"], pair["reg"]) == (
        "cse-autoloss-b",
        "cse-autoloss-b-cls",
        "cse-autoloss-b-reg",
    )


def test_a_loss_alone_is_completed_and_that_is_said() -> None:
    field = one_stage("focal", "iou")
    assert [(c.losses["cls"], c.losses["reg"]) for c in field.contestants] == [
        ("focal", "giou"),
        ("bce", "iou"),
    ]
    assert "no reg loss was given, so it stands beside giou" in field.notes[0]
    assert "no cls loss was given, so it stands beside bce" in field.notes[1]
    assert two_stage("iou").contestants[0].losses["cls"] == "cross-entropy"
    assert one_stage("focal+giou").notes == ()


def test_formulas_are_numbered_and_a_name_may_be_given() -> None:
    field = one_stage(f"{BCE}+{IOU}", f"mine={BCE}+giou", f"{BCE}+ciou")
    assert [c.name for c in field.contestants] == ["formula 1 + formula 2", "mine", "formula 1 + ciou"]
    assert two_stage("Neg(Dot(Y,Log(Softmax(X))))").contestants[0].name == "formula 1 + giou"
    # Its variable tells no signature: it is of the detector's.
    assert one_stage("Softplus(Neg(X))").contestants[0].losses["reg"] == "giou"


def test_a_run_gives_its_pair_or_the_half_that_is_asked_for(run: Path) -> None:
    whole, box, cls = one_stage(str(run), f"focal+{run}", f"{run}+ciou").contestants
    assert (whole.name, whole.losses["cls"], whole.losses["reg"], whole.losses.alpha) == (
        "found",
        BCE,
        IOU,
        0.25,
    )
    assert (box.name, box.losses["reg"], box.losses.alpha) == ("focal + found (reg)", IOU, None)
    assert (cls.name, cls.losses["cls"], cls.losses.alpha) == ("found (cls) + ciou", BCE, 0.25)
    # Its box loss alone carries over to a detector of the other signature.
    assert two_stage(f"cross-entropy+{run}").contestants[0].losses["reg"] == IOU


def test_a_loss_json_is_read_whether_it_holds_one_or_two(tmp_path: Path) -> None:
    pair = tmp_path / "ours" / "best" / "loss.json"
    pair.parent.mkdir(parents=True)
    pair.write_text(json.dumps(to_json_pair(parse(BCE, "cls-binary"), parse(IOU, "reg"), 0.25, {})))
    (one,) = one_stage(str(pair)).contestants
    assert (one.name, one.losses.alpha) == ("ours", 0.25)
    assert parse(one.losses["reg"], "reg") == parse(IOU, "reg")
    single = tmp_path / "box.json"
    single.write_text(json.dumps({"format": 1, "branch": "reg", "formula": IOU}))
    assert one_stage(f"focal+{single}").contestants[0].name == "focal + box"


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        (["focl"], UnknownNameError, "did you mean 'focal'"),
        (["focal+gio"], UnknownNameError, "did you mean 'giou'"),
        (["focal", "focal+giou"], ConfigError, "focal and focal+giou are the same losses"),
        (["giou+focal"], ConfigError, "write focal+giou"),
        (["focal+bce"], ConfigError, "bce is no reg loss, and the order is CLS+REG"),
        (["focal+"], ConfigError, "expected losses written CLS+REG"),
        (["focal+giou+iou"], ConfigError, "expected losses written CLS+REG"),
        (["cross-entropy"], ConfigError, "cross-entropy: a cls-multiclass loss, and the task detection takes"),
        (["cross-entropy"], ConfigError, "use --detector two-stage"),
        (["arcface"], ConfigError, "a margin loss, and the task detection takes cls-binary and reg ones"),
        (["a=focal", "a=bce"], ConfigError, "two contestants are called 'a'"),
        (["=focal"], ConfigError, "expected NAME=LOSS"),
        (["nowhere/run"], DataError, "no such run directory or loss.json"),
        (["nowhere.json"], DataError, "No such file"),
        (["Neg(Lo(X))"], AutoLossError, "did you mean 'Log'"),
    ],
)  # fmt: skip
def test_mistakes_are_told(texts: list[str], error: type[AutoLossError], words: str) -> None:
    with pytest.raises(error) as caught:
        one_stage(*texts)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_expression_is_the_same_loss_however_it_is_named() -> None:
    with pytest.raises(ConfigError, match="same losses"):
        one_stage("bce+iou", f"mine=bce+{IOU}")
    # With another weighting of positives it is another.
    assert len(one_stage("cse-autoloss-b-cls", "focal").contestants) == 2


def test_other_runs_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        one_stage(str(tmp_path))
    with RunStore.open(run) as store:
        store.set_meta("summary", {"best": None})
    with pytest.raises(RunError, match="no loss yet"):
        one_stage(str(run))
    with RunStore.open(run) as store:
        store.set_meta("config", {"compare": {}})
    with pytest.raises(RunError, match="a comparison, not a search"):
        one_stage(str(run))


def test_a_run_of_the_other_signature_names_the_detector_that_takes_it(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"use --detector one-stage.*its box loss alone"):
        two_stage(str(run))


def test_losses_on_coordinates_have_a_unit_of_their_own() -> None:
    units = {entry.name: weight_unit(entry.name) for entry in list_losses("reg")}
    assert units["l1"] == units["smooth-l1"] == 1 / 32
    assert {units[name] for name in units if "l1" not in name} == {1.0}
    assert weight_unit("Mul(3,Mul(3,Sub(3,Mul(3,Div(I,U)))))") == 1 / 32
    assert "multiplied by 0.03125" in one_stage("focal+l1").notes[0]


def test_margin_losses_stand_where_logits_are_cosines() -> None:
    settings = ClassificationTask.Settings()
    cosine = ClassificationTask(settings.model_copy(update={"head": "cosine", "scale": 12.0}))
    (one,) = enlist(["cosface(margin=0.2)"], cosine).contestants
    assert one.losses["loss"] == "cosface(margin=0.2)"
    assert [p.name for p in open_parameters(enlist(["arcface"], cosine).contestants[0].losses["loss"])] == [
        "margin"
    ]
    with pytest.raises(ConfigError, match=r"cosface: a margin loss.*--set classification\.head=cosine"):
        enlist(["cosface"], ClassificationTask(settings))
    torch.manual_seed(0)
    cosines, target = torch.rand(8, 5) * 2 - 1, torch.randint(0, 5, (8,))
    loss = slot_loss("cosface(margin=0.2)", CLS_MULTICLASS, None, 12.0)
    wanted = CosFace("sum", scale=12.0, additive=0.2)(cosines, target)
    torch.testing.assert_close(loss(12.0 * cosines, target), wanted)
