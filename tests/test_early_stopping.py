"""Early stopping: the model that is scored is that of the epoch that did best on validation."""

from __future__ import annotations

import pytest
from torch import Tensor

from cse_autoloss.errors import ConfigError
from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.tasks.classification import ClassificationTask
from cse_autoloss.tasks.protocol import Schedule, SplitName

EPOCHS = 12


def _accuracy(task: ClassificationTask, split: SplitName, until: float | None = None) -> float:
    loss = load_loss("cross-entropy", reduction="sum")

    def summed(logits: Tensor, target: Tensor) -> Tensor:
        return loss(logits, target)

    schedule = Schedule(EPOCHS, until=until)
    score = task.train({"loss": summed}, seed=0, schedule=schedule, settings={"lr": 1.0}, split=split)
    return score.metrics["accuracy"]


def test_the_best_epoch_on_validation_is_what_test_scores() -> None:
    common = {"label_noise": 0.5, "train_limit": 200}
    plain = ClassificationTask(ClassificationSettings(**common))
    early = ClassificationTask(ClassificationSettings(**common, early_stopping=True))
    epochs = range(1, EPOCHS + 1)
    on_val = [_accuracy(plain, "val", until=epoch) for epoch in epochs]
    best = on_val.index(max(on_val))
    assert best < EPOCHS - 1, "nothing to stop early for; take other settings"
    assert _accuracy(early, "val") == on_val[best]
    assert _accuracy(early, "test") == _accuracy(plain, "test", until=best + 1)
    assert plain.pauses
    assert not early.pauses


def test_models_side_by_side_have_none() -> None:
    with pytest.raises(ConfigError, match="early_stopping"):
        ClassificationTask(ClassificationSettings(early_stopping=True)).stack(2, None)
