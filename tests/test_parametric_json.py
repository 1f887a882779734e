"""The JSON of a parametric loss: what is no loss is refused in a line, and what is one is read soon."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cse_autoloss import load_loss
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.losses.parametric import ParametricLoss, ParametricSchedule
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.spaces.ap import ApSpace
from cse_autoloss.spaces.search_sigmoid import SearchSigmoid
from cse_autoloss.spaces.search_softmax import SearchSoftmax

AM_LFS: dict[str, Any] = {"name": "am-lfs", "intervals": 1}


def written(folder: Path, **changes: Any) -> Path:
    data = {"format": 1, "space": AM_LFS, "theta": [1.0, 0.0, 1.0, 0.0], **changes}
    file = folder / "loss.json"
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return file


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "format: expected 1, got 99"),
        ({"format": True}, "format: expected 1, got True"),
        ({"thetas": []}, "unknown key 'thetas'; did you mean 'theta'?"),
        ({"space": {**AM_LFS, "continuous": "no"}}, "continuous: expected true or false, got 'no'"),
        ({"space": {**AM_LFS, "scale": 1e308}}, "scale: expected a number from 1e-09 to 1e+06, got 1e+308"),
        ({"space": {**AM_LFS, "scale": "1"}}, "scale: expected a number above 0, got '1'"),
        ({"theta": [1e308, 0, 1, 0]}, "theta: expected numbers of at most 1e+09, got 1e+308"),
        ({"path": [[1, 0, 1, 0], [1, 0]]}, "theta: expected 4 finite numbers, got 2 values"),
        ({"path": []}, "path: expected at least one θ"),
        ({"space": {"name": "ap", "width": 1e-320}}, "width: expected a number from 1e-09 to 1e+06"),
        ({"space": {"name": "ap", "width": 1e308}}, "width: expected a number from 1e-09 to 1e+06"),
    ],
)
def test_what_is_no_loss_is_one_line(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(AutoLossError) as told:
        load_loss(file)
    assert str(told.value).startswith(f"{file}: {words}")
    assert "\n" not in str(told.value)


def test_alpha_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    with pytest.raises(ConfigError, match=r"^alpha: a parametric loss weights no classes, got 0\.3$"):
        load_loss(file, alpha=0.3)
    assert isinstance(load_loss(file, alpha=None), ParametricLoss)


@pytest.mark.parametrize(
    "loss",
    [
        ParametricLoss(SearchSoftmax(1e6), [1e9]),
        ParametricLoss(SearchSoftmax(1e-6, "a"), [-1e9]),
        ParametricLoss(ApSpace(2, 1e6), [1e9] * 10),
        ParametricLoss(ApSpace(2, 1e-6), [0.0] * 10),
    ],
)
def test_the_largest_and_the_least_that_is_taken_is_finite(loss: ParametricLoss) -> None:
    logits = torch.linspace(-30, 30, 40).reshape(8, 5).requires_grad_()
    value = loss(logits, torch.arange(8) % 5)
    value.backward()
    assert logits.grad is not None
    assert bool(value.isfinite() and logits.grad.isfinite().all())


def test_a_long_path_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    initialise = ParametricLoss.__init__

    def counted(self: ParametricLoss, *args: Any) -> None:
        made.append(self)
        initialise(self, *args)

    monkeypatch.setattr(ParametricLoss, "__init__", counted)
    schedule = ParametricSchedule(SearchSoftmax(), [[0.0]] * 1000)
    assert (len(made), len(schedule.path)) == (1, 1000)


@pytest.mark.parametrize("wrong", [-1, 1.5, math.nan, True, None, "1"])
def test_an_epoch_is_a_whole_number(wrong: Any) -> None:
    schedule = ParametricSchedule(SearchSoftmax(), [[0.0], [0.1]])
    with pytest.raises(ConfigError, match=r"^epoch: expected a whole number of at least 0, got"):
        schedule.set_epoch(wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan, math.inf, True, None, "x"])
def test_a_progress_is_a_share(wrong: Any) -> None:
    schedule = ParametricSchedule(SearchSoftmax(), [[0.0], [0.1]])
    with pytest.raises(ConfigError, match=r"^progress: expected a number from 0 to 1, got"):
        schedule.set_progress(wrong)


def test_the_alpha_of_a_run_is_that_of_its_expressions() -> None:
    text = ParametricLoss(SearchSigmoid(), [0.1]).text
    logits, target = torch.linspace(-3, 3, 20).reshape(4, 5), torch.arange(4)
    weighted, plain = (slot_loss(text, CLS_BINARY, alpha)(logits, target) for alpha in (0.3, None))
    assert torch.equal(weighted, plain)


def test_a_run_is_its_loss(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    written(tmp_path / "best")
    with pytest.raises(AutoLossError, match="a folder that holds no run"):
        load_loss(str(tmp_path))
    (tmp_path / "run.sqlite").touch()
    for source in (tmp_path, str(tmp_path)):
        assert isinstance(load_loss(source), ParametricLoss)


def test_softmax_is_cross_entropy_by_another_name() -> None:
    assert CATALOGUE["softmax"] is CATALOGUE["cross-entropy"]
    assert "softmax" not in list(CATALOGUE)
    assert load_loss("softmax", "cls-multiclass").signature.name == "cls-multiclass"
