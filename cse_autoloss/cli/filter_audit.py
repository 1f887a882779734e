"""`filter-audit`: what the filters of a run cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, CodeAgain, Quiet, print_json
from cse_autoloss.errors import UnknownNameError

STAGES = {"verify": ("verify",), "simulate": ("simulate",), "both": ("verify", "simulate")}


def command(
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
    task: CodeAgain = None,
    detector: CodeAgain = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a random sample of what a run's filters threw away: how many good losses were lost?"""
    if stage not in STAGES:
        raise UnknownNameError.of("stage", stage, tuple(STAGES))
    from cse_autoloss.filter_audit.progress import watch

    options = cse_autoloss.FilterAuditOptions(STAGES[stage], count, seed, workers, confirm)
    with watch(sys.stderr, quiet=quiet) as observer:
        result = cse_autoloss.audit_filters(run, options, observer, [one for one in (task, detector) if one])
    if as_json:
        print_json(result.to_dict())
        return
    from rich.console import Console

    from cse_autoloss.filter_audit.result import render

    console = Console()
    for part in render(result):
        console.print(part)
