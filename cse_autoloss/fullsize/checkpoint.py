"""Checkpoints: written whole or not at all, read without running anything."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.errors import RunError

NAME = "checkpoint.pt"
FORMAT = 2
_KEYS = {"format", "detector", "classes", "step", "settings", "model", "optimiser"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that at every moment `path` is the old file or the new one, whole.

    Args:
        path: in a folder that exists.
        state: tensors and plain values; the keys are those that `load_checkpoint` asks for, but "format".

    Raises:
        RunError: the disk is full, or the folder can not be written to.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link of that name
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"{path}: can not be written: {error.strerror or error}") from None
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
    state = read_tensors(path)
    if not is_checkpoint(state):
        raise RunError(f"{path}: not a checkpoint of `cse-autoloss train`")
    check_fits(path, state, detector, classes)
    return dict(state)


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values; on the CPU.

    Raises:
        RunError: no such file, cut short, or something else; nothing in it is run.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as it can be damaged
        raise RunError(f"{path}: {_kind(path)} ({type(error).__name__}; nothing in it was run)") from None


def is_checkpoint(state: Any) -> bool:
    """Whether it is what `save_checkpoint` writes."""
    return isinstance(state, dict) and state.keys() >= _KEYS


def check_fits(
    path: Path, state: dict[str, Any], detector: str | None = None, classes: list[str] | None = None
) -> None:
    """RunError, saying why, where a checkpoint is of another format, detector or of other classes."""
    if state["format"] != FORMAT:
        raise RunError(f"{path}: a checkpoint of format {state['format']}, expected {FORMAT}")
    if detector is not None and state["detector"] != detector:
        raise RunError(f"{path}: a checkpoint of {state['detector']}, not of {detector}")
    theirs = state["classes"]
    if classes is not None and theirs != classes:
        if len(theirs) != len(classes):
            what = f"has {len(theirs)} classes, the data has {len(classes)}"
        else:
            mine, data = next((a, b) for a, b in zip(theirs, classes, strict=True) if a != b)
            what = f"has other classes than the data, {mine!r} where that has {data!r}"
        raise RunError(f"{path}: the checkpoint {what}")


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


def _kind(path: Path) -> str:
    """What a file that torch can not read seems to be, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        return "empty"
    if start.startswith(b"PK"):
        return "a checkpoint that is damaged or cut short, or that holds more than tensors and plain values"
    if start.startswith(b"\x80"):
        return "a pickle that is no checkpoint, or an old one cut short"
    return "not a checkpoint"
