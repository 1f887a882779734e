"""Tables for people: the audit's result, the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cse_autoloss.losses import Entry

NOISE = "what pairing leaves of seeds and draws moves the mean difference of two equal losses by"
"""What `paired_noise` of a summary is, in words."""


def print_summary(summary: Mapping[str, Any], directory: Path, console: Console | None = None) -> None:
    """Print what a run found: formulas, the audit's table, the verdict in words, where the files are."""
    from cse_autoloss.bench.audit_words import seeds_text
    from cse_autoloss.bench.spent import spent_text
    from cse_autoloss.losses.family import chosen

    console = console or Console(soft_wrap=False)
    from cse_autoloss.losses.parametric import title_of

    best, metric = summary["best"], summary["metric"]
    title, factor, digits = metric["title"], metric["factor"], metric["digits"]
    if best is not None:
        console.print()
        console.print(Text("Discovered", style="bold"))
        width = max(map(len, best["losses"]))
        for slot, formula in best["losses"].items():
            console.print(Text(f"  {slot:<{width}}  {title_of(formula)}"), soft_wrap=True)
    contestants = [(True, one) for one in summary["winners"]] + [(False, one) for one in summary["baselines"]]
    scored = [(found, one) for found, one in contestants if one["test"]["mean"] is not None]
    if scored and not summary.get("too_short"):
        seeds = seeds_text(len(scored[0][1]["test"]["seeds"]), summary.get("draws") or 0)
        table = Table(
            title=f"Test split, full schedule, {seeds}",
            title_justify="left",
            box=SIMPLE,
            pad_edge=False,
        )
        # Whole within 80 columns: only the name may break.
        table.add_column("loss", overflow="fold", min_width=16)
        settings = list(scored[0][1]["settings"])
        for name in (title, "95 % interval", *(n.replace("_", " ") for n in settings), f"{title} on val"):
            table.add_column(name, justify="right", no_wrap=True)
        toward = -1 if metric["higher"] else 1
        for found, one in sorted(scored, key=lambda item: toward * item[1]["test"]["mean"]):
            test = one["test"]
            bounds = (
                ""
                if test["low"] is None
                else f"[{test['low'] * factor:.{digits - 1}f}, {test['high'] * factor:.{digits - 1}f}]"
            )
            table.add_row(
                "\n".join(
                    [one["name"], *chosen(one["name"], one.get("losses", {}).values(), one.get("inner"))]
                ),
                f"{test['mean'] * factor:.{digits}f}",
                bounds,
                *(f"{one['settings'][name]:g}" for name in settings),
                f"{one['val'] * factor:.{digits - 1}f}",
                style="green" if found else None,
            )
        console.print()
        console.print(table)
        trainings = sorted({one.get("trainings", 0) for _, one in scored})
        if trainings[-1]:
            console.print(
                f"Tuned by {' to '.join(map(str, dict.fromkeys((trainings[0], trainings[-1]))))} trainings each"
                f"{''.join(f'; {told}' for told in summary.get('tuning', ()))}."
            )
        if summary.get("paired_noise"):
            console.print(
                f"Noise floor: {NOISE} ±{summary['paired_noise'] * factor:.{digits}f} {title} (1 sd)."
            )
    console.print()
    console.print(Text(summary["verdict"], style="bold"))
    funnel = summary["funnel"]
    if funnel["generated"]:
        simulated = f"{funnel['simulated']:,} simulated, " if funnel["simulated"] else ""
        console.print(
            f"Funnel: {funnel['generated']:,} generated, {funnel['duplicates']:,} duplicates, "
            f"{funnel['verified']:,} verified, {simulated}{funnel['trained']:,} trained; "
            f"{summary['seconds']['total']:.0f} s, {summary['overhead']:.1%} of it outside the stages."
        )
    used = summary.get("utilisation", {})
    if "search" in used:
        others = [
            f"{used[phase]['training']:.0%} in the {phase}" for phase in ("tune", "audit") if phase in used
        ]
        simulating = f", simulating for {used['search']['simulation']:.0%}" if funnel["simulated"] else ""
        console.print(
            f"Workers: {used['workers']}, training for {used['search']['training']:.0%} of their time in the search"
            + simulating
            + (f"; training {', '.join(others)}." if others else ".")
        )
    if line := spent_text(used):
        console.print(line)
    for note in summary["notes"]:
        console.print(Text(f"Note: {note}"))
    if best is not None:
        files = ", ".join(sorted(path.name for path in (directory / "best").iterdir()))
        console.print(f"Files: {files} in {directory / 'best'}; all figures in {directory}/summary.json")
    else:
        console.print(f"Files: {directory}/summary.json")


def print_catalogue(entries: Iterable[Entry], console: Console | None = None) -> None:
    """Print the catalogue, one loss a row, with the inner parameters that it may be given."""
    from cse_autoloss.losses import CATALOGUE

    console = console or Console()
    table = Table(box=None, pad_edge=False)
    for name in ("name", "signature", "what it is", "source"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        family = CATALOGUE.families.get(entry.name)
        ranges = [f"{p.name} {p.low:g} to {p.high:g}" for p in family.parameters] if family else []
        what = f"{entry.title}; {', '.join(ranges)}" if ranges else entry.title
        table.add_row(entry.name, entry.signature.name, what, entry.source)
    console.print(table)
