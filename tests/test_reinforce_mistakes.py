"""What a user may get wrong with `cse-autoloss reinforce`: one clear line, exit code 2, no run left behind.

And what a training may get wrong: a model that diverges is last and is never copied.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cse_autoloss import reinforce_loss
from cse_autoloss.cli.app import main
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.reinforce.search import Reinforce
from cse_autoloss.spaces.search_softmax import SearchSoftmax

SMALL: dict[str, Any] = {
    "reinforce.seeds": 1,
    "device": "cpu",
    "executor": "inprocess",
    "own.train_limit": 100,
    "own.epochs": 2,
    "reinforce.samples": 2,
    "reinforce.baselines": ["softmax"],
}


def _cifar(folder: Path, label: int = 3, cut: int = 0) -> str:
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = np.zeros((20, 3073), np.uint8)
        records[:, 0] = np.arange(20) % 10
        if name == "data_batch_2.bin":
            records[7, 0] = label
        content = records.tobytes()
        (folder / name).write_bytes(content[: len(content) - cut])
    return f"cifar10:{folder}"


def _idx(folder: Path, train: list[int], test: list[int]) -> str:
    for name, labels in (("train", train), ("t10k", test)):
        for kind, values in (
            ("images-idx3", np.zeros((len(labels), 8, 8), np.uint8)),
            ("labels-idx1", np.array(labels, np.uint8)),
        ):
            head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(head + values.tobytes())
    return f"idx:{folder}"


def _images(root: Path, names: dict[str, int]) -> str:
    for name, count in names.items():
        (root / name).mkdir(parents=True)
        for number in range(1, count + 1):
            Image.new("L", (8, 8), 10 * number).save(root / name / f"{number}.png")
    return f"folder:{root}"


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (_cifar, ["--model", "small", "--set=own.shrink=2"]),
        (lambda p: _idx(p, [0, 1, 2] * 6, [2, 1, 0]), ["--model=mlp"]),
        (
            lambda p: _images(p, {"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2}),
            ["--set=own.image_size=8"],
        ),
    ],
    ids=["cifar10", "idx", "folder"],
)
def test_data_on_disk_from_the_command_to_the_table(
    make: Callable[[Path], str],
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").mkdir()
    run = tmp_path / "run"
    tiny = [
        "--epochs=1",
        "--samples=2",
        "--seeds=1",
        "--device=cpu",
        "--set=executor=inprocess",
        "--label-noise=0.2",
        "--set=own.batch=5",
    ]
    few = ["--set=reinforce.baselines=[softmax]", "--set=reinforce.lr_factors=[1]"]
    arguments = ["--data", make(tmp_path / "data"), *options, *tiny, *few, "--out", str(run)]
    monkeypatch.setattr(sys, "argv", ["cse-autoloss", "reinforce", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    assert end.value.code in (0, None), told.err
    assert "am-lfs (searched)" in told.out
    assert "Files: loss.json, loss.py, model.pt" in told.out
    summary = json.loads((run / "summary.json").read_text())
    assert json.loads((run / "best" / "loss.json").read_text())["provenance"]["data"] == arguments[1]
    assert 0 <= summary["winners"][0]["test"]["mean"] <= 1


def _without_val(root: Path) -> str:
    data = _images(root, {"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1})
    (root / "val" / "a").mkdir(parents=True)
    return data


def _faces_without_val(root: Path) -> str:
    """Six people, three of whom the pairs name: they are the test split, and of the others one is left for val."""
    return _images(root, {f"p{i}": 3 for i in range(6)})


def _market(root: Path, train: list[str], query: list[str], gallery: list[str]) -> str:
    for part, names in (("bounding_box_train", train), ("query", query), ("bounding_box_test", gallery)):
        (root / part).mkdir()
        for name in names:
            Image.new("RGB", (8, 16)).save(root / part / f"{name}.png")
    return f"market:{root}"


TRAIN = [f"{person:04}_c{camera}s1_{frame}" for person in range(1, 7) for camera in (1, 2) for frame in "12"]
LONELY = [f"{person:04}_c1s1_1" for person in range(1, 7)]

MISTAKES: list[tuple[str, Callable[[Path], str] | None, list[str], str]] = [
    ("one model", None, ["--samples", "1"], "one reward has no variance"),
    ("no spread", None, ["--sigma", "0"], "options: reinforce.sigma: expected a number above 0, got 0"),
    (
        "negative spread",
        None,
        ["--sigma=-0.1"],
        "options: reinforce.sigma: expected a number above 0, got -0.1",
    ),
    (
        "no intervals",
        None,
        ["--intervals", "0"],
        "options: reinforce.intervals: expected a number of at least 1, got 0",
    ),
    ("no reward of that name", None, ["--reward", "acuracy"], "did you mean 'accuracy'?"),
    (
        "no task of that name",
        None,
        ["--task", "face"],
        "unknown task 'face'; did you mean 'faces'?",
    ),
    (
        "noise",
        None,
        ["--label-noise", "1"],
        "options: classification.label_noise: expected a number below 1, got 1",
    ),
    ("cifar cut off", lambda p: _cifar(p, cut=9), [], "61451 bytes are no whole number of records"),
    (
        "cifar label",
        lambda p: _cifar(p, 12),
        [],
        "data_batch_2.bin: item 7 has label 12; labels run from 0 to 9",
    ),
    ("cifar not there", lambda p: f"cifar10:{p}", [], "no data_batch_1.bin or data_batch_1"),
    ("shrink", _cifar, ["--set", "own.shrink=5"], "shrink: 5 does not divide the images' 32 x 32 pixels"),
    ("idx label", lambda p: _idx(p, [0, 1] * 3, [0, 2]), [], "item 1 has label 2; labels run from 0 to 1"),
    ("idx class of one", lambda p: _idx(p, [0, 0, 1], [0]), [], "class '1' has one image; two are needed"),
    ("idx class of none", lambda p: _idx(p, [0, 0, 2, 2], [0]), [], "class '1' has no training image"),
    ("idx empty", lambda p: _idx(p, [], []), [], "the train split is empty"),
    ("idx no test", lambda p: _idx(p, [0, 0, 1, 1], []), [], "the test split is empty"),
    (
        "class of one",
        lambda p: _images(p, {"train/a": 2, "train/b": 1, "test/a": 1}),
        [],
        "class 'b' has one",
    ),
    ("folder without val", _without_val, [], "val: no images"),
    (
        "faces without val",
        _faces_without_val,
        ["--task=faces", "--set=own.pairs=PAIRS"],
        "the val split has 1 people",
    ),
    (
        "faces, one kind of pairs",
        lambda p: _images(p, {f"p{i}": 6 for i in range(12)}),
        ["--task=faces", "--set=own.pairs=SAME"],
        "the test split has 12 pairs of one person and 0 of two",
    ),
    (
        "not a name of Market's",
        lambda p: _market(p, [*TRAIN, "holiday"], ["0011_c1s1_1"], ["0011_c2s1_1"]),
        ["--task", "reid"],
        "holiday.png: not a name of Market-1501",
    ),
    (
        "market without val",
        lambda p: _market(p, LONELY, ["0011_c1s1_1"], ["0011_c2s1_1"]),
        ["--task", "reid"],
        "the val split is empty: no query has an image of its person by another camera",
    ),
    (
        "market without an answer",
        lambda p: _market(p, TRAIN, ["0011_c1s1_1"], ["0011_c1s1_2", "-1_c2s1_1", "0000_c2s1_1"]),
        ["--task", "reid"],
        "the test split is empty: no query has an image of its person by another camera",
    ),
]


@pytest.mark.parametrize(
    ("data", "options", "words"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_one_line_and_no_run(
    data: Callable[[Path], str] | None,
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    pairs = {
        "PAIRS": [f"p{i} 1 2" for i in range(3)],
        "SAME": [f"p{i % 4} {i // 4 + 1} 5" for i in range(12)],
    }
    for name, lines in pairs.items():
        (tmp_path / name).write_text("\n".join(lines))
    given = [option.replace("PAIRS", str(tmp_path / "PAIRS")) for option in options]
    given = [option.replace("SAME", str(tmp_path / "SAME")) for option in given]
    arguments = ["--data", data(folder)] if data else []
    run = tmp_path / "run"
    here = ["--out", str(run), "--device=cpu", "--set=executor=inprocess"]
    monkeypatch.setattr(sys, "argv", ["cse-autoloss", "reinforce", *here, *arguments, *given])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    assert end.value.code == 2
    assert told.out == ""
    *progress, line = told.err.splitlines()
    assert all(one.startswith("[") and "looking at the data" in one for one in progress)
    assert line.startswith("error: ")
    assert words in line
    assert not run.exists()


class _Brittle(SearchSoftmax):
    """A loss that is NaN for each u above -0.45: about a third of what is drawn."""

    def loss(self, logits: Tensor, target: Tensor, theta: Tensor) -> Tensor:
        return torch.where(theta[0] > -0.45, math.nan, super().loss(logits, target, theta))


def test_a_diverged_model_is_last_and_is_never_copied(tmp_path: Path) -> None:
    space = _Brittle(10.0)
    options = {
        "reinforce.samples": 8,
        "seed": 3,
        "own.epochs": 4,
        "own.train_limit": 200,
        "own.lr": 0.2,
        "reinforce.selection_control": False,
    }
    reinforce_loss(out=tmp_path, space=space, **{**SMALL, **options, "reinforce.lr_factors": [1.0]})
    with RunStore.read(tmp_path) as store:
        kept = sorted(store.scores("epoch"), key=lambda score: score.epochs)
    search = Reinforce(space, samples=8, seed=3)
    state = search.init()
    for score in kept:
        rewards = [math.nan if reward is None else reward for reward in score.extra["rewards"]]
        broken = [math.isnan(reward) for reward in rewards]
        assert broken == [value > -0.45 for value in search.ask(state)[:, 0].tolist()]
        assert not broken[score.extra["best"]]
        state = search.tell(state, rewards)
        assert list(state.mu) == json.loads(score.losses["loss"])["theta"]
    assert sum(score.extra["rewards"].count(None) for score in kept) >= 4
    assert state.mu[0] < search.start[0]  # away from what breaks
    weights = torch.load(tmp_path / "best" / "model.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_one_learning_rate_may_be_too_high(tmp_path: Path) -> None:
    """The first diverges for all models of the search, the other does not: the search goes on with it."""
    summary = reinforce_loss(out=tmp_path, **SMALL, **{"reinforce.lr_factors": [1e30, 1.0]}).summary
    again = reinforce_loss(resume=tmp_path).summary
    assert (again["winners"], again["baselines"]) == (summary["winners"], summary["baselines"])
    with RunStore.read(tmp_path) as store:
        failed = store.scores("epoch", status="diverged")
    assert [score.extra["training"] for score in failed] == ["searched-0-1e+30", "control-0-1e+30"]
    assert failed[0].detail[:21] == "all 2 models diverged"
    assert all(row[0]["settings"]["lr"] == pytest.approx(0.1) for row in summary["by_seed"].values())
