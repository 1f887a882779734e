"""Trainings of models side by side, each with a loss of its own, as jobs: what is asked for, and what a worker does.

A job trains a stack for some epochs and scores it on validation. Between two jobs the stack lies in a checkpoint, so
that any worker goes on with it, and a run that was killed. After the last epoch the best model's weights are kept, for
the one look at the test split.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.bench.session import chosen_metric
from cse_autoloss.errors import RunError
from cse_autoloss.executors import Job
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.runs import job_key, write_whole
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import best_of

Stacked = Any
"""A task whose `stacks` is true."""


@dataclass(frozen=True)
class StackTraining:
    """What stays the same over the epochs of one training side by side.

    Attributes:
        name: in the store and of its checkpoints, for example "searched-0-0.5".
        space: of the losses, as its `to_dict` says it.
        seed: of the task: splits, weights, batches.
        lr_factor: times the task's learning rate, for all models or one each.
        scale: of the models' heads, None for plain logits.
        epochs: of the whole training.
        metric: that says which model is best.
        task: digest of the data and model settings.
        copy_best: copy the best model to all, its optimiser's moments included, after each job.
        own_orders: as of `StackedTask.train_epoch`.
    """

    name: str
    space: Mapping[str, Any]
    seed: int
    lr_factor: float | tuple[float, ...]
    scale: float | None
    epochs: int
    metric: str
    task: str = ""
    copy_best: bool = True
    own_orders: bool = False

    def key(self, epoch: int, split: str = "val") -> str:
        """Of the score after so many epochs."""
        return job_key(training=self.name, seed=self.seed, epoch=epoch, split=split, task=self.task)

    def job(self, theta: Sequence[Sequence[float]], first: int, last: int, logits: bool = False) -> Job:
        """Train the epochs from `first` (from 0) to before `last` with the losses of `theta`, (B, K).

        `logits` asks where the best model then has its logits.
        """
        told = {"theta": theta, "first": first, "last": last, "logits": logits}
        return Job(self.key(last), {"kind": "stack", **vars(self), **told})

    def test(self) -> Job:
        """Score the best model of the last epoch on test."""
        return Job(self.key(self.epochs, "test"), {"kind": "best-on-test", **vars(self)})

    def checkpoint(self, folder: Path, epoch: int) -> Path:
        """The file in which the stack lies after so many epochs; after the last, the best model's weights."""
        return folder / f"{self.name}.{'best' if epoch == self.epochs else epoch}.pt"


def train(task: Stacked, folder: Path, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job of `StackTraining.job`.

    Returns:
        `scores`: the metrics of each model on validation; `best`: the index of the best, None where all diverged;
        `logits`: of the best, as `StackedTask.target_logits`, if they were asked for.
    """
    training, theta = _training(payload), torch.tensor(payload["theta"], dtype=torch.float64)
    stack = task.stack(len(theta), training.scale)
    if payload["first"]:
        stack.load_state(_load(training.checkpoint(folder, payload["first"])))
    factor: Any = training.lr_factor
    if not isinstance(factor, float):
        factor = torch.tensor(factor, device=task.device)
    space, started = make_space(**training.space), time.perf_counter()
    for epoch in range(payload["first"], payload["last"]):
        task.train_epoch(stack, space, theta, epoch, lr_factor=factor, own_orders=training.own_orders)
    trained, metric = time.perf_counter(), chosen_metric(task, training.metric)
    told = {"scores": task.scores(stack, "val"), "seconds_train": trained - started}
    told["seconds_score"] = time.perf_counter() - trained
    try:
        best = best_of([metric.worth(own) for own in told["scores"]])
    except DivergedError:
        return {**told, "best": None}
    if payload.get("logits") and hasattr(task, "target_logits"):
        alone = task.stack(1, training.scale)
        alone.load_weights(stack.weights(best))
        told["logits"] = dict(task.target_logits(alone))
    if payload["last"] == training.epochs:
        kept = stack.weights(best)
    else:
        if training.copy_best:
            stack.spread(best)
        kept = stack.state()
    write_whole(training.checkpoint(folder, payload["last"]), partial(torch.save, kept))
    return {**told, "best": best}


def best_on_test(task: Stacked, folder: Path, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job of `StackTraining.test`: metrics of the training's best model on test, their parts, and pictures."""
    training = _training(payload)
    stack = task.stack(1, training.scale)
    stack.load_weights(_load(training.checkpoint(folder, training.epochs)))
    return {
        "scores": task.scores(stack, "test"),
        "parts": dict(task.detail_of(stack, "test")),
        "pictures": [*map(asdict, task.shown(stack, "test"))],
    }


def _training(payload: Mapping[str, Any]) -> StackTraining:
    return StackTraining(**{name: payload[name] for name in StackTraining.__dataclass_fields__})


def _load(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:  # of a damaged file, torch raises nearly anything
        raise RunError(f"{path}: the checkpoint can not be read: {str(error).splitlines()[0]}") from None
