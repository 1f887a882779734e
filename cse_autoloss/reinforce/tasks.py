"""The task of a configuration, for one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cse_autoloss.errors import ConfigError
from cse_autoloss.reinforce.settings import Data, ReinforceConfig
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
    options: dict[str, Any] = {"seed": seed, "device": device, "reward": config.reward}
    if config.task == "faces":
        return _faces(data, settings, options)
    if config.task == "reid":
        return _reid(data, settings, options)
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
        shrink=data.shrink,
    )
    return ClassificationTask(splits, settings, **options)


def _faces(data: Data, settings: TrainingSettings, options: dict[str, Any]) -> StackedTask:
    from cse_autoloss.tasks.faces import FacesTask, load_faces

    size = (data.image_size, data.image_size)
    grey = data.grey or data.source == "orl"
    parts, pairs = load_faces(data.source, size, seed=options["seed"], grey=grey, pairs=data.pairs)
    return FacesTask(parts, settings, far=data.far, pair_count=data.pair_count, test_pairs=pairs, **options)


def _reid(data: Data, settings: TrainingSettings, options: dict[str, Any]) -> StackedTask:
    from cse_autoloss.tasks.reid import ReidTask, orl_as_reid, read_market

    if data.source == "orl":
        splits = orl_as_reid((data.image_size, data.image_size), options["seed"])
    elif data.source.startswith("market:"):
        folder = Path(data.source.removeprefix("market:")).expanduser()
        size = (2 * data.image_size, data.image_size)
        splits = read_market(folder, size, options["seed"], data.val_share)
    else:
        raise ConfigError(f"data.source: expected 'orl' or 'market:DIR' for reid, got {data.source!r}")
    return ReidTask(splits, settings, re_ranked=data.re_rank, **options)
