"""How far a schedule goes with a training, and what it scores: the part that all tasks with a `TrainingRun` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from cse_autoloss.tasks.protocol import Schedule, TaskScore
from cse_autoloss.training.loop import Diverged, TrainingRun
from cse_autoloss.training.pauses import keep, resume


def trained(
    make: Callable[[], TrainingRun],
    schedule: Schedule,
    score: Callable[[TrainingRun], Mapping[str, float]],
    samples: int,
    advance: Callable[[TrainingRun, int], None] = TrainingRun.advance,
) -> TaskScore:
    """Train to the schedule's pause or end, and score.

    Args:
        make: the training at its beginning.
        schedule: of `Task.train`; the state of a pause is kept and gone on from.
        score: the metrics of the model as it is then.
        samples: that there are to train on.
        advance: trains up to a step, or raises `Diverged`.
    """

    def one_by_one(runs: Sequence[TrainingRun], stop: int) -> dict[int, Diverged]:
        try:
            advance(runs[0], stop)
        except Diverged as diverged:
            return {0: diverged}
        return {}

    return trained_together([make], [schedule], score, samples, one_by_one)[0]


def trained_together(
    makes: Sequence[Callable[[], TrainingRun]],
    schedules: Sequence[Schedule],
    score: Callable[[TrainingRun], Mapping[str, float]],
    samples: int,
    advance: Callable[[Sequence[TrainingRun], int], Mapping[int, Diverged]],
) -> list[TaskScore]:
    """`trained` of several whose schedules differ in their states alone; each is told an equal part of the time.

    Args:
        makes, schedules, score, samples: as of `trained`.
        advance: trains all up to a step, and tells by place those that diverged.
    """
    started, schedule = time.perf_counter(), schedules[0]
    runs = [make() for make in makes]
    stop = steps = runs[0].steps
    if schedule.until is not None:
        stop = max(1, round(steps * min(schedule.until / schedule.epochs, 1.0)))
    states = [one.state for one in schedules]
    for run, state in zip(runs, states, strict=True):
        if state is not None:
            resume(run, state, stop)
    begun = [run.step for run in runs]
    diverged = advance(runs, stop)
    for place, (run, state) in enumerate(zip(runs, states, strict=True)):
        if state is not None and stop < steps and place not in diverged:
            keep(run, state)
    took = (time.perf_counter() - started) / len(runs)
    scores = []
    for place, run in enumerate(runs):
        if place in diverged:
            scores.append(TaskScore({}, "diverged", str(diverged[place]), took, train_samples=samples))
            continue
        trained = time.perf_counter()
        found = score(run)
        scores.append(
            TaskScore.of(
                found,
                seconds_train=took,
                seconds_score=time.perf_counter() - trained,
                epochs_trained=schedule.epochs * (stop - begun[place]) / steps,
                train_samples=samples,
            )
        )
    return scores
