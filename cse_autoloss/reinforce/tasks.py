"""The task of a configuration, for one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.settings.tasks.classification import ClassificationSettings
from cse_autoloss.settings.tasks.faces import FacesSettings
from cse_autoloss.settings.tasks.reid import ReidSettings
from cse_autoloss.tasks.stacked import StackedTask


def make_task(config: SearchConfig, seed: int, device: str) -> StackedTask:
    """Data and models; the seed decides splits, label noise, weights and batches.

    Raises:
        ConfigError: the task is not one of models that train side by side.
        DataError: the data can not be read.
    """
    own = config.own_as(TrainingSettings)
    options: dict[str, Any] = {"seed": seed, "device": device, "reward": config.metric}
    if isinstance(own, FacesSettings):
        return _faces(own, options)
    if isinstance(own, ReidSettings):
        return _reid(own, options)
    return _classification(config.own_as(ClassificationSettings), options)


def _classification(own: ClassificationSettings, options: dict[str, Any]) -> StackedTask:
    from cse_autoloss.tasks.classification import ClassificationTask
    from cse_autoloss.tasks.image_splits import load_splits

    splits = load_splits(
        own.data,
        seed=options["seed"],
        val_share=own.val_share,
        train_limit=own.train_limit,
        label_noise=own.label_noise,
        image_size=own.image_size,
        grey=own.grey,
        shrink=own.shrink,
    )
    return ClassificationTask(splits, own, **options)


def _faces(own: FacesSettings, options: dict[str, Any]) -> StackedTask:
    from cse_autoloss.tasks.faces import FacesTask, load_faces

    size = (own.image_size, own.image_size)
    grey = own.grey or own.data == "orl"
    parts, pairs = load_faces(own.data, size, seed=options["seed"], grey=grey, pairs=own.pairs)
    return FacesTask(parts, own, far=own.far, pair_count=own.pair_count, test_pairs=pairs, **options)


def _reid(own: ReidSettings, options: dict[str, Any]) -> StackedTask:
    from cse_autoloss.tasks.reid import ReidTask, orl_as_reid, read_market

    if own.data == "orl":
        splits = orl_as_reid((own.image_size, own.image_size), options["seed"])
    else:
        folder = Path(own.data.removeprefix("market:")).expanduser()
        size = (2 * own.image_size, own.image_size)
        splits = read_market(folder, size, options["seed"], own.val_share)
    return ReidTask(splits, own, re_ranked=own.re_rank, **options)
