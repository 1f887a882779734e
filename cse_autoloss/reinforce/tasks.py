"""The task of a configuration, for one seed."""

from __future__ import annotations

from cse_autoloss.reinforce.settings import ReinforceConfig
from cse_autoloss.tasks.stacked import StackedTask, TrainingSettings


def make_task(config: ReinforceConfig, seed: int, device: str) -> StackedTask:
    """Data and models; the seed decides splits, label noise, weights and batches.

    Raises:
        DataError: the data can not be read.
    """
    data, training = config.data, config.training
    settings = TrainingSettings(
        training.model,
        training.epochs,
        training.batch,
        training.lr,
        training.momentum,
        training.weight_decay,
        training.augment,
    )
    from cse_autoloss.tasks.classification import ClassificationTask
    from cse_autoloss.tasks.image_splits import load_splits

    splits = load_splits(
        data.source,
        seed=seed,
        val_share=data.val_share,
        train_limit=data.train_limit,
        label_noise=data.label_noise,
        image_size=data.image_size,
        grey=data.grey,
    )
    return ClassificationTask(splits, settings, seed=seed, device=device, reward=config.reward)
