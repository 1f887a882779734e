"""What everything that trains shares: the task, its digest, the workers' orders, seeds and limits.

A search, a comparison, an audit of filters and a prediction are all made on one `Session`; none of them knows which
task or which search it serves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cse_autoloss.bench.budget import TRAIN_SAMPLES, AuditSize, Cost, RunSize, train_limit
from cse_autoloss.bench.jobs import STATES, LossSet
from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.bench.stored import by_content
from cse_autoloss.bench.stored import identity as identity_of
from cse_autoloss.bench.tuning import Axis, tunable_axis
from cse_autoloss.errors import AutoLossError, ConfigError, RunError, UnknownNameError, WorkersLost
from cse_autoloss.executors import Devices, Executor, Work, make_executor
from cse_autoloss.executors.devices import local_devices
from cse_autoloss.losses.negatives import NEGATIVES
from cse_autoloss.runs import RunStore, holds_run
from cse_autoloss.settings.fields import Optimizer, Precision, unwritten
from cse_autoloss.settings.load import SearchConfig, changed
from cse_autoloss.settings.schema import EvolutionSettings
from cse_autoloss.spaces import form_of
from cse_autoloss.tasks.protocol import Metric, Task
from cse_autoloss.tasks.registry import TASKS

SEEDS_OF_SEARCH = 1_000
SEEDS_OF_TUNING = 2_000
SEEDS_OF_AUDIT = 3_000
"""Training seeds start at the run's seed times 10,000 plus these, so that no stage sees another's luck."""

STACK_OF_GPU = 8
"""`proxy.stack: auto` with device cuda: a guess, no measurement."""


class Session:
    """A configuration's task and what trainings on it need.

    Attributes:
        config: of the run, with what this machine decides.
        device: "cpu" or "cuda", that workers train on.
        task: in this process: its slots, metrics, tunables and baselines; its data are read at their first use.
        metric: that is climbed.
        slots: that are searched: all, the one that the configuration names, or those that the search is for.
        digest: of the task's settings and the device; a score holds for one digest.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.device = workers_device(config)
        here = self.device if config.executor != "ray" else resolve_device("auto")
        self.task: Task = TASKS.get(config.task)(config.own, here)
        papers = config.reinforce.paper and config.task == "faces" and config.metric is None
        self.metric = chosen_metric(self.task, "rank1" if papers else config.metric)
        self.slots = self._searched()
        if config.proxy.precision == "auto":
            self.config = config = changed(config, {"proxy.precision": self._precision_here()})
        if not self.task.quickens and self.quick != ("sgd", None):
            raise ConfigError(
                f"proxy: {config.task} has a training of its own; expected no optimizer but sgd, and no precision"
            )
        if config.evolution.turns != EvolutionSettings().turns:
            for name in config.evolution.turns:
                if name not in self.task.slots:
                    raise UnknownNameError.of(
                        f"evolution.turns: slot of {config.task}", name, self.task.slots
                    )
        if config.audit.negative_weight and not self.sigmoids:
            kinds = " and ".join(dict.fromkeys(one.name for one in self.task.slots.values()))
            raise ConfigError(
                f"audit.negative_weight: expected a task with losses of per-class sigmoids (cls-binary); those of "
                f"{config.task} are {kinds}"
            )
        self.space()  # says what is wrong with the ranges now, and not when the search is over
        own = by_content(unwritten(config.own).model_dump(mode="json"))
        identity = json.dumps([identity_of(config.task), own, self.device], sort_keys=True)
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _searched(self) -> tuple[str, ...]:
        wanted, known = self.config.slot, tuple(self.task.slots)
        if wanted is None:
            return known
        if wanted not in known:
            raise UnknownNameError.of(f"slot of {self.config.task}", wanted, known)
        return (wanted,)

    @property
    def quick(self) -> tuple[Optimizer, Precision | None]:
        """Optimiser and precision of the search's trainings; None for the task's."""
        proxy = self.config.proxy
        return proxy.optimizer, None if proxy.precision == "auto" else proxy.precision

    @property
    def together(self) -> int:
        """`proxy.stack` on this machine: how many of the search's trainings go side by side in one process.

        Raises:
            ConfigError: more than one is asked for, and they can't.
        """
        asked, (optimizer, precision) = self.config.proxy.stack, self.quick
        why = self.task.alone
        if optimizer != "sgd":
            why = f"the optimizer {optimizer} moves one model at a time"
        if (precision or getattr(self.config.own, "precision", None)) == "float16":
            why = "in float16 a loss is scaled for one model at a time"
        if asked is None:
            return 1 if why or self.device == "cpu" else STACK_OF_GPU
        if asked > 1 and why:
            raise ConfigError(f"proxy.stack: expected 1, got {asked}: {why}")
        return asked

    def told_quick(self) -> tuple[str, ...]:
        """A note, where the search's trainings have a precision that other machines may not have."""
        precision = self.quick[1]
        if precision in (None, getattr(self.config.own, "precision", None)):
            return ()
        return (f"the search's trainings compute in {precision}: without it, scores would differ",)

    def _precision_here(self) -> Precision | None:
        """What `proxy.precision: auto` is on this machine; a run keeps it, and goes on with it wherever it is resumed.

        The task's own where that is another than float32, where its trainings keep to no other, and on a cluster,
        whose nodes may differ.
        """
        usual = getattr(self.config.own, "precision", "float32") == "float32"
        if not usual or self.config.executor == "ray" or not self.task.quickens:
            return None
        from cse_autoloss.training.precision import quick_here

        found = quick_here(self.device)
        return None if found == "float32" else found

    @property
    def plain(self) -> Mapping[str, str]:
        """What people start from: slot -> loss."""
        return self.task.baselines[0]

    @property
    def alpha(self) -> float | None:
        """α weighting of formulas, where a slot takes one."""
        binary = any(form_of(signature).weighted for signature in self.task.slots.values())
        return self.config.alpha if binary else None

    @property
    def defaults(self) -> dict[str, float]:
        """The tunables as the search trains with them."""
        return {one.name: one.default for one in self.task.tunables}

    def untuned(self, losses: Mapping[str, str], alpha: float | None = None) -> LossSet:
        """Losses as the search trains them."""
        return LossSet.of({slot: losses[slot] for slot in self.task.slots}, alpha, self.defaults)

    def beside(self, slot: str, formula: str, partners: Mapping[str, str] | None = None) -> LossSet:
        """A candidate of a slot as the search trains it: the other slots have their partners, or the plain losses."""
        losses = {**self.plain, **(partners or {}), slot: formula}
        alpha = self.alpha if self.task.slots[slot].name == "cls-binary" else None
        return self.untuned(losses, alpha)

    @property
    def sigmoids(self) -> tuple[str, ...]:
        """Slots of losses of per-class sigmoids, whose negatives can be weighed."""
        return tuple(slot for slot, one in self.task.slots.items() if form_of(one).weighted)

    @property
    def negatives(self) -> tuple[float, float] | None:
        """Least and greatest weight of negatives that tuning tries; None where it is not tuned."""
        audit = self.config.audit
        return audit.ranges.get(NEGATIVES.name, NEGATIVES.span) if audit.negative_weight else None

    @property
    def draws(self) -> int:
        """How many fresh draws of the data an audit has; 0 where they are not drawn."""
        return self.config.audit.draws if self.task.drawn(1) is not None else 0

    def first_seed(self, of: int) -> int:
        """First training seed of a stage; `of` is one of the SEEDS_OF_... above."""
        return self.config.seed * 10_000 + of

    @property
    def tune_seeds(self) -> tuple[int, int]:
        """Training seeds of the tuning."""
        first = self.first_seed(SEEDS_OF_TUNING)
        return first, first + 1

    def train_limit(self, size: RunSize, store: RunStore) -> int | None:
        """Number of training samples that a run of this size uses; None for all."""
        return train_limit(
            size.share, store.typed_meta(TRAIN_SAMPLES, int) or 0, getattr(self.config.own, "batch", 1)
        )

    def limit(self, cost: Cost, epochs: float) -> float:
        """Wall seconds after which a training is killed; never less than five times what an ordinary one takes."""
        return max(30.0, self.config.proxy.limit_factor * cost.training(epochs))

    def asked_audit(self) -> AuditSize:
        """The audit that the configuration asks for."""
        audit = self.config.audit
        return AuditSize(
            winners=audit.finalists,
            baselines=min(audit.baselines, len(self.task.baselines)),
            tuning=audit.tuning,
            tune_epochs=audit.tune_epochs,
            seeds=audit.seeds,
            epochs=audit.epochs,
        )

    def space(self) -> tuple[Axis, ...]:
        """What is tuned for everyone, over the task's spans or the configuration's.

        Raises:
            ConfigError, UnknownNameError: a range of what is not tuned, or that no weight may have.
        """
        asked = dict(self.config.audit.ranges)
        known = [one.name for one in self.task.tunables]
        if self.negatives:
            known.append(NEGATIVES.name)
            low, high = self.negatives
            if not NEGATIVES.low <= low <= high <= NEGATIVES.high:
                raise ConfigError(
                    f"audit.ranges: {NEGATIVES.name}: expected factors from {NEGATIVES.low:g} to {NEGATIVES.high:g}, "
                    f"got {low:g} to {high:g}"
                )
        for name in asked:
            if name == NEGATIVES.name and name not in known and self.sigmoids:
                raise ConfigError(
                    f"audit.ranges: {name}: it is not tuned; set audit.negative_weight: true, too"
                )
            if name not in known:
                raise UnknownNameError.of(f"tunable of {self.config.task}", name, known)
        return tuple(
            tunable_axis(one.name, one.default, asked.get(one.name, one.span)) for one in self.task.tunables
        )

    def check(self, store: RunStore, status: RunStatus, observer: Observer) -> tuple[str, ...]:
        """Look at the data before anything is trained; notes on them.

        Raises:
            NothingDone: they can't be used.
            RunError: they are others than those that the run began with.
        """

        begun = time.monotonic()

        def looked(done: int, total: int) -> None:
            status.done, status.total, status.elapsed = done, total, time.monotonic() - begun
            observer.update(status)
            if status.budget is not None and status.elapsed > status.budget:
                raise ConfigError(
                    f"budget: {status.budget:g} s were over when {done:,} of {total:,} images had been looked at; "
                    "give more time, or fewer or smaller images"
                )

        status.phase, self.task.progress = "looking at the data", looked
        try:
            notes, digest = tuple(self.task.check()), self.task.data_digest
        except AutoLossError as error:
            raise NothingDone(error) from None
        kept = store.meta("data", digest)
        if kept != digest:
            raise RunError(
                f"{store.directory}: {self.config.own.data} holds other data than the run began with (digest {digest}, "
                f"then {kept}): put those back, or begin a new run"
            )
        store.set_meta("data", digest)
        return notes

    @contextlib.contextmanager
    def executor(self, states: Path | None = None, workers: int | None = None) -> Iterator[Executor]:
        """Workers for the session's jobs.

        Args:
            states: folder for the states of paused trainings.
            workers: how many; None is the configuration's number.
        """
        orders = {
            "config": self.config.model_dump(mode="json"),
            "device": self.device,
            "states": str(states) if states else None,
        }
        work = Work("cse_autoloss.bench.worker:init", "cse_autoloss.bench.worker:run", orders)
        with make_executor(
            self.config.executor, work, workers or self.config.workers, self._devices()
        ) as executor:
            yield executor

    def _devices(self) -> Devices:
        config = self.config
        if self.device == "cuda" and config.executor == "pool":
            return local_devices(config.per_device)
        return Devices(self.device == "cuda", per_device=config.per_device, ray=config.ray)


def states_folder(store: RunStore) -> Path:
    """Where a run keeps the states of paused trainings."""
    return store.directory.resolve() / STATES


def still_there(lost: WorkersLost, store: RunStore) -> WorkersLost:
    """What a run's end for want of workers says, once its report is written."""
    where = store.directory
    return WorkersLost(f"{lost}; what was found so far stands in {where}, go on with it by --resume {where}")


def chosen_metric(task: Task, name: str | None) -> Metric:
    """The metric of that name; None is the task's first."""
    known = {one.name: one for one in task.metrics}
    if name is None:
        return task.metrics[0]
    if name not in known:
        raise UnknownNameError.of(f"metric of {task.name}", name, known)
    return known[name]


def workers_device(config: SearchConfig) -> str:
    """ "cpu" or "cuda": what a run's workers train on; on a cluster, what its nodes have."""
    if config.executor != "ray" or config.device == "cpu":
        return resolve_device(config.device)
    from cse_autoloss.executors.ray_pool import cluster_gpus

    return "cuda" if config.device == "cuda" or cluster_gpus(config.ray, config.workers) else "cpu"


def resolve_device(name: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; ConfigError where CUDA is asked for and not there."""
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise ConfigError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return "cpu"


def new_directory(kind: str = "") -> Path:
    """`runs/2026-01-31-174500`, with the kind before and a number behind it where that is taken."""
    base = Path("runs") / time.strftime(f"{kind}%Y-%m-%d-%H%M%S")
    directory, number = base, 2
    while directory.exists():
        directory, number = base.with_name(f"{base.name}-{number}"), number + 1
    return directory


def fresh(directory: Path) -> Path:
    """The directory, where it holds no run yet."""
    if holds_run(directory):
        raise RunError(f"{directory} holds a run already; go on with it by --resume {directory}")
    return directory


def remove_empty_run(directory: Path) -> None:
    """Take back what was just made, so that the mended command finds the directory free."""
    for name in ("config.yaml", "report.html", "run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.lock"):
        (directory / name).unlink(missing_ok=True)
    for folder in (directory / "states", directory):
        with contextlib.suppress(OSError):
            folder.rmdir()


class NothingDone(Exception):
    """The first training could not even be begun, for a reason that is the user's to mend: `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
