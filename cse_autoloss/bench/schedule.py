"""Where a run's trainings are done: executor, store, clock and screen in one hand.

Work comes as processes: generators that ask for a batch of jobs, are sent the results, and ask for the next batch.
Several can be under way at a time, so that workers have something to do while one of them waits for its last job or
for the main process.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cse_autoloss.bench.jobs import Training, TrainingJob, stacks
from cse_autoloss.bench.progress import Clock, Observer, RunStatus
from cse_autoloss.errors import WorkersLost
from cse_autoloss.executors import Executor, Job, JobResult
from cse_autoloss.executors.base import OUT_OF_MEMORY
from cse_autoloss.runs import RunStore, Score

T = TypeVar("T")

_FINDINGS = ("ok", "diverged")
"""What a training's status says of its losses; any other may be the machine's doing."""
_SEARCH = ("rung", "proxy")
"""Purposes of the search's trainings."""


def _ignore(result: JobResult) -> None:
    pass


@dataclass(frozen=True)
class Batch:
    """Jobs to be done side by side; `on_result` is told each result as soon as it is there."""

    jobs: Sequence[Job]
    on_result: Callable[[JobResult], None] = _ignore


Process = Generator[Batch, dict[str, JobResult], T]
"""Yields batches, is sent their results by key, and returns what came out. Jobs that the deadline cut off have no
result."""


@dataclass
class Pending(Generic[T]):
    """A process under way.

    Attributes:
        rank: jobs of a lower rank go first.
        stage: that the workers' time is booked to.
        done: whether it has returned.
    """

    process: Process[T]
    rank: int
    stage: str
    done: bool = False
    _value: list[T] = field(default_factory=list)
    _left: set[str] = field(default_factory=set)
    _results: dict[str, JobResult] = field(default_factory=dict)
    _on_result: Callable[[JobResult], None] = _ignore

    @property
    def value(self) -> T:
        """What the process returned."""
        return self._value[0]


class Workbench:
    """Runs jobs and keeps their results.

    Attributes:
        executor: its workers run `cse_autoloss.bench.worker`.
        store: open for writing.
        clock, status, observer: of the run.
        deadline: `time.monotonic()` value after which no job is begun, and those that wait are dropped; None for never.
        patience: seconds after the deadline that jobs under way have to end; then they are dropped too. To drop a job
            costs its worker, which has to be warmed up anew.
    """

    def __init__(
        self, executor: Executor, store: RunStore, clock: Clock, status: RunStatus, observer: Observer
    ) -> None:
        self.executor = executor
        self.store = store
        self.clock = clock
        self.status = status
        self.observer = observer
        self.deadline: float | None = None
        self.patience = 0.0
        self._waiting: list[tuple[int, int, Job]] = []
        self._count = 0
        self._owners: dict[str, list[Pending[Any]]] = {}
        self._running: dict[str, Job] = {}
        self._alone: deque[Job] = deque()
        self._tried_alone: set[str] = set()

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    # -- processes ------------------------------------------------------------------------------------

    def start(self, process: Process[T], stage: str = "", rank: int = 0) -> Pending[T]:
        """Set a process going; its jobs are done whenever results are waited for.

        Args:
            process: what to do.
            stage: that the workers' time is booked to; by default the one that the clock is in.
            rank: jobs of a lower rank go first.
        """
        task = Pending(process, rank, stage or self.clock.current)
        self._go_on(task, None)
        self._feed()
        return task

    def finish(self, task: Pending[T]) -> T:
        """Wait for a process; whatever else is under way goes on meanwhile."""
        while not task.done:
            self._wait(0.25)
        return task.value

    def look(self) -> None:
        """Take in the results that are there, and give free workers their next jobs.

        An executor in this process works meanwhile: that is the proxy's time, whatever stage the clock is in.
        """
        with self.clock.stage("proxy"):
            while self._owners and self._wait(0.0):
                pass

    def cancel(self) -> None:
        """Drop everything that is under way; what was asked for it gets no more results."""
        with contextlib.suppress(WorkersLost):
            self.executor.cancel()
        self._waiting.clear()
        self._alone.clear()
        self._running.clear()
        self._owners.clear()

    def run(
        self, jobs: Sequence[Job], on_result: Callable[[JobResult], None] = _ignore, rank: int = 0
    ) -> dict[str, JobResult]:
        """Results by key; jobs that the deadline cut off are missing."""
        return self.finish(self.start(_once(Batch(jobs, on_result)), rank=rank))

    def train(self, trainings: Sequence[Training], limit: float) -> dict[str, Score]:
        """`training`, waited for."""
        return self.finish(self.start(self.training(trainings, limit)))

    def training(
        self, trainings: Sequence[Training], limit: float, pauses: bool = False, stack: int = 1
    ) -> Process[dict[str, Score]]:
        """Scores by key, each kept as soon as it is known.

        A score that the store has already is reused; trainings that the deadline cut off are missing. Those of the
        search may be failures: it has candidates enough. After the search each training decides a comparison, and one
        that crashed or ran out of time, which may be the machine's fault, is tried again when a run is gone on with.

        Args:
            trainings: any number, some of which may be the same.
            limit: wall seconds after which a training is killed; its score then says so.
            pauses: whether the trainings are parts of longer ones, or ends of paused ones.
            stack: how many go side by side in one job, in a task that can. Where such a job fails, its trainings are
                done one by one, so that none takes others down.
        """
        scores: dict[str, Score] = {}
        waiting: dict[str, Training] = {}
        for training in trainings:
            kept = self.store.score(training.key)
            if kept is not None and (kept.status in _FINDINGS or kept.purpose in _SEARCH):
                scores[training.key] = kept
            else:
                waiting[training.key] = training
        if not self._owners:  # nothing else is under way: count anew
            self.status.done = self.status.total = 0
        self.status.done += len(scores)
        self.status.total += len(scores) + len(waiting)

        def keep(result: JobResult) -> None:
            found = jobs[result.key].scores(result)
            if found is None:
                failed.extend(TrainingJob((one,)) for one in jobs[result.key].trainings)
                self.store.add_event("one by one", job=result.key, detail=result.detail)
                return
            with self.store.transaction():
                for score in found:
                    self.store.add_score(score)
                self.keep_clock()
            scores.update((score.key, score) for score in found)
            self.status.done += len(found)

        failed: list[TrainingJob] = []
        sets = [[one for one in own if one.key in waiting] for own in stacks(trainings, stack)]
        todo = [TrainingJob(tuple(own)) for own in sets if own]
        while todo:
            jobs = {job.key: job for job in todo}
            yield Batch([job.job(limit, pauses) for job in todo], keep)
            todo, failed[:] = list(failed), []
        return scores

    # -- screen and clock -----------------------------------------------------------------------------

    def keep_clock(self) -> None:
        """Write down how much time has gone, for a process that goes on with the run."""
        clock = self.clock
        self.store.set_meta("clock", {"elapsed": clock.elapsed, "seconds": clock.seconds, "busy": clock.busy})

    def show(self) -> None:
        """Let the observer look."""
        self.status.elapsed = self.clock.elapsed
        self.status.seconds = self.clock.seconds
        self.observer.update(self.status)

    # -- inside ---------------------------------------------------------------------------------------

    def _go_on(self, task: Pending[Any], results: dict[str, JobResult] | None) -> None:
        """Send a process its results (None to begin), and queue what it asks for then."""
        while True:
            try:
                batch = next(task.process) if results is None else task.process.send(results)
            except StopIteration as stop:
                task._value.append(stop.value)
                task.done = True
                return
            if batch.jobs and not self.out_of_time:
                break
            results = {}
        task._on_result, task._results = batch.on_result, {}
        task._left = {job.key for job in batch.jobs}
        for job in batch.jobs:
            owners = self._owners.setdefault(job.key, [])
            if not owners:
                heapq.heappush(self._waiting, (task.rank, self._count, job))
                self._count += 1
            owners.append(task)

    def _feed(self) -> None:
        # No more than the workers can begin: a job that comes later may have to go first.
        while not self._alone and self._waiting and self.executor.idle and not self.out_of_time:
            self._submit(heapq.heappop(self._waiting)[2])
        if self._alone and not self.executor.pending and not self.out_of_time:
            self._submit(self._alone.popleft())

    def _submit(self, job: Job) -> None:
        self._running[job.key] = job
        self.executor.submit(job)

    def _again_alone(self, result: JobResult) -> bool:
        """Whether a job had too little memory beside others; it is begun once more when they have ended."""
        job = self._running.pop(result.key, None)
        if not result.detail.startswith(OUT_OF_MEMORY):
            return False
        self.store.add_event("out of memory", job=result.key, detail=result.detail)
        if job is None or result.key not in self._owners or result.key in self._tried_alone:
            return False
        self._tried_alone.add(result.key)
        self._alone.append(job)
        return True

    def _wait(self, timeout: float) -> bool:
        """Take in a result and what follows from it; whether there was one."""
        self._feed()
        result = self.executor.next_result(timeout=timeout)
        if result is not None and result.tries > 1:
            self._tell_lost(result)
        if result is not None and not self._again_alone(result):
            owners = self._owners.pop(result.key, [])
            if owners:
                self.clock.work(owners[0].stage, result.seconds)
            for task in owners:
                task._results[result.key] = result
                task._left.discard(result.key)
                task._on_result(result)
                if not task._left:
                    self._go_on(task, task._results)
            self._feed()
        self.show()
        if self.out_of_time and self._owners:
            self._ring()
        return result is not None

    def _tell_lost(self, result: JobResult) -> None:
        status = self.status
        status.lost += result.tries - 1
        status.message = f"{status.lost} times a worker was lost, and its job begun again"
        self.store.add_event("workers lost", job=result.key, tries=result.tries, status=result.status)

    def _ring(self) -> None:
        """The deadline has passed: processes go on with the results that they have, and with those still to come."""
        assert self.deadline is not None
        under_way = set(self._owners) - {job.key for _, _, job in self._waiting}
        under_way -= {job.key for job in self._alone}
        if time.monotonic() >= self.deadline + self.patience:
            under_way = set()
            self.executor.cancel()
        self._waiting.clear()
        self._alone.clear()
        dropped = set(self._owners) - under_way
        tasks: dict[int, Pending[Any]] = {}
        for key in dropped:
            for task in self._owners.pop(key):
                task._left.discard(key)
                tasks[id(task)] = task
        for task in tasks.values():
            if not task._left:
                self._go_on(task, task._results)


def _once(batch: Batch) -> Process[dict[str, JobResult]]:
    return (yield batch)
