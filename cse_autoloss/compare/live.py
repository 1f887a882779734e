"""What is seen while a comparison runs: a screen on a terminal, else a line now and then."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TextIO

from rich.align import Align
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.report.live import clock_face, time_left
from cse_autoloss.report.screen import watching

_PHASES = {
    "start": "starting",
    "measure": "measuring this machine",
    "tune": "tuning each alike, on validation",
    "audit": "comparing with paired seeds",
}


def line(status: RunStatus) -> str:
    """The status in one line."""
    parts = [f"[{clock_face(status.elapsed)}]", _PHASES.get(status.phase, status.phase)]
    if status.total:
        parts.append(f"{status.done}/{status.total} trainings")
    if status.best:
        assert status.metric is not None
        toward = status.metric.figure(1.0)
        name, (_, value) = max(status.best.items(), key=lambda item: toward * item[1][1])
        parts.append(f"ahead: {name} {status.metric.label} {status.metric.text(value, 1)}")
    left = time_left(status)
    return " · ".join([*parts, f"about {left}"] if left else parts)


def render(status: RunStatus) -> RenderableType:
    """The whole screen; no wider than 80 columns."""
    rows: list[RenderableType] = [Text(_PHASES.get(status.phase, status.phase), style="cyan")]
    if status.best and status.metric is not None:
        label = status.metric.label
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("loss", no_wrap=True, overflow="ellipsis", max_width=44)
        table.add_column("trainings", justify="right")
        table.add_column(
            f"best {label} on val" if status.phase == "tune" else f"mean {label}", justify="right"
        )
        for name, (count, value) in status.best.items():
            table.add_row(name, count, status.metric.text(value))
        rows.append(table)
    if status.total:
        rows.append(Align.left(ProgressBar(total=status.total, completed=status.done, width=60)))
    left = time_left(status)
    gone = f"{clock_face(status.elapsed)} gone"
    if status.total:
        gone = f"{status.done} of {status.total} trainings, {gone}"
    rows.append(Text(f"{gone}, about {left}" if left else gone, style="dim"))
    return Group(*rows)


def place(status: RunStatus) -> str:
    """The phase: at each change of it a line is printed."""
    return status.phase


def watch(*, quiet: bool = False, stream: TextIO | None = None) -> AbstractContextManager[Observer]:
    """An observer for the standard error: a live screen on a terminal, lines elsewhere, nothing when quiet."""
    return watching(render, line, place, every=15.0, quiet=quiet, stream=stream)
