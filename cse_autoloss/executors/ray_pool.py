"""The pool on Ray: the same jobs on the cores of a cluster. Needs the extra ``cse-autoloss[ray]``.

A job at its limit is no fault of its own where its worker was stopped, or where the node doesn't answer: a look at the
worker from its own node tells.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
import warnings
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from cse_autoloss.errors import ConfigError, MissingExtraError, WorkersLost, shorten
from cse_autoloss.executors.base import (
    START_LIMIT,
    THREAD_VARIABLES,
    TRIES,
    ExecutorBase,
    Job,
    JobResult,
    Utilisation,
    Work,
    check_path,
    encode,
    failed_start,
    one_line,
    resolve,
    run_job,
    single_thread,
    tell_failed_start,
)
from cse_autoloss.executors.devices import Devices
from cse_autoloss.executors.pauses import Pauses, is_stopped
from cse_autoloss.settings.schema import RaySettings

_STARTS: Final = 3

LOOK_LIMIT: Final = 30.0
"""Seconds within which a node has to tell whether a worker of it is stopped."""


class _Actor:
    """What a Ray actor is: a context, made once, and jobs as JSON."""

    def __init__(self, order: bytes) -> None:
        work = json.loads(order)
        self._told: dict[str, Any] = {"pid": os.getpid()}
        try:
            init, self._run = resolve(work["init"]), resolve(work["run"])
            single_thread()
            self._context = init(work["config"])
            single_thread()
            self._told["node"] = _node()
        except Exception as error:
            self._told = tell_failed_start(error)

    def ready(self) -> dict[str, Any]:
        return self._told

    def run(self, payload: bytes) -> bytes:
        return encode(run_job(self._run, self._context, json.loads(payload)))


def _node() -> str:
    """Of the cluster, that this process is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


class _Seat:
    """An actor's place: what it does, and the reference that Ray will answer.

    `look` is the reference to what its node tells of it, where its job has come to its limit.
    """

    def __init__(self, actor: Any, pauses: Pauses) -> None:
        self.busy = 0.0
        self._pauses = pauses
        self.take(actor)

    def take(self, actor: Any) -> None:
        """Seats an actor, which has to say that it is ready."""
        self.actor = actor
        self.answer = actor.ready.remote()
        self.pid, self.node = 0, ""
        self.job: Job | None = None
        self.begin()

    def begin(self) -> None:
        """What it does begins now."""
        self.since, self._paused = time.monotonic(), self._pauses.total
        self.look: Any = None

    @property
    def spent(self) -> float:
        """Seconds since that began, without those in which the caller stood still."""
        return time.monotonic() - self.since - (self._pauses.total - self._paused)


def join(settings: RaySettings, workers: int | None = None) -> tuple[Any, bool]:
    """Ray, connected: to the cluster of the settings or of RAY_ADDRESS, else to a new one on this machine.

    Returns:
        The module, and whether this call connected it.

    Raises:
        MissingExtraError: Ray isn't installed.
        ConfigError: there is no cluster at that address.
        WorkersLost: a new one did not start, as on a machine that is too busy.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError.of("the Ray executor", "ray") from None
    if ray.is_initialized():
        return ray, False
    address = _address(settings)
    cores = math.ceil(workers * settings.num_cpus) if workers else None
    # "local": Ray would else join any cluster that somebody runs on this machine.
    size = (
        {"address": address}
        if address
        else {"address": "local", "num_cpus": cores, "include_dashboard": False}
    )
    try:
        if address:
            _knock(address)
        ray.init(**size, log_to_driver=False)
    except Exception as error:  # where its node is not up in time, Ray raises just that
        if not address:
            ray.shutdown()
            raise WorkersLost(
                f"no worker can be started: Ray did not start here: {one_line(error)}"
            ) from None
        raise ConfigError(
            f"ray.address: no cluster answers at {shorten(address)}: {one_line(error)}"
        ) from None
    return ray, True


def _address(settings: RaySettings) -> str | None:
    return settings.address or os.environ.get("RAY_ADDRESS")


def _lacking(ray: Any, needs: Mapping[str, Any]) -> str:
    """What a worker asks for and the cluster has, where no node has as much; else empty."""
    asked = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"], **needs["resources"]}
    asked = {name: amount for name, amount in asked.items() if amount > 0}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
        return ""
    has = ray.cluster_resources()
    wanted = ", ".join(f"{shorten(name)} {amount:g}" for name, amount in asked.items())
    there = ", ".join(f"{shorten(name)} {has.get(name, 0):g}" for name in asked)
    return f"a worker asks for {wanted}, and no node has as much; all nodes together have {there}"


def _knock(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray itself tries for minutes. Other forms are left to Ray."""
    host, _, port = address.rpartition(":")
    if port.isascii() and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=20.0).close()


def cluster_gpus(settings: RaySettings, workers: int | None) -> int:
    """GPUs of the cluster; raises what `join` raises."""
    return int(join(settings, workers)[0].cluster_resources().get("GPU", 0))


class RayExecutor(ExecutorBase):
    """Runs jobs on Ray actors; see `Executor`. Joins a cluster or starts a local one.

    Args:
        work: what the workers do; this package has to be installed on all nodes.
        workers: how many; None for one a core of the cluster, or one a place on its GPUs.
        devices: whether they need GPUs, and what else.
        start_limit: seconds after which the run ends where not one worker is ready.

    Raises:
        ConfigError: more is asked for than the machine has. Nodes may still join a cluster: there it is told by a
            warning, and `next_result` raises WorkersLost at the limit.
    """

    def __init__(
        self,
        work: Work,
        workers: int | None = None,
        devices: Devices | None = None,
        *,
        start_limit: float = START_LIMIT,
    ) -> None:
        devices = devices or Devices()
        check_path(work.init)
        check_path(work.run)
        self._order = encode({"init": work.init, "run": work.run, "config": dict(work.config)})
        asked = devices.ray or RaySettings()
        self._start_limit = start_limit
        self._ray, self._started_ray = join(asked, workers)
        count, needs = self._needs(workers, devices)
        self._asked, lacking = needs, _lacking(self._ray, needs)
        if lacking and self._started_ray and not _address(asked):
            self._leave()
            raise ConfigError(f"ray: {lacking}")
        if lacking:
            warnings.warn(
                f"{lacking}; waiting for a node that has it, {start_limit:g} s at most", stacklevel=2
            )
        environment = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        self._actor = self._ray.remote(
            max_restarts=0, scheduling_strategy="SPREAD", runtime_env=environment, **needs
        )(_Actor)
        self._waiting: deque[Job] = deque()
        self._done: deque[JobResult] = deque()
        self._keys: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._born = time.monotonic()
        self._jobs = self._restarts = self._failed_starts = 0
        self._closed = False
        self._pauses = Pauses()
        self._pauses.start()
        self._seats = [_Seat(self._actor.remote(self._order), self._pauses) for _ in range(count)]

    def _needs(self, workers: int | None, devices: Devices) -> tuple[int, dict[str, Any]]:
        """How many actors, and what each asks of the cluster.

        Raises:
            ConfigError: the cluster has not so many GPUs.
        """
        has, asked = self._ray.cluster_resources(), devices.ray or RaySettings()
        gpus = int(has.get("GPU", 0))
        try:
            if devices.cuda and not gpus:
                raise ConfigError("device: cuda was asked for, but Ray's cluster has no GPU; use auto or cpu")
            count = devices.count(workers, max(int(has.get("CPU", 1) / asked.num_cpus), 1), gpus)
        except ConfigError:
            self._leave()
            raise
        share = devices.share(count, gpus)
        return count, {"num_cpus": asked.num_cpus, "num_gpus": share, "resources": asked.resources}

    def _leave(self) -> None:
        if self._started_ray:
            self._ray.shutdown()

    @property
    def workers(self) -> int:
        return len(self._seats)

    @property
    def pending(self) -> int:
        return len(self._keys)

    @property
    def idle(self) -> int:
        return max(len(self._seats) - (len(self._keys) - len(self._done)), 0)

    def submit(self, job: Job) -> None:
        if self._closed:
            raise RuntimeError("the executor was shut down")
        if job.key in self._keys:
            raise ValueError(f"a job with key {job.key!r} is under way")
        encode(dict(job.payload))
        self._keys.add(job.key)
        self._waiting.append(job)
        self._hand_out()

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        end = None if timeout is None else time.monotonic() + timeout
        while self._keys:
            self._hand_out()
            if self._done:
                result = self._done.popleft()
                self._keys.discard(result.key)
                return result
            if end is not None and time.monotonic() >= end:
                return None
            self._hear(self._patience(end))
        return None

    def cancel(self) -> list[str]:
        self._waiting.clear()
        for seat in self._seats:
            if seat.job is not None:
                self._replace(seat)
        kept = {result.key for result in self._done}
        dropped = sorted(self._keys - kept)
        self._keys = kept
        self._lost.clear()
        return dropped

    def utilisation(self) -> Utilisation:
        now = time.monotonic()
        busy = tuple(seat.busy + (now - seat.since if seat.job else 0.0) for seat in self._seats)
        return Utilisation(now - self._born, busy, self._jobs, self._restarts)

    def shutdown(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._keys.clear()
        self._waiting.clear()
        self._done.clear()
        self._pauses.end()
        for seat in self._seats:
            self._ray.kill(seat.actor)
        self._leave()

    # -- inside --------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        for seat in self._seats:
            if self._waiting and seat.answer is None:
                seat.job = self._waiting.popleft()
                seat.begin()
                seat.answer = seat.actor.run.remote(encode(dict(seat.job.payload)))

    def _patience(self, end: float | None) -> float:
        """Seconds until a job reaches its limit, or the caller's time is up."""
        limits = [
            s.job.limit - s.spent + (LOOK_LIMIT if s.look is not None else 0.0)
            for s in self._seats
            if s.job and s.job.limit is not None
        ]
        starts = [self._start_limit - s.spent for s in self._seats if not s.pid]
        return max(min([1.0 if end is None else end - time.monotonic(), *limits, *starts]), 0.001)

    def _hear(self, wait: float) -> None:
        """Takes in the answers, if any come, and ends what is over its limit."""
        answers = {seat.answer: seat for seat in self._seats if seat.answer is not None}
        looks = {seat.look: seat for seat in self._seats if seat.look is not None}
        asked = [*answers, *looks]
        self._ray.wait(asked, num_returns=1, timeout=wait)
        # Asked once more: an answer that came while this process was asleep isn't late.
        ready, _ = self._ray.wait(asked, num_returns=len(asked), timeout=0)
        for reference in ready:
            if reference in answers:
                self._take(answers[reference])
        for reference in ready:
            if reference in looks and looks[reference].look == reference:
                self._judge(looks[reference])
        for seat in self._seats:
            job = seat.job
            if job is None or job.limit is None or seat.spent < job.limit:
                continue
            if seat.look is None:
                seat.look = self._looking(seat)
            elif seat.spent >= job.limit + LOOK_LIMIT:
                self._lose(seat, job, f"its node did not answer at its limit of {job.limit:g} s")
        self._see_starts()

    def _looking(self, seat: _Seat) -> Any:
        """Asks the seat's node whether its worker is stopped."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(seat.node, soft=False)
        look = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(is_stopped)
        return look.remote(seat.pid)

    def _judge(self, seat: _Seat) -> None:
        """What the node told of a job at its limit: "timeout", unless the machine is to blame."""
        job = seat.job
        assert job is not None
        try:
            stopped, how = self._ray.get(seat.look), "stopped by SIGSTOP"
        except self._ray.exceptions.RayError as error:
            stopped, how = True, f"its node is lost ({one_line(error)})"
        if stopped:
            self._lose(seat, job, f"{how} at its limit of {job.limit:g} s")
            return
        spent, pid = seat.spent, seat.pid
        self._replace(seat)
        how = f"still running at its limit of {job.limit:g} s"
        self._finish(seat, JobResult(job.key, "timeout", {}, how, spent, pid))

    def _see_starts(self) -> None:
        """Ends the run where not one worker is ready in time: Ray lets them wait for ever. Others may join later."""
        late = [seat for seat in self._seats if not seat.pid and seat.spent >= self._start_limit]
        if late and not any(seat.pid for seat in self._seats):
            why = (
                _lacking(self._ray, self._asked)
                or "the nodes are busy, or what a worker makes first takes long"
            )
            raise WorkersLost(
                f"no worker can be started: not one was ready within {self._start_limit:g} s: {why}"
            )
        for seat in late:
            seat.begin()

    def _take(self, seat: _Seat) -> None:
        job = seat.job
        try:
            answer = self._ray.get(seat.answer)
        except self._ray.exceptions.RayError as error:
            if job is not None:
                self._lose(seat, job, one_line(error))
                return
            self._replace(seat)
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise WorkersLost(f"no worker can be started: {one_line(error)}") from None
            return
        seat.answer = None
        if job is None:
            if "failed" in answer:
                raise failed_start(answer)
            seat.pid, seat.node, self._failed_starts = answer["pid"], answer["node"], 0
        else:
            self._finish(seat, JobResult(job.key, worker=seat.pid, **json.loads(answer)))

    def _lose(self, seat: _Seat, job: Job, how: str) -> None:
        """A job without its worker is begun again, a number of times; then that is its result.

        Ray does not tell a lost node from a job that ends its process: both are tried again.
        """
        spent, pid = seat.spent, seat.pid
        self._replace(seat)
        self._lost[job.key] += 1
        if self._lost[job.key] < TRIES:
            seat.busy += spent
            self._waiting.appendleft(job)
        else:
            self._finish(seat, JobResult(job.key, "crashed", {}, how, spent, pid))

    def _finish(self, seat: _Seat, result: JobResult) -> None:
        seat.busy += result.seconds
        seat.job = seat.look = None
        self._jobs += 1
        self._done.append(
            replace(result, tries=max(1, self._lost.pop(result.key, 0) + (result.status != "crashed")))
        )

    def _replace(self, seat: _Seat) -> None:
        self._ray.kill(seat.actor)
        self._restarts += 1
        seat.take(self._actor.remote(self._order))
