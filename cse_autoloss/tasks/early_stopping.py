"""Early stopping: of all epochs of a training, the model of the one that did best on validation is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from cse_autoloss.training.loop import TrainingRun


def keep_best(worth: Callable[[nn.Module], float], epochs: float) -> Callable[[TrainingRun, int], None]:
    """What `trained` advances a training by, so that its model ends as it was after its best epoch.

    The schedule stays that of the whole training: the learning rate falls as if nobody stopped. Of equals the
    first is kept. A training that diverges in a later epoch has diverged.

    Args:
        worth: of a model, on validation data: more is better, NaN is never best.
        epochs: of the schedule.
    """

    def advance(run: TrainingRun, until: int) -> None:
        best, kept = float("-inf"), None
        ends = (max(1, round(run.steps * (epoch + 1) / epochs)) for epoch in range(int(epochs)))
        for end in sorted({until, *(min(until, end) for end in ends)}):
            run.advance(end)
            value = worth(run.model)
            if value > best:
                best, kept = value, copy.deepcopy(run.model.state_dict())
        if kept is not None:
            run.model.load_state_dict(kept)

    return advance
