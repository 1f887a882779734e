"""What is seen while a comparison runs: a screen on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cse_autoloss.progress import Observer, RunStatus, Silent
from cse_autoloss.report.live import clock_face, time_left

_PHASES = {
    "start": "starting",
    "measure": "measuring this machine",
    "tune": "tuning weight and rate of each alike, on validation",
    "audit": "comparing with paired seeds",
}


class Screen:
    """Everyone's standing, redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._drawn = float("-inf")

    def update(self, status: RunStatus) -> None:
        """Redraw, at most four times a second."""
        now = time.monotonic()
        if now - self._drawn >= 0.25:
            self._drawn = now
            self._live.update(render(status), refresh=True)


class Lines:
    """A line at each change of phase and every so many seconds."""

    def __init__(self, stream: TextIO, every: float = 15.0) -> None:
        self._stream, self._every = stream, every
        self._printed = float("-inf")
        self._phase = ""

    def update(self, status: RunStatus) -> None:
        """Print when it is time."""
        now = time.monotonic()
        if status.phase == self._phase and now - self._printed < self._every:
            return
        self._printed, self._phase = now, status.phase
        print(line(status), file=self._stream, flush=True)


def line(status: RunStatus) -> str:
    """The status in one line."""
    parts = [f"[{clock_face(status.elapsed)}]", _PHASES.get(status.phase, status.phase)]
    if status.total:
        parts.append(f"{status.done}/{status.total} trainings")
    if status.best:
        name, (_, ap) = max(status.best.items(), key=lambda item: item[1][1])
        parts.append(f"ahead: {name} AP {ap * 100:.1f}")
    left = time_left(status)
    return " · ".join([*parts, f"about {left}"] if left else parts)


def render(status: RunStatus) -> RenderableType:
    """The whole screen; no wider than 80 columns."""
    rows: list[RenderableType] = [Text(_PHASES.get(status.phase, status.phase), style="cyan")]
    if status.best:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("loss", no_wrap=True, overflow="ellipsis", max_width=44)
        table.add_column("trainings", justify="right")
        table.add_column("best AP on val" if status.phase == "tune" else "mean AP", justify="right")
        for name, (count, ap) in status.best.items():
            table.add_row(name, count, f"{ap * 100:.2f}")
        rows.append(table)
    if status.total:
        rows.append(Align.left(ProgressBar(total=status.total, completed=status.done, width=60)))
    left = time_left(status)
    gone = f"{clock_face(status.elapsed)} gone"
    if status.total:
        gone = f"{status.done} of {status.total} trainings, {gone}"
    rows.append(Text(f"{gone}, about {left}" if left else gone, style="dim"))
    return Group(*rows)


@contextmanager
def watch(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Observer]:
    """An observer for the standard error: a screen on a terminal, lines elsewhere, nothing when quiet."""
    stream = stream or sys.stderr
    if quiet:
        yield Silent()
    elif stream.isatty():
        with Live(console=Console(file=stream), auto_refresh=False, transient=True) as live:
            yield Screen(live)
    else:
        yield Lines(stream)
