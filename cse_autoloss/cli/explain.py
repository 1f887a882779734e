"""`explain`: a page about a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import BranchOrTold, Source


def command(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="page.html; its pictures are put beside it.")],
    branch: BranchOrTold = None,
) -> None:
    """Draw a loss and its gradient beside those that people use, with its graph and the verifier's verdict."""
    for path in cse_autoloss.explain_loss(source, out, branch):
        print(path)
