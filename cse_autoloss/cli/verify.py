"""`verify`: the convergence properties of a formula, or of a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, SignatureName, note_guesses, print_json
from cse_autoloss.errors import ConfigError, DataError


def command(
    formula: Annotated[
        str | None, typer.Argument(help="Prefix notation, or a name of the catalogue.")
    ] = None,
    signature: SignatureName = None,
    file: Annotated[
        Path | None, typer.Option(help="Formulas to verify, one a line; # starts a comment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a loss has the convergence properties of its signature. Exit code 1 where one has not."""
    if formula is not None and file is None:
        formulas = [formula]
    elif formula is None and file is not None:
        formulas = _lines(file)
    else:
        raise ConfigError("verify: give either a formula or --file")
    verdicts = cse_autoloss.verify(formulas, signature)
    if signature is None:
        note_guesses(formulas)
    if as_json:
        print_json([{"formula": f, **v.to_dict()} for f, v in zip(formulas, verdicts, strict=True)])
    else:
        for text, verdict in zip(formulas, verdicts, strict=True):
            print(verdict if file is None else f"{text}\t{verdict}")
    if not all(verdicts):
        raise typer.Exit(1)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
