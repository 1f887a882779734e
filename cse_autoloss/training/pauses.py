"""The state of a paused training on disk: a cache, whose loss costs time and nothing else."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import torch

from cse_autoloss.training.loop import TrainingRun


def keep(run: TrainingRun, path: Path) -> None:
    """Write the state down: in one move, so that a kill leaves no half of it. A full disk is no error."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with part.open("xb") as file:  # never through a link of that name
            torch.save(run.state(), file)
        part.replace(path)
    except (OSError, RuntimeError):
        part.unlink(missing_ok=True)


def resume(run: TrainingRun, path: Path, stop: int) -> None:
    """Go on from the state if there is one that lies before step `stop`; else leave the run at its beginning."""
    if not path.exists():
        return
    fresh = copy.deepcopy(run.state())
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if 0 < int(state["step"]) < stop:
            run.load_state(state)
    except Exception:  # of a damaged file, torch raises nearly anything
        run.load_state(fresh)
