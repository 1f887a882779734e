"""The live screen of a REINFORCE run; where there is no terminal, a plain line now and then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cse_autoloss.reinforce.progress import Observer, ReinforceStatus
from cse_autoloss.report.live import clock_face
from cse_autoloss.report.screen import watching

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_COLUMNS = 5
_MOST_NUMBERS = 8


def line(status: ReinforceStatus) -> str:
    """The status in one line."""
    parts = [f"[{clock_face(status.elapsed)}]", f"seed {status.seed + 1}/{status.seeds}", status.name]
    if status.rates:
        parts.append(f"learning rate {status.rate}/{status.rates}")
    parts.append(f"epoch {status.epoch}/{status.epochs}")
    if status.climb:
        parts.append(f"best {status.metric} {status.climb[-1]:.4f}")
    if status.left is not None:
        parts.append(f"about {clock_face(status.left)} left")
    return " · ".join(parts)


def render(status: ReinforceStatus) -> RenderableType:
    """The whole screen; 80 columns are enough for up to five seeds, of more the last five are shown."""
    left = "" if status.left is None else f", about {clock_face(status.left)} left"
    head = Text.assemble(
        (status.space, "bold"),
        f" on {status.task}, seed {status.seed + 1} of {status.seeds} · {clock_face(status.elapsed)} gone{left}",
        no_wrap=True,
        overflow="ellipsis",
    )
    # What matters most comes first: of a low terminal the last lines are cut off.
    rows: list[RenderableType] = [head]
    if status.left is not None:
        total = max(status.elapsed + status.left, 1e-9)
        rows.append(Align.left(ProgressBar(total=total, completed=status.elapsed, width=60)))
    rows += [Text(), *_training(status), Text(), _found(status)]
    if status.mu:
        rows += [Text(), _means(status)]
    if status.message:
        rows.append(Text(status.message, style="dim", no_wrap=True, overflow="ellipsis"))
    return Panel(Group(*rows), title="cse-autoloss reinforce", border_style="blue", padding=(0, 2))


def _found(status: ReinforceStatus) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"{status.metric or 'reward'} on validation", no_wrap=True, min_width=24)
    most = max((len(values) for values in status.found.values()), default=0)
    first = max(0, most - _MOST_COLUMNS)
    for number in range(first, most):
        table.add_column(f"seed {number + 1}", justify="right", no_wrap=True)
    best = [
        max(values[number] for values in status.found.values() if number < len(values))
        for number in range(first, most)
    ]
    for name, values in status.found.items():
        cells = [
            Text(f"{value:.4f}", style="bold green" if value == top else "")
            for value, top in zip(values[first:], best, strict=False)
        ]
        table.add_row(name, *cells)
    return table


def _training(status: ReinforceStatus) -> list[RenderableType]:
    state = f"{status.name}, epoch {status.epoch} of {status.epochs}"
    if status.rates:
        state += f", learning rate {status.rate} of {status.rates}"
    rows: list[RenderableType] = [Text(state, style="cyan", no_wrap=True, overflow="ellipsis")]
    sound = [reward for reward in status.rewards if math.isfinite(reward)]
    if sound:
        words = (
            f"rewards      least {min(sound):.4f}  mean {sum(sound) / len(sound):.4f}  best {max(sound):.4f}"
        )
        failed = len(status.rewards) - len(sound)
        rows.append(Text.assemble(words, (f"  {failed} diverged", "red") if failed else ""))
    if len(status.climb) > 1:
        rows.append(Text(f"by epoch     {spark(status.climb, 50)}", no_wrap=True))
    return rows


def _means(status: ReinforceStatus) -> Table:
    """μ by group of parameters (the name before the bracket); of many numbers the least and the greatest."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(status.parameters):
        groups.setdefault(name.partition("[")[0], []).append(index)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=11)
    table.add_column(no_wrap=True)
    for name, indices in groups.items():
        values = [status.mu[index] for index in indices]
        if len(values) <= _MOST_NUMBERS:
            words = " ".join(f"{value:6.2f}" for value in values)
        else:
            words = f"{min(values):6.2f} to {max(values):.2f}, {len(values)} numbers"
        table.add_row(f"μ {name}", Text(words, style="" if status.searches else "dim"))
    return table


def spark(values: Sequence[float], width: int) -> str:
    """Values as blocks of rising height; of more than `width` the last ones."""
    shown = list(values)[-width:]
    low, high = min(shown), max(shown)
    if high <= low:
        return _BLOCKS[0] * len(shown)
    steps = [int((value - low) / (high - low) * (len(_BLOCKS) - 1) + 0.5) for value in shown]
    return "".join(_BLOCKS[step] for step in steps)


def place(status: ReinforceStatus) -> tuple[str, int]:
    """Contestant and seed: at each change a line is printed."""
    return status.name, status.seed


def watch(*, quiet: bool = False, stream: TextIO | None = None) -> AbstractContextManager[Observer]:
    """An observer for the standard error: a live screen on a terminal, lines elsewhere, nothing when quiet."""
    return watching(render, line, place, quiet=quiet, stream=stream)
