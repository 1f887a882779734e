"""A run of somebody else may hold links: what is written through one lands outside of the run.

A file that is written under another name and then moved takes a link's place. What is written in place, and the
folders that are written into, must be no links.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cse_autoloss.errors import RunError

WRITTEN: Final = (
    *("run.sqlite", "states", "best", "plots", "weights", "predictions", "comparison.png"),
    *("tensorboard", "mlflow.db", "mlruns", "wandb"),
)
"""Of a run directory."""

_HOLDS_LINKS: Final = ("wandb",)


def refuse_links(directory: Path, names: Iterable[str] = WRITTEN) -> None:
    """Look at what is written in a directory before anything is.

    Args:
        directory: a run's, or another that may come from somebody else.
        names: files that are written in place, and folders that are written into.

    Raises:
        RunError: one of them is a link, or a file in one of the folders is.
    """
    for name in names:
        path = directory / name
        found = path if path.is_symlink() else None if name in _HOLDS_LINKS else _link_in(path)
        if found is not None:
            raise RunError(
                f"{found}: a link; what is written there would land outside of {directory}: remove it"
            )


def _link_in(folder: Path) -> Path | None:
    try:
        with os.scandir(folder) as entries:
            return next((folder / entry.name for entry in entries if entry.is_symlink()), None)
    except OSError:  # not there, or no folder
        return None
