"""The command `train` as a user meets it."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fullsize_samples import needs_torchvision, tiny_faster_rcnn, torchvision_fits, write_data

from cse_autoloss.cli.app import main


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error of the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["cse-autoloss", "train", *arguments])
        patch.setenv("COLUMNS", "200")
        try:
            main()
        except SystemExit as end:
            code = end.code
    return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]


FCOS = ("--detector", "torchvision:fcos_resnet50_fpn", "--data", "coco:nowhere")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['cse-autoloss', 'train', '--help']\n"
        "from cse_autoloss.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'torchvision', 'numpy', 'sympy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--loss-reg" in out
    assert out.rstrip().endswith("[]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "options: detector: missing; give --detector"),
        ((*FCOS, "--lr", "-1"), "error: options: lr: expected a number above 0, got -1.0"),
        ((*FCOS, "--set", "bach=8"), "error: options: bach: unknown key; did you mean 'batch'?"),
        ((*FCOS, "--set", "batch"), "error: --set: expected key=value, got 'batch'"),
        ((*FCOS, "--loss", "giou"), "error: loss: 'giou' is a box loss; give it with --loss-reg"),
        ((*FCOS, "--loss", "focul"), "did you mean 'focal'?"),
        ((*FCOS, "--config", "coco_fco"), "did you mean 'coco_fcos'?"),
        (("--resume", "nowhere"), "error: nowhere: no training of `cse-autoloss train`"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not out


@pytest.mark.skipif(torchvision_fits(), reason="torchvision is installed")
def test_without_torchvision_the_line_to_type_is_told() -> None:
    code, _, err = run(*FCOS, "--weights", "none", "--out", "nowhere")
    assert code == 2
    assert err.splitlines() == [
        "error: full-size training needs an extra: pip install 'cse-autoloss[torchvision]'"
    ]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from cse_autoloss.fullsize import models

    monkeypatch.setattr(models.models, "get_model", tiny_faster_rcnn)
    write_data(tmp_path)
    return tmp_path


def train(data: Path, *more: str) -> tuple[int, str, str]:
    given = (
        *("--detector", "torchvision:maskrcnn_resnet50_fpn", "--data", f"coco:{data}", "--weights", "none"),
        *("--loss", "cse-autoloss-a", "--image-size", "64", "--batch", "2", "--workers", "0"),
        *("--set", "max_steps=2", "--device", "cpu", "--out", str(data / "out"), *more),
    )
    return run(*given)


@needs_torchvision
@pytest.mark.torchvision
def test_a_whole_training(data: Path) -> None:
    code, out, err = train(data, "--no-tensorboard")
    assert code == 0, err
    for title in ("COCO boxes", "COCO masks", "AP50", "train.yaml"):
        assert title in out
    assert "6 images, 2 classes, 2 steps of 2, peak learning rate 0.0025, on cpu" in err
    assert "step 2/2  loss" in err
    assert "scoring val: 6/6 images" in err
    files = {path.name for path in (data / "out").iterdir()}
    assert files == {"checkpoint.pt", "train.yaml", "scalars.jsonl", "table.json", "train.lock"}

    code, _, err = train(data)
    assert (code, "holds a training already; go on with it by --resume" in err) == (2, True)
    # Once more, with the test file: nothing is trained again, and the score is the same.
    (data / "test.json").write_text((data / "val.json").read_text(encoding="utf-8"), encoding="utf-8")
    code, again, err = run("--resume", str(data / "out"), "--test", "--json", "--quiet", "--device", "cpu")
    assert (code, err) == (0, "")
    tables = json.loads(again)
    assert tables["val"] == tables["test"] == json.loads((data / "out" / "table.json").read_text())["val"]


@needs_torchvision
@pytest.mark.torchvision
def test_tensorboard_has_every_step(data: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = train(data, "--tensorboard", "--loss-reg", "torchvision")
    assert code == 0, err
    events = EventAccumulator(str(data / "out" / "tensorboard"))
    events.Reload()
    assert {"train/lr", "train/loss_classifier", "val/AP"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss_classifier")] == [1, 2]


@needs_torchvision
@pytest.mark.torchvision
def test_tensorboard_that_is_missing_is_told_where_it_is_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = train(data, "--tensorboard")
    assert code == 2
    assert "tensorboard: true needs TensorBoard: pip install tensorboard" in err
    assert train(data)[0] == 0
    assert not (data / "out" / "tensorboard").exists()
