"""How far a schedule goes with a training, and what it scores: the part that all tasks with a `TrainingRun` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

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
    started = time.perf_counter()
    run = make()
    stop, state = run.steps, schedule.state
    if schedule.until is not None:
        stop = max(1, round(run.steps * min(schedule.until / schedule.epochs, 1.0)))
    if state is not None:
        resume(run, state, stop)
    begun = run.step
    try:
        advance(run, stop)
    except Diverged as diverged:
        took = time.perf_counter() - started
        return TaskScore({}, "diverged", str(diverged), took, train_samples=samples)
    if state is not None and stop < run.steps:
        keep(run, state)
    trained = time.perf_counter()
    found = score(run)
    return TaskScore.of(
        found,
        seconds_train=trained - started,
        seconds_score=time.perf_counter() - trained,
        epochs_trained=schedule.epochs * (stop - begun) / run.steps,
        train_samples=samples,
    )
