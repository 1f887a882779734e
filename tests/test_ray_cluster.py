"""Ray on a cluster of two nodes, both on this machine: what a lost node or actor costs is time, and nothing else."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from cse_autoloss.errors import ConfigError
from cse_autoloss.executors import Devices, Executor, Job, Work, make_executor
from cse_autoloss.settings.schema import RaySettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core and two GPUs that are not there; the last test breaks it."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1, num_gpus=2, resources={"big": 1})
    made.wait_for_nodes()
    yield made
    made.shutdown()


def _executor(cluster: Any, workers: int | None, **needs: Any) -> Executor:
    settings = RaySettings(address=cluster.address, **needs)
    return make_executor("ray", WORK, workers, Devices(bool(needs.get("num_gpus")), ray=settings))


def _jobs(executor: Executor, disturb: Any) -> dict[str, Any]:
    """What came of twelve jobs; after the third, something is disturbed."""
    for number in range(12):
        executor.submit(Job(str(number), {"do": "sleep", "seconds": 0.3}))
    found: dict[str, Any] = {}
    for result in executor.as_completed():
        found[result.key] = result
        if len(found) == 3:
            disturb(result)
    return found


def test_an_address_where_nobody_answers() -> None:
    with pytest.raises(ConfigError, match=r"ray.address: no cluster answers at 127\.0\.0\.1:9: "):
        make_executor("ray", WORK, 1, Devices(ray=RaySettings(address="127.0.0.1:9")))


def test_what_the_cluster_does_not_have_is_told(cluster: Any) -> None:
    devices = Devices(True, per_device=2, ray=RaySettings(address=cluster.address))
    with pytest.raises(ConfigError, match="workers: expected at most 8, for 4 GPUs with 2 workers each"):
        make_executor("ray", WORK, 9, devices)


def test_workers_ask_for_gpus_and_resources(cluster: Any) -> None:
    with _executor(cluster, None, num_gpus=0.5, num_cpus=0.25, resources={"big": 0.5}) as executor:
        assert executor.workers == 4
        for number in range(8):
            executor.submit(Job(str(number), {"do": "environment", "name": "CUDA_VISIBLE_DEVICES"}))
        seen = {result.value["value"] for result in executor.as_completed()}
    assert seen <= {"0", "1"}


def test_an_actor_that_is_killed_costs_no_result(cluster: Any) -> None:
    with _executor(cluster, None) as executor:
        assert executor.workers == 2
        found = _jobs(executor, lambda result: os.kill(result.worker, signal.SIGKILL))
    assert {key: result.status for key, result in found.items()} == {str(n): "ok" for n in range(12)}
    assert executor.utilisation().restarts >= 1


def test_a_node_that_is_lost_costs_no_result(cluster: Any) -> None:
    with _executor(cluster, 2) as executor:
        found = _jobs(
            executor, lambda _: cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        )
    assert {key: result.status for key, result in found.items()} == {str(n): "ok" for n in range(12)}
    assert max(result.tries for result in found.values()) <= 3
