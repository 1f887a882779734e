"""A run's figures in other people's logs: what is told, and each library where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cse_autoloss
from cse_autoloss.bench.progress import RunStatus, Silent
from cse_autoloss.errors import AutoLossError, MissingExtraError
from cse_autoloss.report.loggers import Logged, logged
from cse_autoloss.runs import RunStore

SUMMARY = {
    "verdict": "level with the best",
    "seconds": {"total": 61.7},
    "best": {
        "losses": {"reg": "Sub(1,Div(I,U))"},
        "test": {"mean": 0.5, "low": 0.4, "high": None},
        "gain": None,
    },
}


class Kept:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []

    def figures(self, values: Mapping[str, float], second: int) -> None:
        self.points.append((second, dict(values)))

    def words(self, name: str, text: str) -> None: ...

    def close(self) -> None: ...


def status(elapsed: float, generation: int = 0, phase: str = "search") -> RunStatus:
    told = RunStatus(phase=phase, generation=generation, elapsed=elapsed, best={"reg": ("giou", 0.25)})
    told.funnel["trained"] = generation + 1
    return told


def a_run(store: RunStore, name: str) -> None:
    with logged(name, store, Silent()) as watcher:
        watcher.update(status(1.2))
        watcher.update(status(3.9, generation=1))
        store.set_meta("summary", SUMMARY)


def test_each_generation_and_each_ten_seconds_are_a_point() -> None:
    seen: list[RunStatus] = []
    kept = Kept()
    watcher = Silent()
    watcher.update = seen.append  # type: ignore[method-assign]
    observer = Logged(kept, watcher)
    for one in (status(0.1), status(0.5), status(2.0, 1), status(3.0, 1, "audit"), status(13.5, 1, "audit")):
        observer.update(one)
    assert len(seen) == 5
    assert [second for second, _ in kept.points] == [0, 2, 3, 13]
    assert kept.points[1][1] == {"funnel/trained": 2.0, "best/reg": 0.25, "generation": 1.0}


def test_without_a_log_the_watcher_is_as_it_was(tmp_path: Path) -> None:
    watcher = Silent()
    with RunStore.create(tmp_path / "run", {}) as store, logged(None, store, watcher) as observer:
        assert observer is watcher


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_library_is_told_before_a_run_is_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(MissingExtraError, match=f"pip install {name}"):
        cse_autoloss.evolve(config="smoke", out=tmp_path / "run", log=name)
    assert not (tmp_path / "run").exists()


def test_an_unknown_log_is_told() -> None:
    with pytest.raises(AutoLossError, match="tensorboard"):
        cse_autoloss.evolve(config="smoke", log="tensorbord")


@pytest.mark.filterwarnings("ignore")  # of the library itself
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunStore.create(tmp_path / "run", {}) as store:
        a_run(store, "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("funnel/trained")] == [(1, 1.0), (3, 2.0)]
    assert [(one.step, one.value) for one in events.Scalars("audit/test/mean")] == [(61, 0.5)]
    assert "audit/test/high" not in events.Tags()["scalars"]
    (verdict,) = events.Tensors("verdict/text_summary")
    assert b"level with the best" in verdict.tensor_proto.string_val[0]


@pytest.mark.filterwarnings("ignore")  # of the library itself
def test_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    with RunStore.create(tmp_path / "run", {"task": "detection", "seed": 3}) as store:
        a_run(store, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("cse-autoloss").experiment_id])
    assert run.data.params["seed"] == "3"
    assert run.data.tags["loss/reg"] == "Sub(1,Div(I,U))"
    points = client.get_metric_history(run.info.run_id, "best/reg")
    assert [(one.step, one.value) for one in points] == [(1, 0.25), (3, 0.25)]
    assert run.info.status == "FINISHED"


class _FakeRun:
    def __init__(self, **told: Any) -> None:
        self.told, self.points, self.summary, self.ended = told, [], {}, False

    def log(self, values: dict[str, float], step: int) -> None:
        self.points.append((step, values))

    def finish(self) -> None:
        self.ended = True


def test_wandb_is_called_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[_FakeRun] = []
    stand_in = ModuleType("wandb")
    stand_in.init = lambda **told: runs.append(_FakeRun(**told)) or runs[-1]  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    with RunStore.create(tmp_path / "run", {"seed": 3}) as store:
        a_run(store, "wandb")
    (run,) = runs
    assert (run.told["mode"], run.told["dir"], run.told["config"]) == (
        "offline",
        str(tmp_path / "run"),
        {"seed": 3},
    )
    assert [step for step, _ in run.points] == [1, 3, 61]
    assert run.summary["verdict"] == "level with the best"
    assert run.ended


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")  # of the library itself
def test_wandb_itself(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {"seed": 3}) as store:
        a_run(store, "wandb")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
