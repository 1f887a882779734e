"""`report`: a run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write report.html into a run directory: everything about the run on one page."""
    page = cse_autoloss.report_run(run)
    print(page)
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
