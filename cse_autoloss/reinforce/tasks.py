"""The task of a configuration, for one seed."""

from __future__ import annotations

from cse_autoloss.bench.session import chosen_metric
from cse_autoloss.errors import ConfigError, UnknownNameError, shorten
from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.tasks.registry import TASKS
from cse_autoloss.tasks.stacked import StackedTask


def make_task(config: SearchConfig, seed: int, device: str) -> StackedTask:
    """Data and models; the seed decides splits, label noise, weights and batches.

    Raises:
        ConfigError: the task is not one of models that train side by side.
        DataError: the data can not be read.
    """
    kind = TASKS.get(config.task)
    if not issubclass(kind, StackedTask):
        raise ConfigError(f"task: expected one whose models train side by side, got {shorten(config.task)!r}")
    task = kind(config.own.model_copy(update={"seed": seed}), device)
    task.check()
    return task


def reward_of(task: StackedTask, name: str | None) -> Metric:
    """The metric that is climbed: of that name, or the task's first; one of which more is better."""
    metric = chosen_metric(task, name)
    if not metric.higher:
        rewards = [one.name for one in task.metrics if one.higher]
        raise UnknownNameError.of(f"reward of {task.name}", metric.name, rewards)
    return metric
