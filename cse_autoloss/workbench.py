"""Where a run's trainings are done: executor, store, clock and screen in one hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cse_autoloss.executors import Executor, Job, JobResult
from cse_autoloss.jobs import Training
from cse_autoloss.progress import Clock, Observer, RunStatus
from cse_autoloss.runs import RunStore, Score


class Workbench:
    """Runs jobs and keeps their results.

    Attributes:
        executor: its workers run `cse_autoloss.worker`.
        store: open for writing.
        clock, status, observer: of the run.
        deadline: `time.monotonic()` value at which pending jobs are dropped; None for never.
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

    @property
    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def run(
        self, jobs: Sequence[Job], on_result: Callable[[JobResult], None] = lambda result: None
    ) -> dict[str, JobResult]:
        """Results by key; jobs that the deadline cut off are missing."""
        results: dict[str, JobResult] = {}
        for job in jobs:
            self.executor.submit(job)
        while self.executor.pending:
            result = self.executor.next_result(timeout=0.25)
            if result is not None:
                results[result.key] = result
                on_result(result)
            self.show()
            if self.out_of_time:
                self.executor.cancel()
        return results

    def train(self, trainings: Sequence[Training], limit: float) -> dict[str, Score]:
        """Scores by key, each kept as soon as it is known.

        A score that the store has already is reused; trainings that the deadline cut off are missing.

        Args:
            trainings: any number, some of which may be the same.
            limit: wall seconds after which a training is killed; its score then says so.
        """
        scores: dict[str, Score] = {}
        waiting: dict[str, Training] = {}
        for training in trainings:
            kept = self.store.score(training.key)
            if kept is not None:
                scores[training.key] = kept
            else:
                waiting[training.key] = training
        self.status.done, self.status.total = len(scores), len(scores) + len(waiting)

        def keep(result: JobResult) -> None:
            score = waiting[result.key].score(result.status, result.value, result.detail, result.seconds)
            with self.store.transaction():
                self.store.add_score(score)
                self.keep_clock()
            scores[score.key] = score
            self.status.done += 1
            if score.status == "ok":
                self.status.funnel["trained"] += 1

        self.run([Job(key, training.payload(), limit) for key, training in waiting.items()], keep)
        return scores

    def keep_clock(self) -> None:
        """Write down how much time has gone, for a process that goes on with the run."""
        self.store.set_meta("clock", {"elapsed": self.clock.elapsed, "seconds": self.clock.seconds})

    def show(self) -> None:
        """Let the observer look."""
        self.status.elapsed = self.clock.elapsed
        self.status.seconds = self.clock.seconds
        self.observer.update(self.status)
