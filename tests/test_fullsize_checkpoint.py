"""Checkpoints and weights from files: they come back whole, and whatever is wrong with one is told in a line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from fullsize_samples import SMALL, needs_torchvision, small_settings
from torch import nn

from cse_autoloss.errors import RunError
from cse_autoloss.fullsize.checkpoint import check_same_settings, load_checkpoint, save_checkpoint
from cse_autoloss.fullsize.weights import load_weights

STATE: dict[str, Any] = {
    "detector": "torchvision:fcos_resnet50_fpn",
    "classes": ["a", "b"],
    "step": 3,
    "settings": {"lr": 0.1},
    "model": {"weight": torch.ones(2)},
    "optimiser": {},
}


def test_checkpoints_come_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path, detector=STATE["detector"], classes=["a", "b"])
    assert state["step"] == 3
    assert torch.equal(state["model"]["weight"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_checkpoint(path, {**STATE, "model": lambda: None})

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"checkpoint\.pt: can not be written: No space left on device"):
        save_checkpoint(path, {**STATE, "step": 4})
    assert load_checkpoint(path)["step"] == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"detector": "torchvision:retinanet_resnet50_fpn"},
            "a checkpoint of torchvision:fcos_resnet50_fpn, not",
        ),
        ({"classes": ["a"]}, "the checkpoint has 2 classes, the data has 1"),
        ({"classes": ["a", "c"]}, "the checkpoint has other classes than the data, 'b' where that has 'c'"),
    ],
)
def test_checkpoints_of_something_else(wanted: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(RunError, match=message) as error:
        load_checkpoint(path, **wanted)
    assert "\n" not in str(error.value)


class Evil:
    """What a checkpoint must not be able to do."""

    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"text", "not a checkpoint"),
        (lambda whole: whole[: len(whole) // 2], "damaged or cut short"),
        (lambda whole: whole[:-1], "damaged or cut short"),
        (pickle.dumps({"a": 1}), "a pickle that is no checkpoint"),
        (pickle.dumps(Evil()), "a pickle that is no checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))
    with pytest.raises(RunError, match=message) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not Evil.ran


def test_tensors_that_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(RunError, match="no such file"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(RunError, match="not a checkpoint of `cse-autoloss train`"):
        load_checkpoint(path)
    torch.save({**STATE, "format": 99}, path)
    with pytest.raises(RunError, match="a checkpoint of format 99, expected"):
        load_checkpoint(path)


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({**STATE, "format": 2, "model": Evil()}, path)
    with pytest.raises(RunError, match="holds more than tensors"):
        load_checkpoint(path)
    assert not Evil.ran


def test_other_settings_are_refused() -> None:
    check_same_settings(Path("c.pt"), {"lr": 0.1, "old": 1}, {"lr": 0.1})
    with pytest.raises(RunError, match=r"made with lr = 0\.1, asked to go on with 0\.2"):
        check_same_settings(Path("c.pt"), {"lr": 0.1}, {"lr": 0.2})


# -- weights -------------------------------------------------------------------------------------------------


class Detector(nn.Module):
    """The names that matter of a detector with `classes` rows in its head."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.body = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.neck = nn.Linear(width, 2)
        self.head = nn.Module()
        self.head.classification_head = nn.Module()
        self.head.classification_head.cls_logits = nn.Linear(2, classes)


def load(network: nn.Module, path: Path, **options: Any) -> str:
    return load_weights(network, path, detector="torchvision:x", classes=["a", "b", "c"], **options)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"module." + k: v for k, v in s.items()}]
)
def test_a_detectors_weights(wrap: Any, tmp_path: Path) -> None:
    theirs, ours = Detector(), Detector()
    torch.save(wrap(theirs.state_dict()), tmp_path / "w.pth")
    assert load(ours, tmp_path / "w.pth") == "10 tensors of a detector"
    assert same(theirs, ours)


def test_a_backbones_weights(tmp_path: Path) -> None:
    theirs, ours = Detector(), Detector()
    head = ours.head.classification_head.cls_logits.weight.clone()
    classifier = {**theirs.backbone.body.state_dict(), "fc.weight": torch.zeros(1000, 4)}
    torch.save(classifier, tmp_path / "w.pth")
    assert load(ours, tmp_path / "w.pth") == "6 tensors of a backbone"
    assert same(theirs.backbone, ours.backbone)
    assert torch.equal(head, ours.head.classification_head.cls_logits.weight)


def test_weights_for_other_classes(tmp_path: Path) -> None:
    theirs, ours = Detector(classes=91), Detector()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    expected = r"weights for more classes than the data's 3 \(head.*cls_logits\.weight has 91 rows, not 3\); new_head"
    with pytest.raises(RunError, match=expected):
        load(ours, tmp_path / "w.pth")
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert load(ours, tmp_path / "w.pth", new_head=True).endswith(
        "but for what depends on the number of classes"
    )
    assert same(theirs.backbone, ours.backbone)
    assert torch.equal(
        ours.head.classification_head.cls_logits.weight, before["head.classification_head.cls_logits.weight"]
    )


def test_weights_of_another_detector(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(Detector(width=5).state_dict(), path)
    with pytest.raises(
        RunError, match=r"another detector than torchvision:x: 3 of 10 tensors fit; backbone\.body\.0\.w"
    ):
        load(Detector(), path)
    torch.save({"neck.weight": torch.zeros(2, 4)}, path)
    with pytest.raises(RunError, match=r"1 of 10 tensors fit; backbone\.body\.0\.weight is missing"):
        load(Detector(), path)
    torch.save({**Detector().state_dict(), "more": torch.zeros(1)}, path)
    with pytest.raises(RunError, match=r"10 of 10 tensors fit; it has no more"):
        load(Detector(), path)
    torch.save({"a": 1}, path)
    with pytest.raises(RunError, match="holds no weights"):
        load(Detector(), path)
    save_checkpoint(path, {**STATE, "model": Detector().state_dict()})
    with pytest.raises(RunError, match="a checkpoint of torchvision:fcos_resnet50_fpn, not of torchvision:x"):
        load(Detector(), path)


@needs_torchvision
@pytest.mark.torchvision
def test_weights_of_torchvisions_detectors(tmp_path: Path) -> None:
    from torchvision.models import get_model

    from cse_autoloss.fullsize.models import make_model

    path = tmp_path / "w.pth"
    theirs = get_model(SMALL.partition(":")[2], weights=None, weights_backbone=None, num_classes=91)
    torch.save(theirs.state_dict(), path)
    settings = small_settings(tmp_path, weights=str(path))
    with pytest.raises(
        RunError, match=r"weights for more classes than the data's 2 \(roi_heads\.box_predictor\.cls_score"
    ):
        make_model(settings, ["a", "b"])
    fresh = make_model(small_settings(tmp_path, weights=str(path), new_head=True), ["a", "b"])
    assert torch.equal(fresh.network.rpn.head.cls_logits.weight, theirs.rpn.head.cls_logits.weight)


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize(
    "detector", [SMALL, "torchvision:retinanet_resnet50_fpn", "torchvision:fcos_resnet50_fpn"]
)
def test_what_learns_is_what_torchvision_lets_learn(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import get_model
    from torchvision.models._api import WeightsEnum

    from cse_autoloss.fullsize.models import make_model

    def instead_of_a_download(weights: WeightsEnum, *given: Any, **options: Any) -> Any:
        kind = "resnet50" if "ResNet50" in type(weights).__name__ else "mobilenet_v3_large"
        return get_model(kind, weights=None).state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", instead_of_a_download)
    options = {"loss": None, "loss_reg": None, "detector": detector}
    downloaded = make_model(small_settings(tmp_path, weights="backbone", **options), ["a", "b"])
    assert downloaded.start == "torchvision's ImageNet backbone"
    resumed = make_model(small_settings(tmp_path, weights="backbone", **options), ["a", "b"], load=False)
    for one, other in zip(
        downloaded.network.named_parameters(), resumed.network.named_parameters(), strict=True
    ):
        assert (one[0], one[1].requires_grad) == (other[0], other[1].requires_grad)
    resumed.network.load_state_dict(downloaded.network.state_dict())


@needs_torchvision
@pytest.mark.torchvision
def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models._api import WeightsEnum

    from cse_autoloss.fullsize.models import make_model

    def unreachable(*given: Any, **options: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    with pytest.raises(
        RunError, match=r"can not be had \(Name or service not known\); give a file by --weights"
    ):
        make_model(small_settings(tmp_path, weights="backbone"), ["a", "b"])
