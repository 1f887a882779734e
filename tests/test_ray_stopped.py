"""Ray on nodes of this machine, stopped in parts, and a run on it whose own process is killed: nothing is lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_hostile import _benchmark

import cse_autoloss
from cse_autoloss.executors import Devices, Executor, Job, JobResult, Work, make_executor
from cse_autoloss.runs import RunStore, holds_run
from cse_autoloss.settings.schema import RaySettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")
PATIENCE = 300.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core each; the last test stops one of them."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def _executor(cluster: Any) -> Executor:
    return make_executor("ray", WORK, 2, Devices(ray=RaySettings(address=cluster.address)))


def _jobs(executor: Executor, limit: float, disturb: Callable[[JobResult], None]) -> dict[str, JobResult]:
    """What came of ten jobs; after the second, something is disturbed."""
    for number in range(10):
        executor.submit(Job(str(number), {"do": "sleep", "seconds": 0.4}, limit=limit))
    found: dict[str, JobResult] = {}
    for result in executor.as_completed():
        found[result.key] = result
        if len(found) == 2:
            disturb(result)
    return found


def _all_ok(found: dict[str, JobResult]) -> bool:
    return {key: result.status for key, result in found.items()} == {str(n): "ok" for n in range(10)}


def test_a_stopped_actor_is_no_fault_of_its_job(cluster: Any) -> None:
    with _executor(cluster) as executor:
        found = _jobs(executor, 3.0, lambda result: os.kill(result.worker, signal.SIGSTOP))
        assert _all_ok(found)
        assert sorted(result.tries for result in found.values())[-2:] == [1, 2]
        executor.submit(Job("stuck", {"do": "hang"}, limit=0.5))
        told = executor.next_result(timeout=PATIENCE)
        assert told is not None
        assert (told.status, told.detail) == ("timeout", "still running at its limit of 0.5 s")


def _run(cluster: Any, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cse_autoloss.cli.app", "evolve", "--quiet", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    address = ("--set", f"ray.address={cluster.address}")
    return subprocess.Popen(
        [*command, *address], env=environment, start_new_session=True, text=True, stderr=subprocess.PIPE
    )


def _trained(directory: Path) -> int:
    if not holds_run(directory):
        return 0
    with RunStore.read(directory) as store:
        return sum(score.seed >= 0 for score in store.scores())


def test_a_run_whose_own_process_is_killed_goes_on_to_the_same_end(cluster: Any, tmp_path: Path) -> None:
    outcome = _benchmark("crash").outcome
    cse_autoloss.evolve(config="smoke", out=tmp_path / "whole", executor="inprocess")
    broken = tmp_path / "broken"
    start = ("--config", "smoke", "--set", "executor=ray", "--workers", "2", "--out", str(broken))
    with _run(cluster, *start) as process:
        end = time.monotonic() + PATIENCE
        while _trained(broken) < 5:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    assert _trained(broken) < _trained(tmp_path / "whole")
    with _run(cluster, "--resume", str(broken)) as process:
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    expected, found = outcome(tmp_path / "whole"), outcome(broken)
    for part in expected:
        assert found[part] == expected[part], part


def test_a_node_that_stands_still_costs_no_result(cluster: Any) -> None:
    """Its raylet and its worker are stopped, so that it answers nobody: as a network that is cut."""
    nodes = {node.node_id: node for node in cluster.worker_nodes}

    def cut(result: JobResult) -> None:
        (seat,) = (seat for seat in executor._seats if seat.pid == result.worker)  # type: ignore[attr-defined]
        (raylet,) = nodes[seat.node].all_processes["raylet"]
        stopped.extend((result.worker, raylet.process.pid))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)

    stopped: list[int] = []
    try:
        with _executor(cluster) as executor:
            found = _jobs(executor, 60.0, cut)
            assert _all_ok(found)
            assert sorted(result.tries for result in found.values())[-2:] == [1, 2]
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
