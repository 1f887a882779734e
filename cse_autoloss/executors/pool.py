"""A pool of processes in which a job can hang or crash without harm to the others.

`concurrent.futures.ProcessPoolExecutor` is unusable as soon as one worker dies, and can't stop a running job.
Here each worker is replaced alone, and a job over its limit is ended by killing its worker. A worker that others
killed or stopped is no fault of its job's, which is begun again; nor is time in which all stood still.

Workers are fresh interpreters started by `subprocess`: unlike `multiprocessing`'s, they don't import the caller's main
script again, so that a script needs no ``if __name__ == "__main__"``, and nothing is pickled.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from dataclasses import dataclass, replace

from cse_autoloss.errors import WorkersLost
from cse_autoloss.executors.base import (
    START_LIMIT,
    TRIES,
    ExecutorBase,
    Job,
    JobResult,
    Status,
    Utilisation,
    Work,
    check_path,
    default_workers,
    encode,
    failed_start,
)
from cse_autoloss.executors.devices import Devices
from cse_autoloss.executors.pauses import Pauses, is_stopped
from cse_autoloss.executors.process import Message, WorkerProcess

# A worker that dies before it is ready is started anew this often before the executor gives up.
_STARTS = 3
# A death is announced by the pipe's end. Should a grandchild hold the pipe open, this look-round finds it.
_LOOK_ROUND = 1.0


@dataclass
class _Seat:
    """A worker's place: who sits there, and what it does. Workers come and go, seats stay.

    `since` is when that began, and `paused` what pauses there had been by then.
    """

    worker: WorkerProcess
    since: float
    paused: float
    environment: dict[str, str]
    ready: bool = False
    job: Job | None = None
    busy: float = 0.0
    failed_starts: int = 0

    @property
    def free(self) -> bool:
        return self.ready and self.job is None


class PoolExecutor(ExecutorBase):
    """Runs jobs in processes of their own, one thread each; see `Executor`.

    Args:
        work: what the workers do.
        workers: how many; None for one a core.
        devices: GPUs, of which each worker gets one in turn.
        start_limit: seconds that a worker may take to be ready.
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
        count = devices.count(workers, default_workers(), len(devices.gpus))
        if count < 1:
            raise ValueError(f"workers >= 1 must hold, but got {count}")
        check_path(work.init)
        check_path(work.run)
        encode(dict(work.config))
        self._work = work
        self._start_limit = start_limit
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._done: deque[JobResult] = deque()
        self._keys: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._born = time.monotonic()
        self._jobs = 0
        self._restarts = 0
        self._closed = False
        self._failure: dict[str, str] | None = None
        self._seats: list[_Seat] = []
        self._pauses = Pauses()
        self._pauses.start()
        try:
            for environment in devices.environments(count):
                self._seats.append(_Seat(self._hire(environment), *self._now(), environment))
        except BaseException:
            self.shutdown()
            raise

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
        self._hear(wait=0.0)
        self._hand_out()

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        end = None if timeout is None else time.monotonic() + timeout
        while self._keys:
            self._hand_out()
            if self._done:
                result = self._done.popleft()
                self._keys.discard(result.key)
                return result
            if self._failure is not None:
                raise failed_start(self._failure)
            now = time.monotonic()
            rest = _LOOK_ROUND if end is None else end - now
            # Heard once more without waiting: a result that came while this process was asleep isn't late.
            if self._hear(wait=min(self._next_look(), rest)) or self._hear(wait=0.0):
                continue
            self._look_round()
            if not self._done and end is not None and time.monotonic() >= end:
                return None
        return None

    def cancel(self) -> list[str]:
        self._hear(wait=0.0)
        self._waiting.clear()
        for seat in self._seats:
            if seat.job is not None:
                seat.job = None
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
            seat.worker.end()

    # -- inside --------------------------------------------------------------------------------------------

    def _now(self) -> tuple[float, float]:
        """The time, and all pauses so far."""
        return time.monotonic(), self._pauses.total

    def _spent(self, seat: _Seat) -> float:
        """Seconds since what the seat does began, without those in which all stood still."""
        now, paused = self._now()
        return now - seat.since - (paused - seat.paused)

    def _hire(self, environment: dict[str, str]) -> WorkerProcess:
        return WorkerProcess(self._work, self._inbox, environment)

    def _replace(self, seat: _Seat, *, died: bool = False) -> str:
        """Ends the worker of a seat and seats another; tells how it ended."""
        how = seat.worker.end(died=died)
        self._restarts += 1
        seat.worker, (seat.since, seat.paused) = self._hire(seat.environment), self._now()
        seat.ready, seat.job = False, None
        return how

    def _hand_out(self) -> None:
        for seat in self._seats:
            if not self._waiting:
                return
            if seat.free:
                seat.job = self._waiting.popleft()
                seat.since, seat.paused = self._now()
                seat.worker.send(encode({"key": seat.job.key, "payload": dict(seat.job.payload)}))

    def _hear(self, wait: float) -> bool:
        """Takes in what workers said, waiting for the first word; False when there was none."""
        heard = False
        try:
            while True:
                self._take(self._inbox.get(timeout=max(wait, 0.0)) if wait > 0 else self._inbox.get_nowait())
                heard, wait = True, 0.0
        except queue.Empty:
            return heard

    def _take(self, message: Message) -> None:
        seat = next((seat for seat in self._seats if seat.worker is message.worker), None)
        if seat is None:  # from a worker that was replaced meanwhile
            return
        body = message.body
        if body is None:
            self._bury(seat)
        elif "ready" in body:
            seat.ready, seat.failed_starts = True, 0
        elif "failed" in body:
            self._failure = body
        elif seat.job is not None and seat.job.key == body["key"]:
            self._finish(seat, JobResult(worker=seat.worker.pid, **body))

    def _finish(self, seat: _Seat, result: JobResult) -> None:
        seat.busy += result.seconds
        seat.job = None
        seat.worker.trim()
        self._jobs += 1
        self._done.append(
            replace(result, tries=max(1, self._lost.pop(result.key, 0) + (result.status != "crashed")))
        )

    def _bury(self, seat: _Seat) -> None:
        """A worker died by itself: its job crashed, or it couldn't start."""
        job, ready, pid, seconds = seat.job, seat.ready, seat.worker.pid, time.monotonic() - seat.since
        if self._failure is not None:
            return
        worker = seat.worker
        try:
            how = self._replace(seat, died=True)
        except WorkersLost as lost:
            self._failure = {"failed": str(lost), "kind": type(lost).__name__}
            return
        if job is not None:
            self._lose(seat, job, JobResult(job.key, "crashed", {}, how, seconds, pid), worker.was_killed)
        elif not ready:
            self._count_failed_start(seat, how)

    def _lose(self, seat: _Seat, job: Job, result: JobResult, machine: bool) -> None:
        """A job without its worker: begun again where that is the machine's fault, else this is its result."""
        self._lost[job.key] += machine
        if machine and self._lost[job.key] < TRIES:
            seat.busy += result.seconds
            self._waiting.appendleft(job)
        else:
            self._finish(seat, result)

    def _count_failed_start(self, seat: _Seat, how: str) -> None:
        seat.failed_starts += 1
        if seat.failed_starts >= _STARTS:
            self._failure = {"failed": how, "kind": ""}

    def _next_look(self) -> float:
        """Seconds until a job reaches its limit or it is time to look round."""
        limits = [
            seat.job.limit - self._spent(seat)
            for seat in self._seats
            if seat.job is not None and seat.job.limit is not None
        ]
        return max(min([_LOOK_ROUND, *limits]), 0.001)

    def _look_round(self) -> None:
        for seat in self._seats:
            job, spent, pid = seat.job, self._spent(seat), seat.worker.pid
            if not seat.worker.alive:
                self._bury(seat)
            elif job is not None and job.limit is not None and spent >= job.limit:
                stopped = is_stopped(pid)
                self._replace(seat)
                status: Status = "crashed" if stopped else "timeout"
                what = "stopped by SIGSTOP" if stopped else "still running"
                how = f"{what} at its limit of {job.limit:g} s"
                self._lose(seat, job, JobResult(job.key, status, {}, how, spent, pid), stopped)
            elif not seat.ready and spent >= self._start_limit:
                self._replace(seat)
                self._count_failed_start(seat, f"not ready within {self._start_limit:g} s")
