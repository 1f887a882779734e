"""The trainings of a run: Algorithm 1's loop with everything kept at each epoch, and the tuned baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.classifiers import ModelStack
from cse_autoloss.errors import RunError
from cse_autoloss.reinforce.baselines import Baseline
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState, best_of
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.tasks.stacked import StackedTask

EpochDone = Callable[[int, Sequence[float], Sequence[float]], None]
"""Gets the epochs done, the models' rewards (none where they were not asked for), and μ (none for a baseline)."""


def _ignore(epoch: int, rewards: Sequence[float], mu: Sequence[float]) -> None:
    """Tells nobody."""


def search_epochs(
    search: Reinforce,
    task: StackedTask,
    store: RunStore,
    key: str,
    *,
    metric: Metric,
    scale: float | None,
    lr_factor: float,
    copy_best: bool,
    own_orders: bool = False,
    told: EpochDone = _ignore,
) -> dict[str, Any]:
    """Algorithm 1 from where the store stands to its last epoch.

    Args:
        search: the distribution.
        task: data and models.
        store: keeps state and rewards of each epoch, beside a checkpoint of the models; a killed run goes on
            from the last whole epoch and comes to the same end.
        key: names this search in the store.
        metric: that is climbed.
        scale: of the models' heads.
        lr_factor: times the task's learning rate.
        copy_best: copy the best model to all after each epoch.
        own_orders: as of `StackedTask.train_epoch`.
        told: is called after each epoch, once it is kept.

    Returns:
        {"key", "mu", "val", "lr_factor"}: the last μ, and the best model's metric on validation; its weights lie
        in the checkpoint folder as KEY.best.pt, for `best_on_test`.

    Raises:
        DivergedError: all models diverged in one epoch.
    """
    stack = task.stack(search.samples, scale)
    state = search.init()
    kept = store.load_state(key)
    folder = store.directory / "checkpoints"
    folder.mkdir(exist_ok=True)
    if kept is not None:
        state = ReinforceState.from_dict(kept[1])
        stack.load_state(_load(folder / f"{checkpoint_name(key)}.{state.epoch}.pt"))
    while state.epoch < task.settings.epochs:
        drawn = search.ask(state)
        task.train_epoch(stack, search.space, drawn, state.epoch, lr_factor=lr_factor, own_orders=own_orders)
        rewards = task.rewards(stack, metric)
        best = best_of(rewards)
        after = search.tell(state, rewards)
        if copy_best:
            stack.spread(best)
        _save(stack.state(), folder / f"{checkpoint_name(key)}.{after.epoch}.pt")
        finite = [reward for reward in rewards if math.isfinite(reward)]
        entry = {
            "mu": list(after.mu),
            "best": best,
            "reward": rewards[best],
            "mean_reward": sum(finite) / len(finite),
            "failed": len(rewards) - len(finite),
        }
        with store.transaction():
            store.set_meta(f"epoch:{key}:{state.epoch}", entry)
            store.save_state(after.epoch, after.to_dict(), key)
        (folder / f"{checkpoint_name(key)}.{state.epoch}.pt").unlink(missing_ok=True)
        told(after.epoch, rewards, after.mu)
        state = after
    last = store.meta(f"epoch:{key}:{state.epoch - 1}")
    _save(stack.weights(last["best"]), folder / f"{checkpoint_name(key)}.best.pt")
    return {"key": key, "mu": list(state.mu), "val": last["reward"], "lr_factor": lr_factor}


def best_on_test(task: StackedTask, store: RunStore, key: str, scale: float | None) -> dict[str, float]:
    """Test metrics of a finished search's best model: for the search that won on validation, and once.

    Args:
        task: data and metric.
        store: that `search_epochs` kept the weights beside.
        key: of the search.
        scale: of the models' heads.
    """
    stack = task.stack(1, scale)
    stack.load_weights(_load(store.directory / "checkpoints" / f"{checkpoint_name(key)}.best.pt"))
    return task.scores(stack, "test")[0]


def tuned_baseline(
    baseline: Baseline,
    task: StackedTask,
    *,
    metric: Metric,
    scale: float,
    head: float | None,
    lr_factors: Sequence[float],
    settings: Sequence[float] | None = None,
    best_epoch: bool = False,
    test: bool = True,
    told: EpochDone = _ignore,
) -> dict[str, Any]:
    """All settings and learning rates of a baseline, trained side by side; the best on validation.

    Args:
        baseline: the loss and its grid.
        task: data and models.
        metric: that decides.
        scale: s of the losses.
        head: scale of the models' heads, None for plain logits.
        lr_factors: times the task's learning rate.
        settings: values of its setting; by default the baseline's grid.
        best_epoch: the epoch, too, is chosen on validation; otherwise it is the last.
        test: score the winner on test; the others never are.
        told: is called after each epoch.

    Returns:
        {"setting", "lr_factor", "val", "test"} of the one that is best on validation; test is None where it
        was not asked for.
    """
    grid = [(value, factor) for value in settings or baseline.grid for factor in lr_factors]
    theta = torch.tensor([[value] for value, _ in grid])
    rates = torch.tensor([factor for _, factor in grid], device=task.device)
    stack = task.stack(len(grid), head)
    winner, best, val = stack.model(0), 0, -math.inf
    for epoch in range(task.settings.epochs):
        task.train_epoch(stack, baseline.space(scale), theta, epoch, lr_factor=rates)
        rewards: list[float] = []
        if best_epoch or epoch == task.settings.epochs - 1:
            rewards = task.rewards(stack, metric)
            index = best_of(rewards)
            if rewards[index] > val:
                winner, best, val = stack.model(index), index, rewards[index]
        told(epoch + 1, rewards, ())
    return {
        "setting": grid[best][0] if baseline.setting else None,
        "lr_factor": grid[best][1],
        "val": val,
        "test": task.scores(ModelStack([winner], device=task.device), "test")[0] if test else None,
    }


def checkpoint_name(key: str) -> str:
    """A search's key as it stands in the names of its checkpoints."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in key)


def _save(values: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".tmp")
    torch.save(values, partial)
    partial.replace(path)


def _load(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state
    except (OSError, RuntimeError, EOFError) as error:
        raise RunError(f"{path}: the checkpoint can not be read: {str(error).splitlines()[0]}") from None
