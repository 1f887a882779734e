"""`simulate`: whether a small model learns with a formula."""

from __future__ import annotations

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, Formula, SignatureName, note_guesses, print_json


def command(formula: Formula, signature: SignatureName = None, as_json: AsJson = False) -> None:
    """Say whether a small model learns with the loss on one image of each category. Exit code 1 where not."""
    verdict = cse_autoloss.simulate(formula, signature)
    if signature is None:
        note_guesses([formula])
    if as_json:
        print_json({"formula": formula, **verdict.to_dict()})
    else:
        print(verdict)
    if not verdict:
        raise typer.Exit(1)
