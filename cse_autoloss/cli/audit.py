"""The command `audit`: parses, calls one library function and prints. Nothing heavy is imported early."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cse_autoloss.errors import UnknownNameError

STAGES = {"verify": ("verify",), "simulate": ("simulate",), "both": ("verify", "simulate")}


def app_command(
    run: Annotated[Path, typer.Argument(help="Directory of a search.", show_default=False)],
    stage: Annotated[str, typer.Option(help="verify, simulate or both.")] = "both",
    count: Annotated[
        int, typer.Option(help="Rejected losses drawn of verify, bred and random each; of simulate a fifth.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; by default as the run.")
    ] = None,
    confirm: Annotated[int, typer.Option(help="Further seeds to train the good ones with.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a random sample of what a run's filters threw away: how many good losses were lost?"""
    if stage not in STAGES:
        raise UnknownNameError.of("stage", stage, tuple(STAGES))
    from cse_autoloss.filter_audit import FilterAuditOptions, audit_filters
    from cse_autoloss.filter_audit.progress import watch

    options = FilterAuditOptions(STAGES[stage], count, seed, workers, confirm)
    with watch(sys.stderr, quiet=quiet) as observer:
        result = audit_filters(run, options, observer)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from cse_autoloss.filter_audit.result import render

    console = Console()
    for part in render(result):
        console.print(part)
