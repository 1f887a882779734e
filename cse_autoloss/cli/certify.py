"""`certify`: what is proved of a loss, property by property."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, SignatureOrTold, Source, print_json

_SIGNS = {"proved": "✓", "refuted": "✗", "open": "?"}


def command(
    source: Source,
    signature: SignatureOrTold = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="FILE.json; written besides.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each loss; what is left stays open.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Prove a loss's properties, or refute them with a witness. Exit code 1 where one is refuted."""
    certificates = cse_autoloss.certify_loss(source, signature, seconds=seconds, out=out)
    if as_json:
        print_json([one.to_dict() for one in certificates])
    else:
        for one in certificates:
            weighting = "" if one.alpha is None else f", alpha = {one.alpha:g}"
            print(f"{one.formula}  ({one.signature}{weighting})")
            for finding in one.findings:
                print(f"  {_SIGNS[finding.outcome]} {finding.outcome:8} {finding}")
    if any(one.refuted for one in certificates):
        raise typer.Exit(1)
