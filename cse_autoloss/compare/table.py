"""The table of a comparison, for eighty columns and more."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cse_autoloss.bench.statistics import Interval
from cse_autoloss.compare.result import NOTHING, Comparison, Standing
from cse_autoloss.losses import CATALOGUE
from cse_autoloss.losses.family import chosen
from cse_autoloss.losses.parametric import title_of


def print_comparison(
    result: Comparison, directory: Path, console: Console | None = None, *, detail: bool = False
) -> None:
    """Print figures, what was tuned, formulas, notes and files; with `detail`, what the figures are made of."""
    console = console or Console()
    if result.seeds:
        console.print(Text(_heading(result), style="bold"), soft_wrap=True)
        console.print(_table(result))
        if len(result.standings) > 1:
            _verdicts(result, console)
        if detail:
            console.print(_parts(result))
    else:
        console.print(Text(result.verdict))
    for name, text in _formulas(result).items():
        console.print(Text(f"{name} = {text}"), soft_wrap=True)
    if result.spent:
        console.print(result.spent)
    for note in result.notes:
        console.print(Text(f"Note: {note}"))
    files = "comparison.csv, comparison.json, scores.csv" + (", comparison.png" if result.seeds else "")
    console.print(Text(f"Files: {directory}: {files}"), soft_wrap=True)


def _heading(result: Comparison) -> str:
    return (
        f"{result.task['what']}, {result.plan.split} split, "
        f"{result.plan.epochs:g} epoch{'' if result.plan.epochs == 1 else 's'}, {result.seeds_text}"
    )


def _table(result: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("loss", overflow="fold", min_width=14)
    for metric in result.metrics:
        table.add_column(metric.label, justify="right", no_wrap=True)
    paired = len(result.standings) > 1
    if paired:
        deciding = result.metrics[0]
        gain = f"{deciding.label}, less first" if deciding.higher else f"less {deciding.label} than first"
        table.add_column(gain, justify="right", no_wrap=True)
    for one in result.standings:
        name, losses = one.contestant.name, one.contestant.losses
        settings = [f"{n.replace('_', ' ')} {v:.3g}" for n, v in losses.settings]
        own = chosen(name, losses.losses.values(), dict(one.contestant.inner))
        name = f"{escape(name)}\n[dim]{', '.join([*own, *settings])}[/dim]"
        cells = [_cell(result.interval(one, m), m.factor, "{:.2f}", "{:.1f}") for m in result.metrics]
        if paired:
            cells.append(_cell(result.difference(one), result.metrics[0].factor, "{:+.2f}", "{:+.2f}"))
        table.add_row(name, *cells, style=_style(result, one))
    return table


def _parts(result: Comparison) -> Table | str:
    """AP by class and size, where the task tells it: a row each, a column for each loss, means over seeds."""
    rows = dict.fromkeys(name for one in result.standings for name in one.parts)
    if not rows:
        return f"No more detail of {result.task['what']} on the {result.plan.split} split."
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("part", overflow="fold")
    for one in result.standings:
        table.add_column(Text(one.contestant.name), justify="right", overflow="fold")
    factor = result.metrics[0].factor
    for name in rows:
        cells = [f"{factor * one.parts[name]:.2f}" if name in one.parts else "" for one in result.standings]
        table.add_row(Text(name), *cells)
    return table


def _cell(interval: Interval | None, factor: float, mean: str, bound: str) -> str:
    """Mean, and below it the interval, where there is one."""
    if interval is None:
        return ""
    text = mean.format(factor * interval.mean)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return text
    return f"{text}\n[dim]\\[{bound.format(factor * interval.low)}, {bound.format(factor * interval.high)}][/dim]"


def _style(result: Comparison, one: Standing) -> str | None:
    difference = result.difference(one)
    ahead = difference is not None and difference.mean > 0 and result.told_apart()[one.contestant.name]
    return "green" if ahead else None


def _verdicts(result: Comparison, console: Console) -> None:
    """Who is ahead of the first and who behind, beyond chance."""
    if len(result.seeds) < 2:
        return
    if result.nothing_learnt:
        console.print(Text(NOTHING))
        return
    first = result.standings[0].contestant.name
    corrected = f" ({result.corrected})" if result.corrected else ""
    for words, names in result.sides().items():
        console.print(Text(f"{words.capitalize()} {first}: {', '.join(names)}{corrected}"))


def _formulas(result: Comparison) -> dict[str, str]:
    """Formulas of the contestants whose losses no catalogue names."""
    found = {}
    for one in result.standings:
        for slot, text in one.contestant.losses.slots:
            if text not in CATALOGUE:
                found[f"{one.contestant.name}, {slot}"] = title_of(text)
    return found
