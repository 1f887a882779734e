"""The jobs of a run: what is sent to a worker, under which key its result is kept, and what a worker does with it.

Only plain values cross to a worker: formulas or catalogue names, numbers, and back come figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from cse_autoloss.executors import Job, JobResult
from cse_autoloss.runs.records import Score, job_key
from cse_autoloss.settings.fields import Optimizer, Precision

STATES = "states"
"""Folder in a run's directory where workers keep the states of paused trainings."""

_KEPT = (
    "seconds_train",
    "seconds_score",
    "epochs_trained",
    "train_samples",
    "together",
    "memory",
    "parts",
    "pictures",
    "logits",
)

Purpose = Literal["proxy", "rung", "combine", "tune", "audit", "filter-audit"]


@dataclass(frozen=True)
class LossSet:
    """A loss for each slot of a task, each a formula or a catalogue name, and what a training is told with them.

    Attributes:
        slots: (slot, formula or name), in the task's order.
        alpha: α weighting of formulas of binary classification; None for none. A catalogue name brings its own.
        settings: (name, value) of the tunables that differ from the task's defaults, or were tuned.
    """

    slots: tuple[tuple[str, str], ...]
    alpha: float | None = None
    settings: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls,
        losses: Mapping[str, str],
        alpha: float | None = None,
        settings: Mapping[str, float] | None = None,
    ) -> LossSet:
        """From mappings, whose order counts."""
        return cls(tuple(losses.items()), alpha, tuple((settings or {}).items()))

    @property
    def losses(self) -> dict[str, str]:
        """Slot -> formula or name."""
        return dict(self.slots)

    @property
    def tuned(self) -> dict[str, float]:
        """Name -> value of the settings."""
        return dict(self.settings)

    @property
    def name(self) -> str:
        """`cls + reg` as it stands in tables."""
        return " + ".join(text for _, text in self.slots)

    def __getitem__(self, slot: str) -> str:
        return self.losses[slot]

    def with_loss(self, slot: str, text: str) -> LossSet:
        """The same with another loss in a slot."""
        return replace(self, slots=tuple((name, text if name == slot else own) for name, own in self.slots))

    def with_settings(self, settings: Mapping[str, float]) -> LossSet:
        """The same with other settings."""
        return replace(self, settings=tuple(settings.items()))


@dataclass(frozen=True)
class Training:
    """A training to be done.

    Attributes:
        purpose: what for.
        losses: of each slot, with the settings.
        seed: of weights and batches.
        epochs: passes over the training data.
        split: "val", or "test" in the audit alone.
        train_limit: number of training samples, None for all.
        task: digest of the data and model settings, so that a score is not taken over to another task.
        until: epochs of the schedule after which it pauses and is scored, to be gone on with if it is worth it; None
            for the end.
        score_limit: number of samples that it is scored on, None for all.
        draw: of the data, as of `Task.drawn`; 0 for that of the settings.
        show: whether its pictures are kept for the run's page; decides nothing of the result.
        optimizer: of the search's trainings: "sgd" or "muon".
        precision: of the search's trainings; None for that of the task.
    """

    purpose: Purpose
    losses: LossSet
    seed: int
    epochs: float
    split: Literal["val", "test"] = "val"
    train_limit: int | None = None
    task: str = ""
    until: float | None = None
    score_limit: int | None = None
    draw: int = 0
    show: bool = False
    optimizer: Optimizer = "sgd"
    precision: Precision | None = None

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        parts = asdict(self)
        del parts["purpose"], parts["show"]
        later = {"draw": 0, "optimizer": "sgd", "precision": None}  # keys are as they were before these
        for name, usual in later.items():
            if parts[name] == usual:
                del parts[name]
        return job_key(**parts)

    def rung(self, until: float, score_limit: int | None) -> Training:
        """The same training up to a pause."""
        return replace(self, purpose="rung", until=until, score_limit=score_limit)

    @property
    def state_name(self) -> str:
        """Names the state that is kept at its pauses: that of the whole training."""
        return replace(self, until=None, score_limit=None).key

    @property
    def but_losses(self) -> Training:
        """What it shares with those that it can be stacked with: all but its formulas."""
        return replace(self, losses=LossSet((), None, self.losses.settings))

    def payload(self, pauses: bool = False) -> dict[str, Any]:
        """What the worker receives.

        Args:
            pauses: whether the training has pauses, this one or earlier ones.
        """
        return {
            "kind": "train",
            "losses": self.losses.losses,
            "alpha": self.losses.alpha,
            "settings": self.losses.tuned,
            "seed": self.seed,
            "split": self.split,
            "draw": self.draw,
            "schedule": {
                "epochs": self.epochs,
                "train_limit": self.train_limit,
                "until": self.until,
                "score_limit": self.score_limit,
                "show": self.show,
                "optimizer": self.optimizer,
                "precision": self.precision,
            },
            "state": self.state_name if pauses else None,
        }

    def score(self, status: str, value: dict[str, Any], detail: str, seconds: float) -> Score:
        """The record to keep: `value` is what `run` gave, empty where the job failed."""
        trained = status == "ok" and value.get("status") == "ok"
        return Score(
            key=self.key,
            purpose=self.purpose,
            losses=self.losses.losses,
            split=self.split,
            seed=self.seed,
            epochs=self.epochs if self.until is None else self.until,
            settings=self.losses.tuned,
            status="ok" if trained else str(value.get("status", status)),
            metrics=value["metrics"] if trained else {},
            detail=detail or str(value.get("detail", "")),
            seconds=seconds,
            extra={name: value[name] for name in _KEPT if value.get(name) not in (None, {}, [], ())},
        )


@dataclass(frozen=True)
class TrainingJob:
    """Trainings that a worker does side by side, or one.

    Attributes:
        trainings: that differ in their formulas alone.
    """

    trainings: tuple[Training, ...]

    @property
    def key(self) -> str:
        """Of the job; each training's score has a key of its own."""
        keys = [one.key for one in self.trainings]
        return keys[0] if len(keys) == 1 else job_key(stack=keys)

    def job(self, limit: float, pauses: bool) -> Job:
        """What is sent to a worker; `limit` is the seconds of one training."""
        members = [one.payload(pauses) for one in self.trainings]
        whole = members[0] if len(members) == 1 else {"kind": "train-stack", "members": members}
        return Job(self.key, whole, limit * len(members))

    def scores(self, result: JobResult) -> list[Score] | None:
        """Of each training; None of several that failed as a whole, by the doing of one or by their number."""
        count = len(self.trainings)
        if count == 1:
            return [self.trainings[0].score(result.status, result.value, result.detail, result.seconds)]
        if result.status != "ok":
            return None
        shared = {"memory": result.value["memory"], "together": count}
        values = [{**value, **shared} for value in result.value["members"]]
        return [
            one.score("ok", value, "", result.seconds / count)
            for one, value in zip(self.trainings, values, strict=True)
        ]


def stacks(trainings: Sequence[Training], most: int) -> list[list[Training]]:
    """Trainings in sets of at most so many that can be stacked, in the order given; each once.

    It depends on nothing but what is asked for: no number of workers, and no result.
    """
    sets: list[list[Training]] = []
    unfilled: dict[Training, list[Training]] = {}
    for training in {one.key: one for one in trainings}.values():
        kind = training.but_losses
        own = unfilled.get(kind)
        if own is None or len(own) >= most:
            own = unfilled[kind] = []
            sets.append(own)
        own.append(training)
    return sets


def simulation_payload(slot: str, formulas: Sequence[str], alpha: float | None) -> dict[str, Any]:
    """Ask a worker to simulate candidates of a slot side by side."""
    return {"kind": "simulate", "slot": slot, "formulas": list(formulas), "alpha": alpha}
