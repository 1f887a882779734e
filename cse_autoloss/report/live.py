"""The live screen of a run; where there is no terminal, a plain line now and then."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TextIO

from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cse_autoloss.bench.progress import Observer, RunStatus
from cse_autoloss.losses.parametric import title_of
from cse_autoloss.report.screen import watching

_STAGES = (
    ("generated", "generate", "proposed by the search"),
    ("verified", "verify", "right slopes, vanishing gradient"),
    ("simulated", "simulate", "a small model learns with it"),
    ("trained", "proxy", "trained and scored"),
)
_PHASES = {
    "start": "starting",
    "measure": "measuring this machine",
    "search": "searching",
    "combine": "training the best once more",
    "tune": "tuning winners and baselines alike",
    "audit": "audit on the test split",
    "report": "writing the report",
}


def line(status: RunStatus) -> str:
    """The status in one line."""
    parts = [f"[{clock_face(status.elapsed)}]", _PHASES.get(status.phase, status.phase)]
    if status.phase == "search":
        parts.append(_generation(status))
    parts += [f"{name} {status.funnel.get(name, 0):,}" for name, _, _ in _stages(status) if status.funnel]
    if status.total:
        parts.append(f"{status.done}/{status.total} done")
    parts += [f"best {slot} {_figure(status, value)}" for slot, (_, value) in status.best.items()]
    if status.baseline:
        parts.append(f"baseline {status.baseline[0]} {_figure(status, status.baseline[1])}")
    left = time_left(status)
    if left:
        parts.append(left)
    return " · ".join(parts)


def _stages(status: RunStatus) -> list[tuple[str, str, str]]:
    """Those of the funnel; not every task simulates."""
    return [one for one in _STAGES if one[0] != "simulated" or status.funnel.get(one[0])]


def _generation(status: RunStatus) -> str:
    return f"generation {status.generation}" + (f" ({status.slot})" if status.slot else "")


def _figure(status: RunStatus, value: float) -> str:
    assert status.metric is not None
    return f"{status.metric.label} {status.metric.text(value, 1)}"


def clock_face(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def time_left(status: RunStatus) -> str:
    """Words for the time left; empty where there is neither a budget nor an estimate."""
    if status.budget is None:
        return "" if status.remaining is None else f"about {clock_face(status.remaining)} left"
    return f"{clock_face(max(0.0, status.budget - status.elapsed))} left"


def render(status: RunStatus) -> RenderableType:
    """The whole screen."""
    funnel = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, justify in (
        ("stage     ", "left"),
        ("passed", "right"),
        ("share", "right"),
        ("per second", "right"),
    ):
        style = "bold" if name == "passed" else None
        funnel.add_column(name, justify=justify, style=style, min_width=len(name), no_wrap=True)  # type: ignore[arg-type]
    funnel.add_column("stopped for", style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
    before = 0
    for name, stage, meaning in _stages(status):
        count = status.funnel.get(name, 0)
        seconds = status.seconds.get(stage, 0.0)
        codes = status.rejected.get(stage)
        why = ", ".join(f"{code} {n:,}" for code, n in codes.most_common(3)) if codes else meaning
        share = f"{count / before:.1%}" if before else ""
        # Rates count what a stage looked at, not what it let through.
        seen = before if name in ("verified", "simulated") else count
        rate = f"{seen / seconds:,.1f}" if seconds > 0.5 else ""
        funnel.add_row(name, f"{count:,}", share, rate, why)
        before = count
    if status.funnel.get("duplicates"):
        funnel.add_row(
            "duplicates", f"{status.funnel['duplicates']:,}", "", "", "same gradients as an earlier loss"
        )

    rows: list[RenderableType] = [funnel, Text()] if status.funnel else []
    for slot, (formula, value) in sorted(status.best.items()):
        rows.append(
            Text.assemble(
                (f"best {slot:<11}", "green"),
                f" {_figure(status, value)}  ",
                (title_of(formula), "bold"),
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    if status.baseline:
        name, value = status.baseline
        rows.append(Text.assemble(("best handcrafted", "yellow"), f" {_figure(status, value)}  ", name))
    for name, words in status.details.items():
        rows.append(Text(f"{name:<16} {words}", no_wrap=True, overflow="ellipsis"))
    rows.append(Text())
    state = phase_text(status)
    if status.total:
        state += f", {status.done} of {status.total} trainings"
    left = time_left(status)
    rows.append(
        Text.assemble((state, "cyan"), f"  {clock_face(status.elapsed)} gone", f", {left}" if left else "")
    )
    total = status.budget or (status.elapsed + status.remaining if status.remaining else None)
    if total:
        bar = ProgressBar(total=total, completed=min(status.elapsed, total), width=60)
        rows.append(Align.left(bar))
    if status.message:
        rows.append(Text(status.message, style="dim"))
    return Panel(Group(*rows), title="cse-autoloss", border_style="blue", padding=(1, 2))


def phase_text(status: RunStatus) -> str:
    """What is going on, in words."""
    state = _PHASES.get(status.phase, status.phase)
    if status.phase == "search":
        state += f", {_generation(status)}"
    return state


def place(status: RunStatus) -> str:
    """The phase: at each change of it a line is printed."""
    return status.phase


def watch(*, quiet: bool = False, stream: TextIO | None = None) -> AbstractContextManager[Observer]:
    """An observer for the standard error: a live screen on a terminal, lines elsewhere, nothing when quiet."""
    return watching(render, line, place, quiet=quiet, stream=stream)
