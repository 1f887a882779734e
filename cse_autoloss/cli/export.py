"""`export`: a loss as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import BranchOrTold, Source


def command(
    source: Source,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="FILE.py, .json, .tex, .onnx, .svg, .png or .dot.")
    ],
    branch: BranchOrTold = None,
) -> None:
    """Write a loss as a file that runs, or is read, without this package."""
    print(cse_autoloss.export_loss(source, out, branch))
