"""`init`: a configuration for the user's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss


def command(
    data: Annotated[
        Path | None, typer.Argument(help="A folder or a .csv file; without it, the task's embedded data.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Where the data do not tell it.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("autoloss.yaml"),
    budget: Annotated[
        str | None, typer.Option(help="Wall time, as 20m; by default by the data's size.")
    ] = None,
) -> None:
    """Look at your data and write a commented configuration for a search on them."""
    file = cse_autoloss.init_config(data, task=task, out=out, budget=budget)
    print(f"{file}\nnext: cse-autoloss evolve --config {file} --dry-run")
