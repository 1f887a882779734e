"""Checkpoints: written whole or not at all, read without running anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.errors import RunError

FORMAT = 1
_KEYS = {"format", "detector", "classes", "step", "settings", "model", "optimiser"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that at every moment `path` is the old file or the new one, whole.

    Args:
        path: in a folder that exists.
        state: tensors and plain values; the keys are those that `load_checkpoint` asks for, but "format".
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(
    path: Path, *, detector: str | None = None, classes: list[str] | None = None
) -> dict[str, Any]:
    """Read a checkpoint, on the CPU.

    Args:
        path: the file.
        detector: the detector that it must be of; None takes any.
        classes: names of the classes that it must tell apart; None takes any.

    Raises:
        RunError: no such file, damaged, not a checkpoint, or of another detector or other classes.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as it can be damaged
        raise RunError(f"{path}: not a checkpoint, or cut short ({type(error).__name__})") from None
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise RunError(f"{path}: not a checkpoint of `cse-autoloss train`")
    if state["format"] != FORMAT:
        raise RunError(f"{path}: format {state['format']}, expected {FORMAT}")
    if detector is not None and state["detector"] != detector:
        raise RunError(f"{path}: a checkpoint of {state['detector']}, not of {detector}")
    if classes is not None and state["classes"] != classes:
        theirs, ours = len(state["classes"]), len(classes)
        what = f"{theirs} classes, the data has {ours}" if theirs != ours else "other classes than the data"
        raise RunError(f"{path}: the checkpoint has {what}")
    return state


def check_same_settings(path: Path, kept: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to go on with settings that would make another training.

    Raises:
        RunError: naming the first setting that differs.
    """
    for name, value in asked.items():
        if kept.get(name) != value:
            raise RunError(
                f"{path}: made with {name} = {kept.get(name)!r}, asked to go on with {value!r}; "
                "use the old value, or another output folder"
            )
