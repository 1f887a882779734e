"""Who watches a full-size training: a progress bar on a terminal, lines elsewhere, or nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO


@dataclass(frozen=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step, steps: how many are done, and of how many.
        losses: torchvision's names with their values, of this process's images.
        lr: learning rate.
        seconds: since the last report.
    """

    step: int
    steps: int
    losses: dict[str, float]
    lr: float
    seconds: float

    def __str__(self) -> str:
        parts = " ".join(f"{short(name)} {value:.3g}" for name, value in self.losses.items())
        return f"loss {sum(self.losses.values()):.3g} ({parts}) lr {self.lr:.2g}"


class Watcher(Protocol):
    """What a training tells."""

    def say(self, text: str) -> None:
        """A line about the training."""

    def looked(self, done: int, total: int) -> None:
        """So many images of the data are decoded, to see whether they can be."""

    def stepped(self, report: StepReport) -> None:
        """A step is done."""

    def scored(self, split: str, done: int, total: int) -> None:
        """So many images of a split are detected on."""


class Silent:
    """Watches nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def looked(self, done: int, total: int) -> None:
        """Nothing."""

    def stepped(self, report: StepReport) -> None:
        """Nothing."""

    def scored(self, split: str, done: int, total: int) -> None:
        """Nothing."""


class Lines(Silent):
    """A line at the first and the last step, and every so many seconds between."""

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream, self._every, self._printed = stream, every, float("-inf")

    def say(self, text: str) -> None:
        """Print it."""
        print(text, file=self._stream, flush=True)

    def stepped(self, report: StepReport) -> None:
        """Print when it is time."""
        if self._is_time(report.step == report.steps):
            self.say(f"step {report.step}/{report.steps}  {report}  {report.seconds:.2g} s a step")

    def looked(self, done: int, total: int) -> None:
        """Print when it is time."""
        if done == 1:
            self._printed = time.monotonic()
        elif self._is_time(False):
            self.say(f"looking at images: {done}/{total}")
        if done == total:
            self._printed = float("-inf")

    def scored(self, split: str, done: int, total: int) -> None:
        """Print when it is time."""
        if self._is_time(done == total):
            self.say(f"scoring {split}: {done}/{total} images")

    def _is_time(self, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._printed < self._every:
            return False
        self._printed = now
        return True


class Bar(Silent):
    """A bar for the steps and one for each split that is scored."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Print it above the bars."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def looked(self, done: int, total: int) -> None:
        """Move the bar."""
        self._move("looking at images", done, total, "")

    def stepped(self, report: StepReport) -> None:
        """Move the bar."""
        self._move("training", report.step, report.steps, str(report))

    def scored(self, split: str, done: int, total: int) -> None:
        """Move the split's bar."""
        self._move(f"scoring {split}", done, total, "")

    def _move(self, name: str, done: int, total: int, words: str) -> None:
        if name not in self._tasks:
            # Started at the first report: what a resumed training did earlier tells nothing of this one's speed.
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done, words=words)
        self._progress.update(self._tasks[name], completed=done, words=words)


@contextmanager
def watch(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Watcher]:
    """A watcher for the standard error."""
    stream = stream or sys.stderr
    if quiet:
        yield Silent()
    elif not stream.isatty():
        yield Lines(stream)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn(
                "{task.fields[words]}",
                style="dim",
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
        )
        with Progress(*columns, console=Console(file=stream), expand=True) as progress:
            yield Bar(progress)


def short(name: str) -> str:
    """torchvision's name of a loss, without what all have."""
    for part in ("loss_", "bbox_"):
        name = name.removeprefix(part)
    return {"classification": "cls", "classifier": "cls", "regression": "box", "box_reg": "box"}.get(
        name, name
    )
