"""One task on several kinds of data: a loss is worth what it is worth on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar

from cse_autoloss.errors import AutoLossError, ConfigError, UnknownNameError
from cse_autoloss.graph import Signature
from cse_autoloss.settings.load import parse
from cse_autoloss.settings.tasks.several import SeveralSettings
from cse_autoloss.tasks.protocol import (
    LossFunction,
    Metric,
    Schedule,
    Simulation,
    SplitName,
    Task,
    TaskScore,
    Tunable,
)
from cse_autoloss.tasks.registry import TASKS


class SeveralTask(Task):
    """Trains on each kind of data by itself, with the same losses, seed and settings, and scores by the gains.

    A gain is how much better than its reference a kind's first metric is. mean: of the gains; worst: the least of them.
    A training that fails on one kind fails.
    """

    name = "several"
    Settings: ClassVar = SeveralSettings
    settings: SeveralSettings

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Kind -> the task on its data."""
        own = self.settings
        if own.task == self.name:
            raise ConfigError("several.task: expected one task, got several")
        for name in own.references:
            if name not in own.kinds:
                raise UnknownNameError.of("kind", name, own.kinds)
        kind = TASKS.get(own.task)
        seed = {"seed": own.seed} if "seed" in kind.Settings.model_fields else {}
        made = {}
        for name, differing in own.kinds.items():
            values = _merged(seed, own.common, differing)
            made[name] = kind(parse(kind.Settings, values, f"several.kinds.{name}"), str(self.device))
            if made[name].slots != next(iter(made.values())).slots:
                raise ConfigError(
                    f"several.kinds.{name}: has other slots than the first kind; losses must fit all"
                )
        return made

    @property
    def _first(self) -> Task:
        return next(iter(self.tasks.values()))

    @property
    def quickens(self) -> bool:  # type: ignore[override]
        """Where the task on each kind does."""
        return all(task.quickens for task in self.tasks.values())

    @property
    def slots(self) -> Mapping[str, Signature]:
        """Those of the task."""
        return self._first.slots

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The mean of the gains and the least of them, in the task's first metric."""
        one = self._first.metrics[0]
        ends = [[self._gain(name, end) for end in (*one.bounds, one.worst)] for name in self.tasks]
        low, high = min(min(own) for own in ends), max(max(own) for own in ends)
        worst = min(own[-1] for own in ends)
        what = f"gain in {one.label}" if self.settings.references else one.label
        return tuple(
            Metric(name, True, f"{name} {what}", one.factor, one.digits, worst, (low, high))
            for name in ("mean", "worst")
        )

    def _gain(self, name: str, value: float) -> float:
        gain = value - self.settings.references.get(name, 0.0)
        return gain if self._first.metrics[0].higher else -gain

    @property
    def tunables(self) -> Sequence[Tunable]:
        """Those of the task."""
        return self._first.tunables

    @property
    def baselines(self) -> Sequence[Mapping[str, str]]:
        """Those of the task."""
        return self._first.baselines

    @property
    def simulates(self) -> bool:  # type: ignore[override]
        """As the task."""
        return self._first.simulates

    def simulation(self, settings: Any) -> Simulation | None:
        """That of the first kind."""
        return self._first.simulation(settings)

    @property
    def notes(self) -> tuple[str, ...]:
        """Of each kind."""
        return tuple(f"{name}: {note}" for name, task in self.tasks.items() for note in task.notes)

    @property
    def data_digest(self) -> str:
        """Of the files of all kinds."""
        found = {name: task.data_digest for name, task in self.tasks.items()}
        return ", ".join(f"{name} {digest}" for name, digest in found.items() if digest)

    def drawn(self, draw: int) -> SeveralSettings | None:
        """Each kind drawn anew, where it can be."""
        found = {name: task.drawn(draw) for name, task in self.tasks.items()}
        if not any(found.values()):
            return None
        whole = {
            name: (settings or self.tasks[name].settings).model_dump(mode="json")
            for name, settings in found.items()
        }
        return self.settings.model_copy(update={"common": {}, "kinds": whole})

    def check(self) -> tuple[str, ...]:
        """Read the data of each kind; see `Task.check`."""
        told: list[str] = []
        for name, task in self.tasks.items():
            task.progress = self.progress
            try:
                told += [f"{name}: {note}" for note in task.check()]
            except AutoLossError as error:
                raise type(error)(f"{name}: {error}") from None
        return tuple(told)

    def train(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
        split: SplitName,
    ) -> TaskScore:
        """Train on each kind in turn; the score's parts are the figures of each, its pictures the first's."""
        metric, scores = self._first.metrics[0], dict[str, TaskScore]()
        for name, task in self.tasks.items():
            show = schedule.show and not scores
            own = replace(schedule, until=None, state=None, show=show)
            score = task.train(losses, seed=seed, schedule=own, settings=settings, split=split)
            if score.status != "ok":
                return TaskScore(status=score.status, detail=f"{name}: {score.detail}")
            scores[name] = score
        gains = [self._gain(name, score.metrics[metric.name]) for name, score in scores.items()]
        every = list(scores.values())
        return TaskScore.of(
            {"mean": fmean(gains), "worst": min(gains)},
            seconds_train=sum(one.seconds_train for one in every),
            seconds_score=sum(one.seconds_score for one in every),
            train_samples=min(one.train_samples for one in every),
            parts={f"{metric.label}, {name}": one.metrics[metric.name] for name, one in scores.items()},
            pictures=every[0].pictures,
        )


def _merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Later ones over earlier ones, sections within sections."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
            found[key] = _merged(found[key], value) if both else value
    return found
