"""Configurations of full-size trainings, and the losses that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cse_autoloss.errors import AutoLossError, ConfigError, RunError
from cse_autoloss.fullsize.families import family_of
from cse_autoloss.fullsize.launch import train_detector
from cse_autoloss.fullsize.losses import loss_modules, settle
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.settings.load import FULL_SIZE, config_names, dump, load, parse

BINARY = "Neg(Log(Sig(Mul(Sub(PY,NY),X))))"


def settings(detector: str = "fcos", **values: Any) -> TrainSettings:
    return parse(
        TrainSettings, {"detector": f"torchvision:{detector}_resnet50_fpn", "data": "coco:x", **values}
    )


# -- files ---------------------------------------------------------------------------------------------------


def test_the_packages_configurations_are_of_the_published_table() -> None:
    assert config_names(FULL_SIZE) == ["coco_faster_rcnn", "coco_fcos", "coco_mask_rcnn", "coco_retinanet"]
    for name in config_names(FULL_SIZE):
        own = load(TrainSettings, name, {"data": "coco:x"}, kind=FULL_SIZE)
        assert (own.epochs, own.milestones, own.batch, own.image_size, own.longest_side) == (
            12,
            (8, 11),
            16,
            800,
            1333,
        )
        assert own.lr is None
        pair = "a" if family_of(own.detector).signature == "cls-multiclass" else "b"
        settled = settle(own)
        assert settled.loss == CATALOGUE[f"cse-autoloss-{pair}-cls"].formula
        assert settled.loss_reg == CATALOGUE[f"cse-autoloss-{pair}-reg"].formula
        assert settled.alpha == (0.25 if pair == "b" else None)


@pytest.mark.parametrize("name", config_names(FULL_SIZE))
def test_a_configuration_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    own = settle(load(TrainSettings, name, {"data": "coco:x", "lr": 0.01, "clip": "1e1"}, kind=FULL_SIZE))
    (tmp_path / "train.yaml").write_text(dump(own), encoding="utf-8")
    assert load(TrainSettings, tmp_path / "train.yaml") == own


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("detector: torchvision:fcos_resnet50_fpn\nbatch: 8\nlr: 1e-3\n", encoding="utf-8")
    own = load(TrainSettings, path, {"data": "coco:x", "batch": 4})
    assert (own.batch, own.lr) == (4, 1e-3)


def test_mistakes_name_file_key_and_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("bach: 8\nepochs: many\nweights: none\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(TrainSettings, path, {"lr": -1, "detector": "x"})
    assert sorted(str(error.value).splitlines()) == [
        "mine.yaml: bach: unknown key; did you mean 'batch'?",
        "mine.yaml: data: missing; give --data DIR, a folder of images with boxes; see docs/data.md",
        "mine.yaml: epochs: expected a whole number, got 'many'",
        "options: lr: expected a number above 0, got -1",
    ]
    with pytest.raises(ConfigError, match="no such configuration; did you mean 'coco_fcos'"):
        load(TrainSettings, "coco_fco", kind=FULL_SIZE)


# -- losses --------------------------------------------------------------------------------------------------


def test_names_formulas_and_alphas() -> None:
    own = settle(settings(loss="focal", loss_reg="giou", alpha=0.25))
    assert own.loss == CATALOGUE["focal"].formula
    assert own.loss_reg == CATALOGUE["giou"].formula
    assert own.alpha == 0.25
    assert settle(own) == own
    cls, box = loss_modules(own)
    assert cls is not None
    assert cls.alpha == 0.25  # type: ignore[attr-defined]
    assert box is not None
    assert box.signature.name == "reg"
    assert settle(settings(loss="cse-autoloss-b-cls")).alpha == 0.25
    assert settle(settings(loss="cse-autoloss-b-cls", alpha=None)).alpha is None
    # What is no expression keeps its name.
    assert settle(settings(loss_reg="smooth-l1")).loss_reg == "smooth-l1"
    # A formula that does not tell its signature is of the detector's.
    assert settle(settings(loss="Neg(Log(Sig(X)))")).loss == "Neg(Log(Sig(X)))"


def test_torchvisions_own_losses_stay() -> None:
    own = settle(settings())
    assert (own.loss, own.loss_reg, own.alpha) == (None, None, None)
    assert loss_modules(own) == (None, None)
    own = settle(settings("maskrcnn", loss="cse-autoloss-a", loss_reg="torchvision"))
    assert own.loss is not None
    assert own.loss_reg is None
    assert settle(settings(loss="torchvision", loss_reg="giou")).loss is None


def run_directory(folder: Path, losses: dict[str, Any]) -> Path:
    (folder / "best").mkdir(parents=True)
    (folder / "run.sqlite").touch()
    (folder / "best" / "loss.json").write_text(json.dumps({"format": 1, **losses}), encoding="utf-8")
    return folder


def test_what_a_run_found(tmp_path: Path) -> None:
    pair = {
        "cls": {"branch": "cls-binary", "formula": BINARY, "alpha": 0.5},
        "reg": {"branch": "reg", "formula": "Sub(1,Div(I,E))", "alpha": None},
    }
    run = str(run_directory(tmp_path / "run", pair))
    for source in (run, f"{run}/best/loss.json"):
        own = settle(settings("retinanet", loss=source))
        assert (own.loss, own.loss_reg, own.alpha) == (BINARY, "Sub(1,Div(I,E))", 0.5)
    assert settle(settings(loss=run, loss_reg="giou")).loss_reg == CATALOGUE["giou"].formula
    assert settle(settings(loss=run, loss_reg="torchvision")).loss_reg is None
    own = settle(settings("fasterrcnn", loss="cse-autoloss-a", loss_reg=run))
    assert own.loss_reg == "Sub(1,Div(I,E))"
    with pytest.raises(
        ConfigError, match="is a cls-binary loss, for one-stage detectors; the head of torchvision:fast"
    ):
        settle(settings("fasterrcnn", loss=run))

    boxes = run_directory(tmp_path / "boxes", {"branch": "reg", "formula": "Sub(1,Div(I,U))", "alpha": None})
    own = settle(settings(loss=str(boxes)))
    assert (own.loss, own.loss_reg) == (None, "Sub(1,Div(I,U))")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "giou"}, "'giou' is a box loss; give it with --loss-reg"),
        ({"loss": "Sub(1,Div(I,U))"}, "is a box loss; give it with --loss-reg"),
        ({"loss_reg": "focal"}, "expected a box loss, got 'focal', which is none"),
        (
            {"loss": "cse-autoloss-a"},
            "a cls-multiclass loss, for two-stage detectors; the head of torchvision:fcos",
        ),
        ({"loss": "focul"}, "no loss, file or run directory 'focul'; did you mean 'focal'"),
        ({"loss": "cse-autoloss-c"}, "did you mean 'cse-autoloss-"),
        ({"loss": "nowhere/loss.json"}, "nowhere/loss.json: No such file"),
        ({"loss": "Neg(Log(Sig(Q,PY)))"}, "Sig"),
        ({"detector": "keypointrcnn"}, "it learns from key points"),
        ({"detector": "fasterrcn"}, "did you mean 'torchvision:fasterrcnn_resnet50_fpn'"),
        ({"alpha": 0.5}, "torchvision's own classification loss has no alpha"),
        ({"loss": "x" * 5000}, "no loss, file or run directory"),
    ],
)
def test_losses_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AutoLossError, match=message) as error:
        settle(settings(**values))
    assert len(str(error.value)) < 400


def test_directories_that_hold_no_loss(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run directory of `cse-autoloss evolve`"):
        settle(settings(loss=str(tmp_path)))
    (tmp_path / "run.sqlite").touch()
    with pytest.raises(RunError, match="the run has no discovered loss yet"):
        settle(settings(loss=str(tmp_path)))


def test_a_settled_loss_has_the_values_of_what_was_named() -> None:
    from cse_autoloss.losses import load_loss

    cls, _ = loss_modules(settle(settings(loss="cse-autoloss-b")))
    assert cls is not None
    logits = torch.linspace(-3, 3, 12).reshape(4, 3)
    target, iou = torch.tensor([0, 1, 3, 2]), torch.tensor([0.1, 0.9, 0.0, 0.5])
    assert torch.equal(
        cls(logits, target, iou), load_loss("cse-autoloss-b-cls", reduction="none")(logits, target, iou)
    )


# -- going on ------------------------------------------------------------------------------------------------


def test_a_training_that_goes_on_keeps_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"no training of `cse-autoloss train` \(train\.yaml is missing\)"):
        train_detector(resume=tmp_path)
    (tmp_path / "train.yaml").write_text(dump(settings()), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"lr: a training that goes on keeps it as it was; only .*workers may change"
    ):
        train_detector(resume=tmp_path, overrides={"lr": 1.0})
    with pytest.raises(ConfigError, match="leave --config and --out away"):
        train_detector(resume=tmp_path, out="elsewhere")
    options = {"detector": "torchvision:fcos_resnet50_fpn", "data": "coco:x"}
    with pytest.raises(RunError, match=f"holds a training already; go on with it by --resume {tmp_path}"):
        train_detector(out=tmp_path, overrides=options)
    with pytest.raises(RunError, match=r"weights: no\.pth: no such file; expected none, backbone or a file"):
        train_detector(overrides={**options, "weights": "no.pth"})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="give --out"):
        train_detector(overrides=options)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit):  # the first process has told it
        train_detector(overrides=options)
