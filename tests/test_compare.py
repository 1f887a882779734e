"""Whole comparisons, small: their files, that a killed one goes on to the same end, and what users see."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.cli.app import main
from cse_autoloss.compare.live import line, place, render
from cse_autoloss.compare.plot import _heading, plot_comparison
from cse_autoloss.compare.result import Comparison
from cse_autoloss.compare.run import compare_losses
from cse_autoloss.compare.table import print_comparison
from cse_autoloss.errors import AutoLossError, ConfigError, DataError, RunError
from cse_autoloss.report.screen import Lines
from cse_autoloss.runs import RunStore
from cse_autoloss.tasks.scenes import CLASS_NAMES

TINY: dict[str, Any] = {
    "detection.data": "digits",
    "executor": "inprocess",
    "device": "cpu",
    "detection.scenes.counts": [32, 16, 16],
    "audit.epochs": 1,
    "audit.tune_epochs": 1,
    "audit.tuning": 8,
}
ONE = {"audit.tuning": 2}
LOSSES = ("bce+giou", "focal+l1")


class Watcher:
    """Raises `error` when `stop` says so, and remembers what it saw."""

    def __init__(self, stop: Callable[[RunStatus], bool] = lambda status: False) -> None:
        self.stop, self.error = stop, KeyboardInterrupt
        self.phases: list[str] = []
        self.last = RunStatus()

    def update(self, status: RunStatus) -> None:
        if status.phase not in self.phases:
            self.phases.append(status.phase)
        self.last = status
        if self.stop(status):
            raise self.error


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison, Watcher, list[str]]:
    watcher, said = Watcher(), list[str]()
    out = tmp_path_factory.mktemp("compare") / "one"
    directory, result = compare_losses(
        LOSSES, overrides=TINY, seeds=2, out=out, observer=watcher, say=said.append
    )
    return directory, result, watcher, said


def test_files_hold_the_same_figures(finished: tuple[Path, Comparison, Watcher, list[str]]) -> None:
    directory, result, _, _ = finished
    document = json.loads((directory / "comparison.json").read_text())
    assert document == json.loads(json.dumps(result.to_dict()))
    first, second = document["losses"]
    assert (first["name"], second["name"]) == ("bce + giou", "focal + l1")
    assert first["difference"] == {"ap": None, "ap50": None, "ap75": None}
    gain = [b - a for a, b in zip(first["ap50"]["seeds"], second["ap50"]["seeds"])]
    assert second["difference"]["ap50"]["mean"] == pytest.approx(sum(gain) / 2)
    assert second["difference"]["ap"]["low"] <= second["difference"]["ap"]["mean"]
    with (directory / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["ap"]) for row in rows] == pytest.approx(
        [one["ap"]["mean"] for one in document["losses"]], abs=1e-6
    )
    assert (rows[0]["ap_difference"], rows[0]["reg"]) == ("", "giou")
    with (directory / "scores.csv").open() as stream:
        assert [row["seed"] for row in csv.DictReader(stream)] == ["3000", "3001"] * 2
    with Image.open(directory / "comparison.png") as image:
        assert image.width > 1000


def test_all_are_tuned_alike_and_only_the_end_sees_test(
    finished: tuple[Path, Comparison, Watcher, list[str]],
) -> None:
    directory, result, watcher, said = finished
    with RunStore.read(directory) as store:
        tuning = [s for s in store.scores("tune") if s.seed >= 0]
        finals = store.scores("audit")
    weights = {
        name: {s.settings["box_weight"] for s in tuning if s.losses["reg"] == name} for name in ("giou", "l1")
    }
    assert 2.0 in weights["giou"]
    assert 2 / 32 in weights["l1"]
    assert max(weights["l1"]) <= 16 / 32
    # Six points of each; the two best of them once more, with another seed.
    assert [s.seed for s in tuning].count(2000) == 12
    assert [s.seed for s in tuning].count(2001) == 4
    assert [one.contestant.trainings for one in result.standings] == [8, 8]
    assert "tuned alike, 8 trainings each" in result.notes
    assert len({s.losses["cls"] for s in tuning if s.losses["cls"].startswith("focal")}) > 3
    assert {s.split for s in tuning} == {"val"}
    assert {(s.split, s.seed) for s in finals} == {("test", 3000), ("test", 3001)}
    for one in result.standings:
        chosen = one.contestant.losses
        both = [
            s.metrics.get("ap", 0.0)
            for s in tuning
            if s.losses == chosen.losses and s.settings == chosen.tuned
        ]
        assert one.contestant.val == pytest.approx(sum(both) / 2)
    assert watcher.phases == ["measure", "tune", "audit"]
    assert "box weights are multiplied by 0.03125" in said[0]
    assert said[1].startswith("16 trainings to tune 2 contestants alike and 4 to compare them; about ")


def test_killed_anywhere_it_goes_on_to_the_same_end(
    finished: tuple[Path, Comparison, Watcher, list[str]], tmp_path: Path
) -> None:
    _, whole, _, _ = finished
    killed = Watcher(lambda status: status.phase == "tune" and status.done == 2)
    killed.error = RuntimeError  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        compare_losses(LOSSES, overrides=TINY, seeds=2, out=tmp_path / "two", observer=killed)
    stopped = Watcher(lambda status: status.phase == "audit" and status.done == 3)
    directory, partial = compare_losses(resume=tmp_path / "two", observer=stopped)
    assert partial.seeds == (3000,)
    assert any(
        note.startswith("interrupted; go on with: cse-autoloss compare --resume") for note in partial.notes
    )
    with RunStore.read(directory) as store:
        assert store.status == "interrupted"
        kept = {s.key for s in store.scores()}
    said: list[str] = []
    _, resumed = compare_losses(resume=directory, say=said.append)
    assert resumed.to_dict() == whole.to_dict()
    assert "19 of them are done" in said[-1]
    with RunStore.read(directory) as store:
        assert kept < {s.key for s in store.scores()}


def test_more_seeds_may_be_added(
    finished: tuple[Path, Comparison, Watcher, list[str]], tmp_path: Path
) -> None:
    _, whole, _, _ = finished
    options: dict[str, Any] = {**TINY, **ONE}
    directory, few = compare_losses(
        ["bce+giou"], overrides=options, seeds=1, tune=False, out=tmp_path / "few"
    )
    assert few.standings[0].contestant.losses.tuned["box_weight"] == 2.0
    assert few.to_dict()["tuning"] is None
    assert few.to_dict()["losses"][0]["ap"]["low"] is None
    assert "no intervals" in few.notes[-1]
    _, more = compare_losses(resume=directory, seeds=2)
    assert more.standings[0].scores["ap"][:1] == few.standings[0].scores["ap"]
    if whole.standings[0].contestant.losses.tuned["box_weight"] == 2.0:
        assert more.standings[0].scores == whole.standings[0].scores


def test_validation_may_be_scored_and_without_losses_the_baselines_are(tmp_path: Path) -> None:
    options = {**TINY, **ONE, "audit.baselines": 2}
    directory, result = compare_losses(overrides=options, seeds=1, split="val", out=tmp_path / "val")
    assert [one.contestant.name for one in result.standings] == ["bce + giou", "quality-gce + giou"]
    with RunStore.read(directory) as store:
        assert {s.split for s in store.scores()} == {"val"}
    assert any("same validation split" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"split": "train"}, ConfigError, "split: expected 'test' or 'val'"),
        ({"seeds": 0}, ConfigError, "seeds: expected 1 to 1000, got 0"),
        ({"overrides": {"detection.detector": "one-stag"}}, AutoLossError, "did you mean 'one-stage'"),
        ({"overrides": {"detection.data": "coco:nowhere"}}, DataError, "nowhere"),
        ({"overrides": {"audit.epoch": 3}}, ConfigError, "did you mean 'epochs'"),
        ({"resume": "nowhere"}, ConfigError, "leave losses"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    options: dict[str, Any], error: type[AutoLossError], words: str, tmp_path: Path
) -> None:
    where: dict[str, Any] = {} if "resume" in options else {"out": tmp_path / "never"}
    with pytest.raises(error) as caught:
        compare_losses(["focal"], **where, **options)
    assert words in str(caught.value)
    assert not (tmp_path / "never").exists()


def test_directories_are_not_mixed_up(
    finished: tuple[Path, Comparison, Watcher, list[str]], tmp_path: Path
) -> None:
    directory, _, _, _ = finished
    with pytest.raises(RunError, match="go on with it by --resume"):
        compare_losses(["focal"], out=directory)
    with pytest.raises(ConfigError, match="only seeds and workers may change"):
        compare_losses(resume=directory, overrides={"audit.epochs": 3})
    RunStore.create(tmp_path / "search", {}).close()
    with pytest.raises(RunError, match="a search, not a comparison"):
        compare_losses(resume=tmp_path / "search")


def test_failed_trainings_count_as_nothing_and_are_told(tmp_path: Path) -> None:
    # Its slope is finite at the start, but so steep that the first step ends the training.
    steep = "Exp(Exp(Mul(3,Mul(3,Sub(3,Mul(3,Div(I,U)))))))"
    _, result = compare_losses(
        [f"steep=bce+{steep}"],
        overrides={**TINY, **ONE, "detection.box_weight": 1e6},
        seeds=1,
        tune=False,
        out=tmp_path / "x",
    )
    (one,) = result.standings
    assert (one.failed, one.scores["ap"]) == (1, (0.0,))
    assert any(note.startswith("steep: 1 of 1 trainings count as 0 (diverged") for note in result.notes)


def test_the_table_fits_eighty_columns(
    finished: tuple[Path, Comparison, Watcher, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, result, _, _ = finished
    print_comparison(result, directory, Console(width=80))
    _, *lines = capsys.readouterr().out.splitlines()
    ends = next(i for i, text in enumerate(lines) if text.startswith(("Ahead", "Behind", "Not told apart")))
    assert max(map(len, lines[:ends])) <= 80
    assert lines[0].split() == ["loss", "AP", "AP50", "AP75", "AP,", "less", "first"]
    assert any(text.startswith("box weight ") for text in lines[:ends])
    figures = result.standings[1].scores["ap50"]
    assert any(f"{50 * sum(figures):.2f}" in text for text in lines[:ends] if text.startswith("focal + l1"))
    assert lines[-1].startswith(f"Files: {directory}: comparison.csv")


def test_the_parts_of_the_figures_are_told(finished: tuple[Path, Comparison, Watcher, list[str]]) -> None:
    directory, result, _, _ = finished
    classes = [f"AP of {name}" for name in CLASS_NAMES]
    for entry in json.loads((directory / "comparison.json").read_text())["losses"]:
        parts = entry["parts"]
        assert set(parts) >= {"AR", "AP, small", *classes}
        assert 0 <= entry["ap"]["mean"] <= parts["AR"] <= 1
        assert sum(parts[name] for name in classes) / len(classes) == pytest.approx(entry["ap"]["mean"])
    stream = io.StringIO()
    print_comparison(result, directory, Console(file=stream, width=80), detail=True)
    assert all(name in stream.getvalue() for name in classes)


def test_names_in_any_script_and_with_dollars_are_drawn(
    finished: tuple[Path, Comparison, Watcher, list[str]], tmp_path: Path
) -> None:
    result = finished[1]
    first, *others = result.standings
    named = replace(first, contestant=replace(first.contestant, name="猫 $\\frac$"))
    odd = {**result.task, "what": "one-stage on a$b$c \udcff"}
    plot_comparison(replace(result, task=odd, standings=(named, *others)), tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 1000


def test_the_picture_says_what_its_intervals_are_over(
    finished: tuple[Path, Comparison, Watcher, list[str]],
) -> None:
    result = finished[1]
    over = {draws: _heading(replace(result, plan=replace(result.plan, draws=draws))) for draws in (0, 2)}
    assert "paired seeds; bars: 95% intervals over seeds, dots: seeds" in over[0]
    assert "paired seeds on 2 fresh draws of the data; bars: 95% intervals over draws, dots: seeds" in over[2]


def test_progress_is_shown(finished: tuple[Path, Comparison, Watcher, list[str]]) -> None:
    _, _, watcher, _ = finished
    status = watcher.last
    assert set(status.best) == {"bce + giou", "focal + l1"}
    text = line(status)
    assert "comparing with paired seeds · 4/4 trainings · ahead: " in text
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(status))
    screen = console.export_text()
    assert "2 of 2" in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_the_command_prints_and_exits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    command = [
        "cse-autoloss",
        "compare",
        "focal",
        "--no-tune",
        "--seeds=1",
        "--json",
        "-q",
        f"--out={tmp_path / 'a'}",
    ]
    monkeypatch.setattr("sys.argv", [*command, *settings])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out, err = capsys.readouterr()
    assert json.loads(out)["losses"][0]["name"] == "focal + giou"
    assert err == ""
    monkeypatch.setattr("sys.argv", ["cse-autoloss", "compare", "cross-entropy"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: cross-entropy: a cls-multiclass loss")
    assert err.count("\n") == 1


def test_lines_are_printed_at_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(sys.stdout, line, place, every=1000)
    lines.update(RunStatus(phase="tune", done=1, total=4))
    lines.update(RunStatus(phase="tune", done=2, total=4))
    lines.update(RunStatus(phase="audit", done=0, total=4, elapsed=60, budget=90))
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[1].endswith("about 0:30 left")


OWN = '''
"""A line through points, some of which lie far off: a task with a signature of its own."""
import torch
from cse_autoloss.graph import Input, Signature, Walk
from cse_autoloss.settings.fields import Section
from cse_autoloss.tasks.protocol import Metric, Task, TaskScore

GAP = Signature(
    "gap", inputs=[Input("G", meaning="gap")],
    walks=[Walk("G", start=-10, end=0), Walk("G", start=10, end=0)], default="Mul(G,G)",
)

class Slope(Task):
    name = "slope"
    slots = {"loss": GAP}
    metrics = (Metric("miss", higher=False, worst=9.0),)
    baselines = ({"loss": "Mul(G,G)"},)

    class Settings(Section):
        points: int = 40

    def train(self, losses, *, seed, schedule, settings, split):
        source = torch.Generator().manual_seed(seed)
        x = torch.randn(self.settings.points, generator=source)
        y = 2 * x
        y[:4] += 8
        slope = torch.zeros(1, requires_grad=True)
        for _ in range(200):
            (step,) = torch.autograd.grad(losses["loss"](slope * x - y) / len(x), slope)
            slope = (slope - 0.05 * step).detach().requires_grad_()
        return TaskScore({"miss": abs(float(slope) - 2)})
'''


@pytest.mark.parametrize(
    ("losses", "options", "words"),
    [
        ("focal", {}, "losses: expected a list of names or formulas, got 'focal'"),
        ([None], {}, r"losses: expected a list of names or formulas, got \[None\]"),
        (["focal"], {"seeds": "5"}, "seeds: expected 1 to 1000, got '5'"),
        (["focal"], {"seeds": 2.5}, "seeds: expected 1 to 1000, got 2.5"),
    ],
)
def test_what_is_no_list_of_losses_is_told(losses: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compare_losses(losses, **options)


@pytest.fixture
def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs `compare` with what is given: exit code, output and errors."""

    def run(*given: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cse-autoloss", "compare", *given])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return run


def test_a_task_with_a_signature_of_its_own(
    tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    given = (
        "Mul(G,G)",
        "bound=Abs(G)",
        "--task",
        f"{path}:Slope",
        "--seeds",
        "3",
        "--no-tune",
        "--workers",
        "1",
    )
    code, out, err = told(*given, "--json", "--quiet", "--out", str(tmp_path / "out"))
    assert (code, err) == (0, "")
    square, bound = json.loads(out)["losses"]
    assert (square["losses"], bound["losses"]) == ({"loss": "Mul(G,G)"}, {"loss": "Abs(G)"})
    assert bound["miss"]["mean"] < 0.1 < square["miss"]["mean"]
    code, _, err = told("Mul(H,H)", "--task", f"{path}:Slope")
    assert code == 2
    assert "'H'" in err


def test_any_task_by_the_options(tmp_path: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    small = ("--epochs", "1", "--seeds", "2", "--no-tune", "--workers", "1", "--json", "-q")
    given = ("huber", "squared-error", "--task", "regression", "--metric", "rmse", *small)
    code, out, _ = told(*given, "--out", str(tmp_path / "a"))
    assert code == 0
    assert next(iter(json.loads(out)["losses"][1]["difference"])) == "rmse"
    for options, words in (
        (["--task", "regresion"], "did you mean 'regression'"),
        (["--task", "regression", "--metric", "mea"], "unknown metric of regression 'mea'"),
        (["--task", "classification"], "takes cls-multiclass ones"),
    ):
        code, _, err = told("huber", *options)
        assert code == 2
        assert words in err
