"""`runs`: the run directories of a folder."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, print_json


def command(
    folder: Annotated[Path, typer.Argument(help="The folder with the run directories.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List run directories with their verdicts, the newest first."""
    found = cse_autoloss.list_runs(folder)
    if as_json:
        print_json([{**asdict(one), "directory": str(one.directory)} for one in found])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "begun", "what", "status", "verdict"):
        table.add_column(name, overflow="fold", no_wrap=name == "begun")
    for one in found:
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.begun)) if one.begun else ""
        cells = (str(one.directory), begun, f"{one.command} {one.task}".strip(), one.status, one.verdict)
        table.add_row(*map(Text, cells))
    Console().print(table if found else f"{folder}: no run directories")
