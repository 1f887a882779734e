"""What a training costs on this machine, from one short real one on each worker side by side."""

from __future__ import annotations

from dataclasses import asdict

from cse_autoloss import errors
from cse_autoloss.bench.budget import TRAIN_SAMPLES, Cost
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import NothingDone
from cse_autoloss.errors import AutoLossError, RunError


def measured(bench: Workbench, losses: LossSet, task: str) -> Cost:
    """Seconds of a training; measured once, and kept with the run.

    Args:
        bench: whose workers are measured.
        losses: to train with.
        task: digest of the data and model settings.

    Raises:
        NothingDone: the training could not be begun.
    """
    kept = bench.store.typed_meta("cost", Cost)
    if kept is not None:
        return kept
    bench.status.phase = "measure"
    with bench.clock.stage("measure"):
        # A worker's first steps are slow: it reads the data and torch prepares its kernels.
        for epochs in (0.1, 1.0):
            workers = range(bench.executor.workers)
            probes = [Training("tune", losses, -1 - i, epochs, "val", None, task) for i in workers]
            scores = bench.train(probes, limit=600.0)
    bench.status.funnel["trained"] = 0
    failed = [s for s in scores.values() if s.status not in ("ok", "diverged")]
    if failed:
        raise NothingDone(failure(failed[0].detail))
    cost = Cost(
        max(float(s.extra.get("seconds_train", s.seconds)) for s in scores.values()),
        max(float(s.extra.get("seconds_score", 0.0)) for s in scores.values()),
    )
    bench.store.set_meta("cost", asdict(cost))
    counted = [s.extra["train_samples"] for s in scores.values() if "train_samples" in s.extra]
    if counted:
        bench.store.set_meta(TRAIN_SAMPLES, int(counted[0]))
    return cost


def failure(detail: str) -> AutoLossError:
    """The error of a job that can not fail for the loss's sake, from its line: the user's, or the machine's."""
    name, _, text = detail.partition(": ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AutoLossError):
        return kind(text)
    return RunError(f"the training failed: {detail}")
