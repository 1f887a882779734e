"""Scalars of every step: a line of JSON each, and TensorBoard's files where they are wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self, TextIO

from cse_autoloss.errors import MissingExtraError
from cse_autoloss.fullsize.watch import StepReport


class ScalarWriter:
    """Writes scalars.jsonl and tensorboard/ in a folder.

    A training that goes on from step `begin` first drops what was written beyond it.
    """

    def __init__(self, out: Path, begin: int, tensorboard: bool | None) -> None:
        """`tensorboard`: True needs it (MissingExtraError where it is not installed), None uses it if it can."""
        self._board: Any = None if tensorboard is False else _board(out, begin, needed=tensorboard is True)
        self._file: TextIO = _from_step(out / "scalars.jsonl", begin)

    def write(self, report: StepReport) -> None:
        """One step."""
        values = {**report.losses, "lr": report.lr, "seconds": report.seconds}
        self._file.write(json.dumps({"step": report.step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"train/{name}", value, report.step)

    def write_table(self, split: str, table: dict[str, float], step: int) -> None:
        """COCO's figures of a split, for TensorBoard."""
        if self._board is not None:
            for name, value in table.items():
                self._board.add_scalar(f"{split}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def check_tensorboard(tensorboard: bool | None) -> None:
    """MissingExtraError where it is asked for and not installed."""
    if tensorboard:
        _summary_writer()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "tensorboard: true needs TensorBoard: pip install tensorboard; without it, scalars.jsonl has every step"
        ) from None
    return SummaryWriter


def _board(out: Path, begin: int, *, needed: bool) -> Any:
    try:
        return _summary_writer()(str(out / "tensorboard"), purge_step=begin + 1)
    except MissingExtraError:
        if needed:
            raise
        return None


def _from_step(path: Path, begin: int) -> TextIO:
    """The file of scalars, open for more, without lines past the step that the training goes on from."""
    kept = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half a line, from a training that was killed
            if isinstance(entry, dict) and entry.get("step", begin + 1) <= begin:
                kept.append(line + "\n")
    file = path.open("w", encoding="utf-8")
    file.writelines(kept)
    return file
