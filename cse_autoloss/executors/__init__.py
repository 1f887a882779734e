"""Executors: where candidates are trained: in this process, in a pool of processes, or on Ray."""

from __future__ import annotations

from typing import Final

from cse_autoloss.errors import UnknownNameError
from cse_autoloss.executors.base import Executor, Job, JobResult, Utilisation, Work
from cse_autoloss.executors.devices import Devices

__all__ = ["EXECUTORS", "Devices", "Executor", "Job", "JobResult", "Utilisation", "Work", "make_executor"]

EXECUTORS: Final = ("inprocess", "pool", "ray")


def make_executor(
    name: str, work: Work, workers: int | None = None, devices: Devices | None = None
) -> Executor:
    """Makes an executor by name.

    Args:
        name: "inprocess", "pool" or "ray".
        work: what its workers do.
        workers: how many; None for one a core; "inprocess" has always one.
        devices: GPUs, and the cluster; None for none.

    Raises:
        UnknownNameError: no executor has this name.
        MissingExtraError: "ray", and Ray isn't installed.
    """
    if name == "inprocess":
        from cse_autoloss.executors.inprocess import InProcessExecutor

        return InProcessExecutor(work)
    if name == "pool":
        from cse_autoloss.executors.pool import PoolExecutor

        return PoolExecutor(work, workers, devices)
    if name == "ray":
        from cse_autoloss.executors.ray_pool import RayExecutor

        return RayExecutor(work, workers, devices)
    raise UnknownNameError.of("executor", name, EXECUTORS)
