"""A run may name folders to write into and a cluster to join; only the person at the command line has it do so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import cse_autoloss
from cse_autoloss.bench.session import Session
from cse_autoloss.bench.stored import create_run, stored_config
from cse_autoloss.compare.contestants import Field
from cse_autoloss.compare.request import Request
from cse_autoloss.compare.run import compare_losses
from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.executors import ray_pool
from cse_autoloss.fullsize.settings import TrainSettings
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.fields import unwritten, written
from cse_autoloss.settings.load import SearchConfig, load_config
from cse_autoloss.tasks.registry import TASKS, section_of

READ = {"faces.pairs", "faces.groups"}
"""Settings of folders and files that are read alone."""
SMALL = {"detection.scenes": {"counts": [2, 2, 2]}}


def _paths(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, bool]]:
    """Dotted key of each setting that is a path, and whether it is marked as one that is written."""
    for name, field in model.model_fields.items():
        kinds = tuple(_kinds(field.annotation))
        if Path in kinds:
            yield before + name, "a place to write" in field.metadata
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _paths(kind, f"{before}{name}.")


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def test_each_setting_that_is_a_path_says_whether_it_is_written() -> None:
    models = {f"{name}.": section_of(name) for name in TASKS.built_in}
    found = [one for before, model in models.items() for one in _paths(model, before)]
    found += [*_paths(SearchConfig), *_paths(TrainSettings)]
    assert {key for key, marked in found if not marked} == READ
    assert {key for key, marked in found if marked} == {"detection.cache", "segmentation.cache", "out"}


def test_folders_are_left_out_at_any_depth() -> None:
    config = load_config("smoke", {"detection.cache": "/a", "out": "/b"})
    assert written(config) == {"out": Path("/b"), "detection.cache": Path("/a")}
    assert unwritten(config) == load_config("smoke")


def _run(folder: Path, **values: Any) -> Path:
    config = load_config(
        "smoke", {**SMALL, **{key.replace("__", "."): value for key, value in values.items()}}
    )
    create_run(folder, config.model_dump(mode="json")).close()
    return folder


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[SearchConfig]:
    """Of a run, its data alone are made. The configurations that were run."""
    ran: list[SearchConfig] = []

    def discover(config: SearchConfig, *_: Any) -> dict[str, Any]:
        ran.append(config)
        Session(config).task.split("train")  # type: ignore[attr-defined]
        return {}

    monkeypatch.setattr("cse_autoloss.discovery.run.discover", discover)
    return ran


def test_a_folder_that_a_run_names_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: list[SearchConfig]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    outside, own = tmp_path / "outside", tmp_path / "own"
    run = _run(tmp_path / "run", detection__cache=outside, out=outside)
    cse_autoloss.evolve(resume=run)
    assert not outside.exists()
    assert list((tmp_path / "mine").rglob("scenes-*.npz"))
    cse_autoloss.evolve(resume=run, **{"detection.cache": str(own)})
    assert list(own.glob("scenes-*.npz"))
    assert not outside.exists()
    assert len({Session(config).digest for config in reading}) == 1
    with pytest.raises(ConfigError, match=r"^seed: a resumed run keeps it .* detection\.cache may change$"):
        cse_autoloss.evolve(resume=run, seed=3)


def test_a_score_holds_for_data_wherever_they_are_kept(tmp_path: Path) -> None:
    kept = load_config("smoke", {"detection.cache": tmp_path})
    assert Session(kept).digest == Session(load_config("smoke")).digest


def _comparison(folder: Path, config: SearchConfig) -> Path:
    RunStore.create(folder, Request(Field((), ()), config, 1).to_json()).close()
    return folder


def test_a_cluster_that_a_run_names_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: list[SearchConfig]
) -> None:
    def join(settings: Any, workers: int | None = None) -> Any:
        raise ConfigError(f"joined {settings.address}")

    monkeypatch.setattr(ray_pool, "join", join)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    theirs = {"executor": "ray", "ray__address": "ray://evil:1", "device": "auto"}
    run = _run(tmp_path / "run", **theirs)
    with RunStore.open(run) as store:
        store.save_state(1, {"state": {}, "counts": {}})
    other = _comparison(
        tmp_path / "other", load_config("smoke", {k.replace("__", "."): v for k, v in theirs.items()})
    )
    commands = (
        lambda **named: cse_autoloss.evolve(resume=run, **named),
        lambda **named: compare_losses(resume=other, overrides=named),
    )
    told = r"the run names a Ray cluster to join, ray://evil:1; if it is yours, name it again by --set ray\.address="
    for command in commands:
        with pytest.raises(RunError, match=told):
            command()
        with pytest.raises(ConfigError, match=r"^joined ray://mine:2$"):
            command(**{"ray.address": "ray://mine:2"})
    with pytest.raises(RunError, match=told):
        cse_autoloss.audit_filters(run)
    monkeypatch.setenv("RAY_ADDRESS", "mine:3")
    with RunStore.read(run) as store:
        assert stored_config(store).ray.address == "mine:3"


def test_an_executor_of_the_persons_own_joins_no_cluster_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = _run(tmp_path / "run", ray__address="ray://evil:1")
    with RunStore.read(run) as store:
        assert stored_config(store).ray.address is None
        assert stored_config(store, trains=False).ray.address is None


def test_the_suite_of_paths_bites() -> None:
    class Careless(BaseModel):
        folder: Path | None = None

    assert list(_paths(Careless)) == [("folder", False)]
