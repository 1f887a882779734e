"""Whole REINFORCE runs on digits: resume, summary, exports; and the baselines against the catalogue's losses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from cse_autoloss import (
    RunResult,
    compare_losses,
    evolve,
    explain_loss,
    export_loss,
    load_loss,
    reinforce_loss,
    render_loss,
)
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.cli.reinforce import command
from cse_autoloss.compare.sources import read_source
from cse_autoloss.errors import AutoLossError, ConfigError, DataError, RunError, UnknownNameError
from cse_autoloss.export.parametric_source import schedule_source
from cse_autoloss.losses.margin import ArcFace, ASoftmax, CosFace
from cse_autoloss.losses.parametric import ParametricLoss, ParametricSchedule, is_parametric, make_space
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import dump, load_config, parse_config
from cse_autoloss.settings.schema import ReinforceSettings
from cse_autoloss.spaces import CLS_MULTICLASS
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.search_softmax import SearchSoftmax

SMALL: dict[str, Any] = {
    "reinforce.seeds": 1,
    "device": "cpu",
    "executor": "inprocess",
    "own.train_limit": 200,
    "own.epochs": 4,
    "reinforce.samples": 3,
    "reinforce.intervals": 3,
    "reinforce.baselines": ["softmax", "cosface"],
    "reinforce.lr_factors": [2.0],
}


class Killed(Exception):
    """Stands for a kill at the end of an epoch."""


class _Watch:
    """Hears what a run says of itself, and kills it at these words."""

    def __init__(self, fatal: str | None = None) -> None:
        self.texts: list[str] = []
        self._fatal = fatal

    def update(self, status: RunStatus) -> None:
        if status.message not in self.texts[-1:]:
            self.texts.append(status.message)
        if self._fatal is not None and self._fatal in status.message:
            raise Killed


def _same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """But for the time that it took."""
    assert one.keys() == other.keys()
    for name in one:
        assert name in ("seconds", "overhead", "utilisation") or one[name] == other[name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return reinforce_loss(out=tmp_path_factory.mktemp("runs") / "whole", **SMALL)


def _long(folder: Path) -> Path:
    """A schedule as of the default run, longer than any formula may be."""
    path = [[1.0 + epoch / 7] * 24 for epoch in range(40)]
    file = folder / "long.json"
    file.write_text(json.dumps(ParametricSchedule(AmLfs(), path).to_dict()))
    return file


def test_shares_of_the_workers_time_are_shares(finished: RunResult) -> None:
    used = finished.summary["utilisation"]
    shares = [
        phase[kind]
        for phase in used.values()
        if isinstance(phase, dict)
        for kind in phase
        if kind != "seconds"
    ]
    assert shares
    assert all(0 <= share <= 1.01 for share in shares)


def test_a_whole_run_and_the_same_after_two_kills(finished: RunResult, tmp_path: Path) -> None:
    whole, summary = finished.directory, finished.summary
    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        reinforce_loss(out=broken, **SMALL, observer=_Watch("searched-0-2: epoch 2"))
    with pytest.raises(Killed):
        evolve(resume=broken, observer=_Watch("control-0-2: epoch 3"))
    resumed = reinforce_loss(resume=broken).summary
    _same(resumed, summary)
    _same(reinforce_loss(resume=broken).summary, summary)
    one, other = (torch.load(d / "best" / "model.pt", weights_only=True) for d in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)

    assert json.loads((whole / "summary.json").read_text()) == summary
    assert (summary["space"], summary["task"], summary["slots"]) == (
        "am-lfs",
        "classification",
        {"loss": "cls-multiclass"},
    )
    assert summary["metric"]["name"] == "accuracy"
    assert summary["mu"]["start"] == list(AmLfs(3).start)
    assert summary["mu"]["end"] != summary["mu"]["start"]
    assert summary["mu"]["end"] in summary["mu"]["ends"]
    assert summary["mu"]["exported"] == json.loads((whole / "best" / "loss.json").read_text())["theta"]
    assert [row["name"] for row in summary["baselines"]] == ["softmax", "cosface", "softmax, best of B"]
    winner, searched, schedule = summary["winners"]
    names = [one["name"] for one in summary["winners"]]
    assert names == ["am-lfs, exported", "am-lfs (searched)", "am-lfs, schedule"]
    assert winner["losses"] == summary["best"]["losses"]
    assert winner["trainings"] == 4  # each quarter of the way, at one rate
    assert searched["trainings"] == 3
    assert schedule["trainings"] == 1
    assert {(one["of"], one["over"]) for one in summary["gains"]} >= {(name, "softmax") for name in names}
    assert 0.2 < winner["test"]["mean"] <= 1
    assert winner["test"]["low"] is None  # one seed tells nothing of the spread
    assert summary["best"]["losses"] == winner["losses"]
    assert summary["best"]["gain"]["over"] == summary["gains"][0]["over"]
    assert set(summary["seconds"]) == {"tune", "proxy", "audit", "total"}
    assert summary["verdict"].startswith("No better than")
    for name in ("mu.png", "gradient.png", "schedule.png", "approximation.png"):
        assert (whole / "plots" / name).read_bytes().startswith(b"\x89PNG")
    page = (whole / "report.html").read_text()
    for title in (
        "The searched distribution",
        "Gradient of the target",
        "one after another",
        "know, in this",
    ):
        assert title in page
    with RunStore.read(whole) as store:
        told = [score.extra["logits"] for score in store.scores("epoch")]
        searched = [one for one in told if one]
    assert len(searched) == 4  # of the search's epochs, and not of the control's
    assert all(sum(one["counts"]) == 200 and one["classes"] == 10 for one in searched)
    configured = {**SMALL, "search": "reinforce", "reinforce.side_by_side": True}
    assert load_config(whole / "config.yaml") == load_config("classification", configured)

    logits, target = 10 * torch.randn(30, 10), torch.arange(30) % 10
    scope: dict[str, Any] = {}
    exec((whole / "best" / "loss.py").read_text(), scope)
    found = scope["SearchedLoss"]()(logits, target)
    for loss in (load_loss(whole / "best" / "loss.json"), finished.load("loss")):
        torch.testing.assert_close(found, loss(logits, target))

    moving = load_loss(whole / "best" / "schedule.json")
    assert isinstance(moving, ParametricSchedule)
    assert moving.path.shape == (4, 12)
    torch.testing.assert_close(moving(logits, target), cross_entropy(logits, target))
    moving.set_epoch(3)
    assert not torch.allclose(moving(logits, target), cross_entropy(logits, target))
    assert moving.theta.tolist() == moving.path[3].tolist() != summary["mu"]["end"]
    with pytest.raises(ConfigError, match="epoch: expected a whole number of at least 0"):
        moving.set_epoch(-1)

    exec((whole / "best" / "schedule.py").read_text(), scope)
    standing = scope["SearchedLoss"]()
    standing.set_epoch(3)
    torch.testing.assert_close(standing(logits, target), moving(logits, target))
    told = json.loads((whole / "best" / "schedule.json").read_text())["provenance"]
    assert told["run"] == "whole"
    assert "verdict" not in told  # that is of the exported loss
    copy = load_loss(export_loss(whole / "best" / "schedule.json", tmp_path / "schedule.json"))
    assert isinstance(copy, ParametricSchedule)
    assert torch.equal(copy.path, moving.path)

    # A comparison trains all of it, spread over its own epochs, and not the first of its losses alone.
    assert load_loss(moving.text).path.tolist() == moving.path.tolist()  # type: ignore[union-attr]
    options = {"executor": "inprocess", "device": "cpu", "audit.epochs": 4, "audit.draws": 0}
    schedule = f"schedule={whole / 'best' / 'schedule.json'}"
    _, result = compare_losses(
        ["cross-entropy", schedule],
        task="classification",
        overrides=options,
        seeds=2,
        tune=False,
        out=tmp_path / "c",
    )
    assert is_parametric(result.standings[1].contestant.losses.losses["loss"])
    assert read_source(str(_long(tmp_path)), {"loss": CLS_MULTICLASS}).parts[0].label == "long"
    first, second = (one.scores["accuracy"] for one in result.standings)
    assert list(first) != list(second)

    with pytest.raises(RunError, match="holds a run already"):
        reinforce_loss(out=whole, **SMALL)
    with pytest.raises(ConfigError, match="seed: a resumed run keeps it as it was"):
        reinforce_loss(resume=whole, seed=3)


def test_without_its_checkpoints_a_search_goes_on_from_the_one_before_or_begins_anew(
    finished: RunResult, tmp_path: Path
) -> None:
    def goes_on(directory: Path, watch: _Watch) -> None:
        _same(reinforce_loss(resume=directory, observer=watch).summary, finished.summary)

    def first(watch: _Watch) -> str:
        return next(text for text in watch.texts if text.startswith("searched"))

    broken, again, last = tmp_path / "broken", _Watch(), _Watch("control-0-2: epoch 1")
    with pytest.raises(Killed):
        reinforce_loss(out=broken, **SMALL, observer=_Watch("searched-0-2: epoch 3"))
    there = sorted((broken / "states").glob("searched*"))
    assert [path.name for path in there] == ["searched-0-2.2.pt", "searched-0-2.3.pt"]
    spoilt = shutil.copytree(broken, tmp_path / "spoilt")
    there[-1].unlink()
    goes_on(broken, again)
    assert first(again).startswith("searched-0-2: epoch 3/4")

    (spoilt / "states" / there[-1].name).write_bytes(b"no checkpoint")
    with pytest.raises(Killed):
        reinforce_loss(resume=spoilt, observer=last)
    assert first(last).startswith("searched-0-2: epoch 3/4")
    for path in (spoilt / "states").iterdir():
        path.unlink()
    goes_on(spoilt, _Watch())


@pytest.mark.parametrize("space", ["search-softmax", "random-softmax"])
def test_the_other_spaces_run(tmp_path: Path, space: str) -> None:
    overrides = {
        **SMALL,
        "reinforce.space": space,
        "reinforce.seeds": 2,
        "own.epochs": 2,
        "reinforce.selection_control": False,
    }
    summary = reinforce_loss(out=tmp_path, **overrides).summary
    moved = any(end != summary["mu"]["start"] for end in summary["mu"]["ends"])
    assert moved == (space == "search-softmax")
    assert summary["winners"][0]["test"]["low"] is not None
    assert len(summary["mu"]["ends"]) == 2


def test_ablations_run(tmp_path: Path) -> None:
    overrides = {
        **SMALL,
        "reinforce.update": False,
        "reinforce.copy_best": False,
        "own.epochs": 2,
        "reinforce.selection_control": False,
    }
    summary = reinforce_loss(out=tmp_path, **overrides).summary
    assert summary["mu"]["end"] == summary["mu"]["start"]


def test_models_that_all_diverge_end_the_run_in_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="all 1 models diverged; a lower learning rate"):
        reinforce_loss(out=tmp_path, **{**SMALL, "own.lr": 1e30})


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("reinforce")(command)
    settings = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items() if "." in key]
    arguments = [
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--no-copy-best",
        "--set=executor=inprocess",
        "--out",
        str(tmp_path / "run"),
        "--json",
        "-q",
    ]
    result = CliRunner().invoke(app, [*settings, *arguments])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["directory"] == str(tmp_path / "run")
    result = CliRunner().invoke(app, ["--set", "reinforce.sample=4"])
    assert isinstance(result.exception, ConfigError)
    assert "options: reinforce.sample: unknown key; did you mean 'samples'?" in str(result.exception)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"reinforce.samples": 1},
            "options: reinforce.samples: expected 2 or more: one reward has no variance",
        ),
        ({"reinforce.sigma": 0}, "options: reinforce.sigma: expected a number above 0, got 0"),
        ({"reinforce.intervals": 0}, "reinforce.intervals"),
        (
            {"reinforce.space": "am-lsf"},
            "reinforce.space: expected 'am-lfs', 'search-softmax', 'random-softmax', 'search-sigmoid' or 'ap', got",
        ),
        ({"own.label_noise": 1}, "options: classification.label_noise: expected a number below 1, got 1"),
        ({"reinfroce.seeds": 3}, "options: reinfroce: unknown key; did you mean 'reinforce'?"),
        ({"seed.x": 3}, "seed"),
    ],
)
def test_mistakes_in_the_configuration(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("classification", overrides)
    assert words in str(caught.value)


def test_the_commented_configuration_is_the_default() -> None:
    default, plain = load_config("classification"), parse_config({"task": "classification"})
    assert default == load_config(None, {"task": "classification"})
    assert (default.own, default.reinforce) == (plain.own, plain.reinforce)
    assert tuple(BASELINES) == default.reinforce.baselines
    assert "label_noise: 0.0" in dump(default)
    with pytest.raises(ConfigError, match="did you mean 'classification'"):
        load_config("clasification")


@pytest.mark.parametrize(
    ("name", "task", "model"),
    [("cifar10", "classification", "resnet20"), ("faces", "faces", "face"), ("reid", "reid", "face")],
)
def test_the_packages_configurations(name: str, task: str, model: str) -> None:
    config = load_config(name)
    assert (config.task, config.own.model) == (task, model)
    assert config.reinforce.intervals == ReinforceSettings().intervals


def _cosines() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 1.99 * torch.rand(200, 6, generator=generator, dtype=torch.float64) - 0.995, torch.arange(200) % 6


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_the_catalogues_losses(name: str) -> None:
    cosine, target = _cosines()
    baseline = BASELINES[name]
    for setting in baseline.grid:
        ours, theirs = (cosine.clone().requires_grad_() for _ in range(2))
        value = baseline.space(12.0).loss(12 * ours, target, torch.tensor([setting], dtype=torch.float64))
        if name == "cosface":
            expected = CosFace("none", 12.0, setting)(theirs, target)
        elif name == "arcface":
            expected = ArcFace("none", 12.0, setting)(theirs, target)
        elif name == "a-softmax":
            expected = ASoftmax("none", 12.0, 4, setting)(theirs, target)
        elif name == "focal":
            logs = (12 * theirs).log_softmax(-1).gather(-1, target[:, None])[:, 0]
            expected = -((1 - logs.exp()) ** setting) * logs
        else:
            smoothing = setting if name == "label-smoothing" else 0.0
            expected = cross_entropy(12 * theirs, target, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(value, expected)
        grads = [torch.autograd.grad(v.sum(), x)[0] for v, x in ((value, ours), (expected, theirs))]
        torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize(
    "space",
    [AmLfs(), AmLfs(3, 8.0, "unbounded"), AmLfs(1, 12.0), SearchSoftmax(), make_space("random-softmax")],
)
def test_the_exported_file_is_the_loss(space: ParametricSpace) -> None:
    generator = torch.Generator().manual_seed(2)
    theta = torch.tensor(space.start) + 0.2 * torch.randn(len(space.start), generator=generator)
    scope: dict[str, Any] = {}
    exec(schedule_source(space, [theta.tolist()], {"run": 'x""" + evil \\'}), scope)
    target = torch.arange(50) % 5
    for size in (1.0, 30.0, 300.0):
        mine, theirs = (size * torch.linspace(-1, 1, 250).reshape(50, 5).sin() for _ in range(2))
        mine.requires_grad_()
        theirs.requires_grad_()
        value = scope["SearchedLoss"]("none")(mine, target)
        expected = ParametricLoss(space, theta.tolist(), "none")(theirs, target)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for wrong in (target.unsqueeze(1), target.float(), target[:3]):
        with pytest.raises(
            ValueError, match=r"logits must be float \(N, C\) and target \(N,\) int64 class indices, got"
        ):
            scope["SearchedLoss"]()(mine.detach(), wrong)


def test_the_module_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 24 finite numbers"):
        ParametricLoss(AmLfs(), [1.0])
    with pytest.raises(ConfigError, match="finite"):
        ParametricLoss(SearchSoftmax(), [math.nan])
    with pytest.raises(DataError, match="target holds 7; class indices run from 0 to 4"):
        ParametricLoss(SearchSoftmax(), [0.0])(torch.zeros(2, 5), torch.tensor([0, 7]))
    with pytest.raises(UnknownNameError, match="did you mean 'am-lfs'"):
        make_space("am-lf")
    path = tmp_path / "loss.json"
    with pytest.raises(DataError, match="No such file"):
        load_loss(path)
    for text, words in (
        ("{", "not JSON"),
        ('{"theta": [1]}', "unknown key 'theta'"),
        ('{"space": {"name": "am-lfs"}}', "not the JSON of a parametric loss"),
        ('{"space": {"name": "am-lfs", "x": 1}, "theta": []}', "not the JSON of a parametric loss"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"loss\.json: {words}"):
            load_loss(path)


def test_every_command_takes_what_a_run_found(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {**SMALL, "own.epochs": 1, "reinforce.baselines": [], "reinforce.selection_control": False}
    result = reinforce_loss(out=run, **options)
    assert result.summary["best"]["gain"] is None
    loss = result.load("loss")
    logits, target = 10 * torch.randn(30, 10), torch.arange(30) % 10
    expected = loss(logits, target)
    for source in (run, run / "best" / "loss.json", result.summary["best"]["losses"]["loss"]):
        export_loss(source, tmp_path / "mine.json")
        torch.testing.assert_close(load_loss(tmp_path / "mine.json")(logits, target), expected)
        scope: dict[str, Any] = {}
        exec(export_loss(source, tmp_path / "mine.py").read_text(), scope)
        torch.testing.assert_close(scope["SearchedLoss"]()(logits, target), expected)
    export_loss(run, tmp_path / "mine.json")
    assert json.loads((tmp_path / "mine.json").read_text())["provenance"]["run"] == "run"
    assert explain_loss(run, tmp_path / "page.html")[0].read_text().count("<svg") >= 2
    for text, label in ((str(run), "run"), (str(run / "best" / "loss.json"), "")):
        source = read_source(text, {"loss": CLS_MULTICLASS})
        assert source.label == label
        (part,) = source.parts
        assert (part.text, part.signature) == (loss.text, "cls-multiclass")
    with pytest.raises(
        AutoLossError, match=r"mine\.svg: a parametric loss is no expression; it is written as .json or"
    ):
        export_loss(run, tmp_path / "mine.svg")
    with pytest.raises(DataError, match="a parametric loss, which is no expression"):
        render_loss(run, tmp_path / "mine.svg")
    with pytest.raises(UnknownNameError, match="is a cls-multiclass loss, not reg"):
        load_loss(run / "best" / "loss.json", "reg")


def test_a_detector_with_a_softmax_head_is_searched_by_whole_trainings(tmp_path: Path) -> None:
    options = {
        "config": "smoke",
        "device": "cpu",
        "executor": "inprocess",
        "own.detector": "two-stage",
        "own.cache": tmp_path / "scenes",
        "reinforce.space": "search-softmax",
        "reinforce.samples": 2,
        "generations": 1,
        "audit.baselines": 1,
    }
    summary = reinforce_loss("detection", out=tmp_path / "run", **options).summary
    assert summary["slots"] == {"cls": "cls-multiclass"}
    assert summary["best"]["losses"]["cls"].startswith('{"space": {"name": "search-softmax"')
    assert not load_config(tmp_path / "run" / "config.yaml").reinforce.side_by_side
    with pytest.raises(ConfigError, match="search-softmax is a space of softmax losses") as caught:
        reinforce_loss("detection", out=tmp_path / "none", **{**options, "own.detector": "one-stage"})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="detection can not train models side by side"):
        evolve("detection", out=tmp_path / "none", **{**options, "reinforce.side_by_side": True})
