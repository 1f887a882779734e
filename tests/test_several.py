"""Several kinds of data at once: the task's suite, what its figures are made of, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from task_samples import TINY

import cse_autoloss
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.errors import AutoLossError, DataError
from cse_autoloss.tasks.protocol import Schedule
from cse_autoloss.tasks.regression import RegressionTask
from cse_autoloss.tasks.several import SeveralTask
from cse_autoloss.testing.tasks import TaskConformance

KINDS: dict[str, Any] = {
    "task": "regression",
    "kinds": {"clean": {"outliers": 0.0}, "spoilt": {"outliers": 0.1, "outlier_size": 1.0}},
}


def _task(**own: Any) -> SeveralTask:
    return SeveralTask(SeveralTask.Settings(**{**KINDS, **own}), "cpu")


def _train(task: Any, split: Any = "val") -> Any:
    losses = {"loss": slot_loss("huber", task.slots["loss"], None)}
    return task.train(losses, seed=3, schedule=Schedule(4.0), settings={}, split=split)


class TestSeveral(TaskConformance):
    task = "several"
    own: ClassVar = KINDS
    epochs = 10.0
    absent: ClassVar = {"common": {"data": "csv:/nowhere.csv"}}

    def spoil(self, task: Any, split: str) -> None:
        for one in task.tasks.values():
            one.splits[split].target[:] = 0.0


@pytest.mark.parametrize("split", ["val", "test"])
def test_its_figures_are_those_of_the_kinds(split: Any) -> None:
    references = {"clean": 0.5, "spoilt": 0.2}
    score = _train(_task(references=references), split)
    alone = {}
    for name, own in KINDS["kinds"].items():
        one = RegressionTask(RegressionTask.Settings(seed=0, **own), "cpu")
        alone[name] = _train(one, split).metrics["mae"]
    assert score.parts == {"MAE, clean": alone["clean"], "MAE, spoilt": alone["spoilt"]}
    gains = [references[name] - alone[name] for name in alone]
    assert score.metrics == {"mean": pytest.approx(sum(gains) / 2), "worst": min(gains)}


def test_a_search_by_the_worst_gain(tmp_path: Path) -> None:
    own = {"own__task": "regression", "own__kinds": KINDS["kinds"]}
    result = cse_autoloss.evolve("several", metric="worst", out=tmp_path / "run", **TINY, **own)
    assert result.summary["status"] == "finished"
    assert result.summary["metric"]["name"] == "worst"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"task": "several"}, "expected one task, got several"),
        ({"task": "regresion"}, "did you mean 'regression'"),
        ({"references": {"clear": 1.0}}, "unknown kind 'clear'; did you mean 'clean'"),
        (
            {"kinds": {"odd": {"outlier": 0.1}}},
            "several.kinds.odd: outlier: unknown key; did you mean",
        ),
        ({"kinds": {}}, "expected 1 or more values"),
        (
            {"task": "detection", "kinds": {"one": {}, "two": {"detector": "two-stage"}}},
            "several.kinds.two: has other slots than the first kind",
        ),
    ],
)
def test_mistakes_are_one_line(own: dict[str, Any], words: str) -> None:
    with pytest.raises(AutoLossError) as caught:
        _ = _task(**own).slots
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_are_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    own = _task(
        common={"data": "csv:a.csv"}, kinds={"one": {"data": "photographs"}, "two": {"data": "diabetes"}}
    )
    assert own.settings.common == {"data": f"csv:{tmp_path / 'a.csv'}"}
    assert own.settings.kinds == {"one": {"data": str(tmp_path / "photographs")}, "two": {"data": "diabetes"}}


def test_a_fault_of_the_data_is_told_with_its_kind() -> None:
    with pytest.raises(DataError, match=r"^spoilt: .*nowhere\.csv"):
        _task(kinds={"clean": {}, "spoilt": {"data": "csv:/nowhere.csv"}}).check()
