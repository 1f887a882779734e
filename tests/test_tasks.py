"""Every task of the package: its conformance, and a whole search on it at the smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from task_samples import TINY

import cse_autoloss
from cse_autoloss.bench.scored import scored
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.tasks import section_of
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.registry import TASKS
from cse_autoloss.testing.tasks import TaskConformance

SMALL: dict[str, dict[str, Any]] = {
    "classification": {"train_limit": 200},
    "regression": {"outliers": 0.3},
    "segmentation": {"scenes": {"canvas": 16, "size": [8, 12], "digits": [1, 1], "counts": [40, 24, 24]}},
}


@pytest.mark.parametrize("task", SMALL)
def test_a_search_runs_to_its_end(task: str, tmp_path: Path) -> None:
    own = {f"own__{name}": value for name, value in SMALL[task].items()}
    result = cse_autoloss.evolve(task, config=task, out=tmp_path / "run", **TINY, **own)
    summary = result.summary
    assert summary["status"] == "finished"
    assert summary["best"]["gain"]["low"] <= summary["best"]["gain"]["high"]
    assert len(summary["baselines"]) == 2


MINE = '''
"""Points of two kinds in the plane, told apart by a line."""
import torch
from cse_autoloss.settings.fields import Section
from cse_autoloss.spaces import CLS_BINARY
from cse_autoloss.tasks.protocol import Metric, Task, TaskScore, Tunable

class Line(Task):
    name = "line"
    slots = {"loss": CLS_BINARY}
    metrics = (Metric("error", higher=False, worst=1.0),)
    tunables = (Tunable("lr", 0.5, (0.1, 1.0)),)
    baselines = ({"loss": "bce"}, {"loss": "focal"})

    class Settings(Section):
        points: int = 200

    def points(self, split):
        source = torch.Generator().manual_seed(["train", "val", "test"].index(split))
        x = torch.randn(self.settings.points, 2, generator=source)
        noise = torch.randn(len(x), generator=source)
        return x, (x.sum(1) + noise < 0).long()  # the one class is 0, the background 1

    def train(self, losses, *, seed, schedule, settings, split):
        x, y = self.points("train")
        weight = torch.randn(2, 1, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        for _ in range(max(1, round(schedule.epochs))):
            (slope,) = torch.autograd.grad(losses["loss"](x @ weight, y) / len(y), weight)
            if not slope.isfinite().all():
                return TaskScore(status="diverged", detail="the slope is not finite")
            weight = (weight - settings.get("lr", 0.5) * slope).detach().requires_grad_()
        x, y = self.points(split)
        wrong = ((x @ weight)[:, 0] < 0).long() != y
        return TaskScore.of({"error": float(wrong.float().mean())}, train_samples=len(y))
'''


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return f"{path}:Line"


def test_a_task_of_ones_own_is_searched(mine: str, tmp_path: Path) -> None:
    result = cse_autoloss.evolve(mine, out=tmp_path / "run", own__points=100, **TINY)
    assert result.summary["status"] == "finished"
    assert result.summary["metric"]["name"] == "error"
    best = result.summary["best"]
    assert 0 <= best["test"]["mean"] < 0.5
    with RunStore.read(tmp_path / "run") as store:
        assert store.config["Line"] == {"points": 100}
        # It can't pause: nothing was trained to a rung.
        assert {score.purpose for score in store.scores()} >= {"proxy", "tune", "audit"}
        assert not [score for score in store.scores() if score.purpose == "rung"]


TWO_SLOTS = MINE.replace(
    'slots = {"loss": CLS_BINARY}', 'slots = {"ONE": CLS_BINARY, "TWO": REGRESSION}'
).replace('baselines = ({"loss": "bce"}, {"loss": "focal"})', 'baselines = ({"ONE": "bce", "TWO": "huber"},)')


@pytest.mark.parametrize(("one", "two"), [("edge", "area"), ("cls", "reg")])
def test_losses_of_other_slots_than_a_detectors_are_found_written_and_read(
    one: str, two: str, tmp_path: Path
) -> None:
    text = TWO_SLOTS.replace("ONE", one).replace("TWO", two)
    text = text.replace(
        'losses["loss"](x @ weight, y)', f'(losses["{one}"](x @ weight, y) + losses["{two}"](x @ weight - 1))'
    )
    text = text.replace(
        "import CLS_BINARY", "import CLS_BINARY\nfrom cse_autoloss.spaces.signatures import REGRESSION"
    )
    (tmp_path / "mine.py").write_text(text)
    run = tmp_path / "run"
    result = cse_autoloss.evolve(f"{tmp_path / 'mine.py'}:Line", out=run, own__points=50, **TINY)
    assert list(result.summary["best"]["losses"]) == [one, two]
    assert {path.name for path in (run / "best").iterdir()} >= {f"loss_{one}.py", f"loss_{two}.json"}
    with pytest.raises(ConfigError, match="and a file holds one: take it by --signature"):
        cse_autoloss.export_loss(run, tmp_path / "loss.py")
    cse_autoloss.export_loss(run, tmp_path / "loss.py", two)
    assert "R" in (tmp_path / "loss.py").read_text()
    pages = cse_autoloss.explain_loss(run, tmp_path / "page.html")
    assert {page.name for page in pages} >= {f"page-{one}.html", f"page-{two}.html"}
    assert len(cse_autoloss.certify_loss(run, seconds=0.2)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("def train(", "def trains("), "without train"),
        (("    baselines = ", "    others = "), "without baselines"),
        (("class Line(Task):", "def Line(*_):\n  class Inner(Task):"), "got function"),
        (("class Line(Task):", "class Line:"), "got a class without Task as its base"),
        (("import torch\n", "import torch\nraise OSError('no\\nluck')\n"), "OSError: no luck"),
        (("class Line", "class Lime"), "did you mean 'Lime'"),
    ],
)
def test_what_is_no_task_is_told_in_one_line(mine: str, change: tuple[str, str], words: str) -> None:
    path = Path(mine.rpartition(":")[0])
    text = path.read_text()
    assert change[0] in text
    changed = text.replace(*change)
    if "Inner" in changed:
        changed = "def Line(*_):\n    pass\n"
    path.write_text(changed)
    with pytest.raises(AutoLossError) as caught:
        TASKS.get(mine)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


RETURN = 'TaskScore.of({"error": float(wrong.float().mean())}, train_samples=len(y))'


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("None", "must return a TaskScore, got None"),
        ('{"error": 0.5}', "must return a TaskScore, got {'error': 0.5}"),
        ("TaskScore()", "gave no error, which the task declares; there is none"),
        ('TaskScore({"errors": 0.5})', "gave no error, which the task declares; there is errors"),
        ('TaskScore({"error": "low"})', "error: expected a number, got 'low'"),
        ('TaskScore({"error": 0.5}, "fine")', "gave the status 'fine'"),
    ],
)
def test_what_is_no_score_is_told_in_one_line(mine: str, returned: str, words: str, tmp_path: Path) -> None:
    path = Path(mine.rpartition(":")[0])
    path.write_text(path.read_text().replace(RETURN, returned))
    with pytest.raises(AutoLossError) as caught:
        cse_autoloss.evolve(mine, out=tmp_path / "run", **TINY)
    assert words in str(caught.value)
    assert "the task line: train" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("returned", "status", "figure"),
    [
        ('TaskScore({"error": (wrong.float().mean())})', "ok", True),
        ('TaskScore({"error": float("nan")}, parts={"one": 1.0})', "diverged", False),
        ('TaskScore({"error": 0.5}, "diverged", "why")', "diverged", False),
    ],
)
def test_a_score_holds_finite_floats_or_is_a_failure(
    mine: str, returned: str, status: str, figure: bool
) -> None:
    path = Path(mine.rpartition(":")[0])
    path.write_text(path.read_text().replace(RETURN, returned))
    task = TASKS.get(mine)(TASKS.get(mine).Settings(), "cpu")
    losses = {"loss": slot_loss("bce", task.slots["loss"], None)}
    given = task.train(losses, seed=0, schedule=Schedule(1.0), settings={}, split="val")
    score = scored(given, task)
    assert score.status == status
    assert [type(value) for value in score.metrics.values()] == [float] * figure


@pytest.mark.parametrize("task", TASKS.built_in)
def test_a_task_has_a_configuration_and_settings_of_its_own(task: str) -> None:
    config = load_config(None, {"task": task, "own.seed": 7} if task != "detection" else {"task": task})
    assert config.task == task
    assert config.own == getattr(config, task)
    assert type(config.own) is section_of(task) is TASKS.get(task).Settings
    assert config.generations is None
    assert 300 <= (config.budget or 0) <= 1200
    if task != "detection":
        assert config.own.seed == 7
        # What the file says is what the code has: the values in it are its defaults.
        assert config.own.model_copy(update={"seed": 0}) == type(config.own)()
    with pytest.raises(ConfigError, match="unknown key"):
        load_config(None, {"task": task, "own.no_such_key": 1})


class TestClassification(TaskConformance):
    task = "classification"
    own = SMALL["classification"]
    absent: ClassVar = {"data": "folder:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        getattr(task.splits, split).labels[:] = 0


class TestSegmentation(TaskConformance):
    task = "segmentation"
    own = SMALL["segmentation"]
    absent: ClassVar = {"data": "folder:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        task.splits[split].masks[:] = np.roll(task.splits[split].masks, 5, axis=1)


class TestRegression(TaskConformance):
    task = "regression"
    own: ClassVar = {"outliers": 0.0}  # with outliers, squared error learns worse than nothing
    epochs = 10.0
    absent: ClassVar = {"data": "csv:/nowhere.csv", "target": "y"}

    def spoil(self, task: Any, split: str) -> None:
        task.splits[split].target[:] = 0.0


class TestDetection(TaskConformance):
    task = "detection"
    own: ClassVar = {
        "scenes": {"canvas": 32, "digits": [1, 1], "size": [16, 20], "counts": [64, 24, 24], "noise": 0.0}
    }
    epochs = 10.0
    absent: ClassVar = {"data": "coco:/nowhere"}

    def spoil(self, task: Any, split: str) -> None:
        task.split(split).labels[:] = 0


class TestMine(TaskConformance):
    epochs = 5.0

    @pytest.fixture(autouse=True)
    def _written(self, mine: str) -> None:
        self.task = mine

    def spoil(self, task: Any, split: str) -> None:
        sound = task.points
        task.points = lambda name: (sound(name)[0], 1 - sound(name)[1]) if name == split else sound(name)
