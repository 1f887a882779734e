"""Starts a full-size training or goes on with one: configuration, folder, and off it goes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cse_autoloss.errors import ConfigError, MissingExtraError, RunError
from cse_autoloss.fullsize.settings import NOT_PART_OF_THE_RESULT, TrainSettings
from cse_autoloss.fullsize.watch import Watcher
from cse_autoloss.settings.fields import whole_path
from cse_autoloss.settings.load import FULL_SIZE, changed, load

if TYPE_CHECKING:
    from cse_autoloss.fullsize.training import Tables

CONFIG = "train.yaml"


def train_detector(
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    watcher: Watcher | None = None,
) -> tuple[Path, Tables]:
    """Train to the end.

    Args:
        config: YAML file, or the name of one that comes with the package ("coco_fcos").
        out: output folder; by default a new one below `runs/`.
        resume: the folder of an earlier training to go on with; then only settings that do not change the weights
            may be given.
        device: "auto", "cpu" or "cuda".
        overrides: settings by name; see `TrainSettings`.
        watcher: who is told what happens.

    Returns:
        The folder, and COCO's figures of each scored split; see `training.train`.

    Raises:
        AutoLossError: a user's mistake, in one line.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    from cse_autoloss.fullsize.processes import first_tells

    with first_tells():
        settings, folder = _settled(config, out, resume, dict(overrides or {}), several)
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: its operators do not fit this torch
        raise MissingExtraError.of("full-size training", "torchvision") from None
    from cse_autoloss.fullsize.training import train

    return folder, train(settings, folder, device=device, watcher=watcher)


def _settled(
    config: str | Path | None,
    out: str | Path | None,
    resume: str | Path | None,
    overrides: dict[str, Any],
    several: bool,
) -> tuple[TrainSettings, Path]:
    """Settings that stand by themselves, and the folder."""
    from cse_autoloss.fullsize.losses import settle

    if resume is not None:
        if config is not None or out is not None:
            raise ConfigError(
                "--resume goes on with a training as it was configured: leave --config and --out away"
            )
        return _resumed(Path(resume), overrides), Path(resume)
    settings = _with_whole_paths(settle(load(TrainSettings, config, overrides, kind=FULL_SIZE)))
    if out is None and several:
        raise ConfigError("give --out: the processes of a torchrun write one folder")
    folder = Path(out) if out is not None else _new_folder()
    if os.environ.get("RANK", "0") == "0" and (folder / CONFIG).exists():
        raise RunError(f"{folder} holds a training already; go on with it by --resume {folder}")
    return settings, folder


def _resumed(folder: Path, overrides: dict[str, Any]) -> TrainSettings:
    file = folder / CONFIG
    if not file.is_file():
        raise RunError(f"{folder}: no training of `cse-autoloss train` ({CONFIG} is missing)")
    kept = load(TrainSettings, file)
    for name in overrides:
        if name not in NOT_PART_OF_THE_RESULT:
            may = ", ".join(sorted(NOT_PART_OF_THE_RESULT))
            raise ConfigError(f"{name}: a training that goes on keeps it as it was; only {may} may change")
    if not overrides:
        return kept
    settings = changed(kept, overrides)
    return changed(settings, {"data": whole_path(settings.data)})


def _with_whole_paths(settings: TrainSettings) -> TrainSettings:
    """So that the folder's train.yaml holds from wherever it is gone on with."""
    weights = settings.weights
    if weights not in ("none", "backbone"):
        weights = str(Path(weights).expanduser().resolve())
        if not Path(weights).is_file():
            raise RunError(f"weights: {settings.weights}: no such file; expected none, backbone or a file")
    return changed(settings, {"data": whole_path(settings.data), "weights": weights})


def _new_folder() -> Path:
    """`runs/train-2026-01-31-174500`, with a number behind it where that is taken."""
    base = Path("runs") / time.strftime("train-%Y-%m-%d-%H%M%S")
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder
