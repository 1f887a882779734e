"""`render`: the drawing of a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import BranchOrTold, Source


def command(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.svg, FILE.png or FILE.dot.")],
    branch: BranchOrTold = None,
) -> None:
    """Draw the computation graph of a loss."""
    print(cse_autoloss.render_loss(source, out, branch))
