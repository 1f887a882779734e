"""What `benchmarks/crash.py` does at large, small: a study that is killed ends as one that nobody disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_hostile import _benchmark

from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.executors import Job, Work, make_executor
from cse_autoloss.runs import RunStore

SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs these tests by nohup hands that on
from cse_autoloss.bench.progress import Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.executors import Job, Work, make_executor
from cse_autoloss.runs import RunStore

directory, workers = sys.argv[1:]
work = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")
with RunStore.open(directory) as store, make_executor("pool", work, int(workers)) as executor:
    bench = Workbench(executor, store, Clock(None), RunStatus(), Silent())
    jobs = [Job(str(i), {"do": "sleep", "seconds": 0.1}) for i in range(12)]
    print("begun", flush=True)
    found = bench.run(jobs)
    print(sorted((int(key), one.status) for key, one in found.items()), bench.status.lost, flush=True)
"""


def test_a_worker_that_is_killed_changes_no_result(tmp_path: Path) -> None:
    crash, rng = _benchmark("crash"), random.Random(0)
    RunStore.create(tmp_path / "run", {}).close()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.4)
        crash.strike(process, "worker", rng)
        told = process.stdout.readline()
    assert told.startswith(str([(i, "ok") for i in range(12)]))
    with RunStore.read(tmp_path / "run") as store:
        lost = store.events("workers lost")
    assert told.endswith(f"{len(lost)}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_the_run(tmp_path: Path, number: signal.Signals) -> None:
    crash = _benchmark("crash")
    RunStore.create(tmp_path / "run", {}).close()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        workers = crash.children(process.pid)
        assert workers
        process.send_signal(number)
    assert crash.orphans(workers) == 0
    RunStore.open(tmp_path / "run").close()  # its lock went with it


def test_a_clock_that_is_set_back_changes_times_of_day_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an hour with each look, across a resume too."""
    day = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(day)))
    work = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")
    RunStore.create(tmp_path / "run", {}).close()
    spent = 0.0
    for part in range(2):
        with (
            RunStore.open(tmp_path / "run") as store,
            make_executor("inprocess", work) as executor,
        ):
            clock = Clock.of(store, budget=600.0)
            assert spent <= clock.elapsed < 600.0
            bench = Workbench(executor, store, clock, RunStatus(), Silent())
            with clock.stage("proxy"):
                found = bench.run([Job(f"{part} {i}", {"do": "sleep", "seconds": 0.01}) for i in range(4)])
            assert [one.status for one in found.values()] == ["ok"] * 4
            store.add_event(f"part {part}")
            spent = clock.elapsed
            bench.keep_clock()
            assert 0.04 * (part + 1) <= clock.seconds["proxy"] <= spent
    with RunStore.read(tmp_path / "run") as store:
        assert [event.kind for event in store.events()] == ["part 0", "part 1"]
