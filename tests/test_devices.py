"""Workers and GPUs: who gets which, without a GPU; and what becomes of a training that finds too little memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.errors import ConfigError
from cse_autoloss.executors import Devices, Job, Work
from cse_autoloss.executors.devices import VISIBLE, gpu_names, local_devices
from cse_autoloss.executors.pool import PoolExecutor
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.schema import RaySettings
from cse_autoloss.testing.executors import one

WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")


def _seen(devices: Devices, workers: int) -> list[str]:
    return [told[VISIBLE] for told in devices.environments(workers)]


def test_each_worker_has_a_gpu_in_turn() -> None:
    assert _seen(Devices(True, ("0", "1", "2")), 3) == ["0", "1", "2"]
    assert _seen(Devices(True, ("2", "GPU-5f")), 5) == ["2", "GPU-5f", "2", "GPU-5f", "2"]
    assert Devices(False, ("0",)).environments(2) == [{}, {}]
    assert Devices(True).environments(2) == [{}, {}]


def test_how_many_workers_there_are() -> None:
    assert Devices().count(None, cores=8, gpus=2) == 8
    assert Devices().count(20, cores=8, gpus=0) == 20
    assert Devices(True, per_device=3).count(None, cores=8, gpus=2) == 6
    assert Devices(True, per_device=9).count(None, cores=8, gpus=2) == 8
    assert Devices(True).count(12, cores=8, gpus=2) == 12
    assert Devices(True, per_device=3).count(6, cores=8, gpus=2) == 6
    with pytest.raises(ConfigError, match="workers: expected at most 6, for 2 GPUs with 3 workers each"):
        Devices(True, per_device=3).count(7, cores=8, gpus=2)


def test_the_part_of_a_gpu_that_an_actor_asks_for() -> None:
    assert Devices(False).share(4, gpus=2) == 0.0
    assert Devices(True).share(2, gpus=2) == 1.0
    assert Devices(True).share(5, gpus=2) == pytest.approx(1 / 3)
    assert Devices(True, per_device=4).share(2, gpus=2) == 0.25
    assert Devices(True, per_device=4, ray=RaySettings(num_gpus=0.5)).share(2, gpus=2) == 0.5


def test_names_are_those_that_are_visible() -> None:
    assert gpu_names(3, {}) == ("0", "1", "2")
    assert gpu_names(2, {VISIBLE: "3, 5"}) == ("3", "5")
    assert gpu_names(1, {VISIBLE: "3,-1,5"}) == ("3",)
    assert gpu_names(0, {VISIBLE: ""}) == ()


def test_a_run_on_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that are not there: the workers are told of them, one each."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sizes = {0: 80 << 30, 1: 7 << 30}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=sizes[gpu])
    )
    monkeypatch.setenv(VISIBLE, "4,6")
    assert local_devices(None) == Devices(True, ("4", "6"), 3)
    session = Session(load_config("smoke", {"workers": 3, "per_device": 2}))
    assert session.device == "cuda"
    with session.executor() as executor:
        seats = executor._seats  # type: ignore[attr-defined]
        assert [seat.environment for seat in seats] == [{VISIBLE: "4"}, {VISIBLE: "6"}, {VISIBLE: "4"}]
    with (
        pytest.raises(ConfigError, match="workers: expected at most 2"),
        Session(load_config("smoke", {"workers": 3, "per_device": 1})).executor(),
    ):
        pass


def test_a_worker_sees_its_own_gpu_and_so_does_the_one_that_takes_its_place() -> None:
    with PoolExecutor(WORK, 1, Devices(True, ("7",))) as executor:
        for number in range(2):
            told = one(executor, Job(str(number), {"do": "environment", "name": VISIBLE}))
            assert told.value == {"value": "7"}
            one(executor, Job("gone", {"do": "exit", "code": 1}))


@pytest.mark.parametrize(("until", "status", "begun"), [(1, "ok", 2), (9, "error", 2)])
def test_too_little_memory_is_tried_once_more_alone(
    tmp_path: Path, until: int, status: str, begun: int
) -> None:
    log = tmp_path / "log"
    jobs = [Job("large", {"do": "fill the memory", "log": str(log), "until": until})]
    jobs += [Job(str(i), {"do": "sleep", "seconds": 0.1}) for i in range(4)]
    with RunStore.create(tmp_path / "run", {}) as store, PoolExecutor(WORK, 2) as executor:
        bench = Workbench(executor, store, Clock(None), RunStatus(), Silent())
        beside: list[int] = []
        submit = executor.submit

        def watched(job: Job) -> None:
            if job.key == "large":
                beside.append(executor.pending)
            submit(job)

        executor.submit = watched  # type: ignore[method-assign]
        found = bench.run(jobs)
        assert found["large"].status == status
        assert found["large"].detail.startswith("out of memory: RuntimeError: CUDA") == (status == "error")
        assert {found[str(i)].status for i in range(4)} == {"ok"}
        assert log.read_text().count("begun") == begun
        assert beside[1:] == [0]  # nothing else ran
        assert len(store.events("out of memory")) == (1 if status == "ok" else 2)
