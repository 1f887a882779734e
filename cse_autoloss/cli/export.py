"""`export`: a loss as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import SignatureOrTold, Source


def command(
    source: Source,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="FILE.py, .json, .tex, .onnx, .svg, .png, .dot; of a run .db."),
    ],
    signature: SignatureOrTold = None,
    pick: Annotated[
        int | None,
        typer.Option(
            help="Of a run: that loss of its front of score against size, as its page numbers them."
        ),
    ] = None,
) -> None:
    """Write a loss as a file that runs, or is read, without this package."""
    print(cse_autoloss.export_loss(source, out, signature, pick=pick))
