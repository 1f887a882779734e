"""What a training costs on this machine, from one short real one on each worker side by side."""

from __future__ import annotations

from dataclasses import asdict, replace

from cse_autoloss import errors
from cse_autoloss.bench.budget import TRAIN_SAMPLES, Cost
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import NothingDone
from cse_autoloss.errors import AutoLossError, ConfigError, RunError
from cse_autoloss.runs import Score
from cse_autoloss.settings.fields import Optimizer, Precision

FIRST = 0.1
"""Epochs of the first training on each worker, which is slow: it reads the data and torch prepares its kernels."""

SHARE = 0.1
"""Part of a budget that the second one may take: a whole epoch where that fits, and never less than `LEAST`."""

LEAST = 0.05
"""Epochs."""

LIMIT = 600.0
"""Seconds that either may take where there is no budget."""

MOST = 0.75
"""Part of a budget that may be over when both are done: in less than the rest nothing can be found and audited."""


def measured(
    bench: Workbench,
    losses: LossSet,
    task: str,
    optimizer: Optimizer = "sgd",
    precision: Precision | None = None,
) -> Cost:
    """Seconds of a training; measured once, and kept with the run.

    Args:
        bench: whose workers are measured.
        losses: to train with.
        task: digest of the data and model settings.
        optimizer, precision: of the search's trainings, which are measured by themselves where they differ.

    Raises:
        NothingDone: the training could not be begun, or the budget was over before it was done.
    """
    kept = bench.store.typed_meta("cost", Cost)
    if kept is not None:
        return kept
    bench.status.phase = "measure"
    with bench.clock.stage("measure"):
        plain = Training("tune", losses, 0, FIRST, "val", None, task)
        scores = _probe(bench, plain)
        cost, epochs = _cost(scores, FIRST), 1.0
        if bench.clock.budget is not None:
            seconds = SHARE * bench.clock.budget - cost.score
            epochs = min(1.0, max(LEAST, round(seconds / max(cost.epoch, 1e-9), 2)))
        scores = _probe(bench, replace(plain, epochs=epochs))
        cost = _cost(scores, epochs)
        if optimizer != "sgd" or precision is not None:
            quick = replace(plain, optimizer=optimizer, precision=precision)
            _probe(bench, quick)
            took = _cost(_probe(bench, replace(quick, epochs=epochs)), epochs)
            cost = replace(cost, quick=took.epoch)
    bench.store.set_meta("cost", asdict(cost))
    counted = [s.extra["train_samples"] for s in scores if "train_samples" in s.extra]
    if counted:
        bench.store.set_meta(TRAIN_SAMPLES, int(counted[0]))
    return cost


def _probe(bench: Workbench, training: Training) -> list[Score]:
    """The scores of that training on each worker, of another seed on each."""
    clock, workers = bench.clock, range(bench.executor.workers)
    limit = LIMIT if clock.budget is None else min(LIMIT, max(1.0, MOST * clock.budget - clock.elapsed))
    probes = [replace(training, seed=-1 - i) for i in workers]
    scores = list(bench.train(probes, limit).values())
    for one in scores:
        if one.status == "timeout" and clock.budget is not None:
            raise NothingDone(
                ConfigError(
                    f"budget: {MOST:.0%} of {clock.budget:g} s were over before one training of "
                    f"{training.epochs:g} epochs was done and scored; give more time, or fewer or smaller samples"
                )
            )
        if one.status not in ("ok", "diverged"):
            raise NothingDone(failure(one.detail))
    return scores


def _cost(scores: list[Score], epochs: float) -> Cost:
    """The dearest of trainings of so many epochs."""
    return Cost(
        max(float(s.extra.get("seconds_train", s.seconds)) for s in scores) / epochs,
        max(float(s.extra.get("seconds_score", 0.0)) for s in scores),
    )


def failure(detail: str) -> AutoLossError:
    """The error of a job that can not fail for the loss's sake, from its line: the user's, or the machine's."""
    name, _, text = detail.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AutoLossError):
        return kind(text)
    return RunError(f"the training failed: {detail}")
