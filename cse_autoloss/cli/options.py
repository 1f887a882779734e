"""Options that commands share, and what they have in common: `--set key=value`, JSON, notes on the standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cse_autoloss.errors import ConfigError, shorten

if TYPE_CHECKING:
    from cse_autoloss.api.runs import RunResult

SignatureName = Annotated[
    str | None,
    typer.Option(
        "--signature",
        help="cls-binary, cls-multiclass or reg; by default what the inputs tell, else cls-binary.",
    ),
]
SignatureOrTold = Annotated[
    str | None, typer.Option("--signature", help="Needed where the inputs do not tell it.")
]
Formula = Annotated[str, typer.Argument(help="Prefix notation, or a name of the catalogue.")]
Source = Annotated[
    str,
    typer.Argument(help="A run directory, a formula, a catalogue name or a loss.json.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
Data = Annotated[
    str | None, typer.Option(help="careless-digits, digits, or a folder of photographs; see docs/data.md.")
]
Groups = Annotated[
    str | None,
    typer.Option(help="Of faces: a file with IDENTITY,GROUP on each line, to tell scores by group."),
]
SkipBad = Annotated[
    bool | None, typer.Option("--skip-bad", help="Leave out images with faults, and count them.")
]
Workers = Annotated[int | None, typer.Option(help="Trainings side by side; by default one a core.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
RunOut = Annotated[Path | None, typer.Option(help="Run directory; by default a new one in runs/.")]
Resume = Annotated[Path | None, typer.Option(help="Go on with what this directory holds.")]
Log = Annotated[
    str | None, typer.Option(help="tensorboard, mlflow or wandb: writes curves into the run directory.")
]
CodeAgain = Annotated[
    str | None, typer.Option(help="FILE.py:NAME that the run was made with, where you let it run again.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting, as evolution.population=20; may be repeated.")
]


def overrides(chosen: Mapping[str, Any], settings: Sequence[str] | None) -> dict[str, Any]:
    """Settings by dotted key, from a command's options; `--set` wins over an option of its own.

    Args:
        chosen: dotted key -> value of the option, None where it was not given.
        settings: texts of `--set`, each "key=value"; a value is read as the configuration's YAML is.

    Raises:
        ConfigError: a text without a key or an equals sign, or a value that is not YAML.
    """
    from cse_autoloss.settings.plain_yaml import parse_yaml

    found = {key: value for key, value in chosen.items() if value is not None}
    for text in settings or ():
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set: expected key=value, got {text!r}")
        found[key.strip()] = parse_yaml(f"value: {value}", "--set").get("value")
    return found


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_result(result: RunResult, as_json: bool) -> None:
    """Print what a run found, and where it lies."""
    if as_json:
        print_json({"directory": str(result.directory), **result.summary})
    else:
        from cse_autoloss.report.table import print_summary

        print_summary(result.summary, result.directory)


def note(text: str) -> None:
    """Tell something while the result is not there yet."""
    print(text, file=sys.stderr, flush=True)


def note_guesses(formulas: Sequence[str]) -> None:
    """Tell of formulas whose signature is a guess, as their inputs do not tell it."""
    from cse_autoloss.api.formulas import taken_as

    guesses = [(formula, name) for formula in formulas if (name := taken_as(formula))]
    if guesses:
        (formula, name), others = guesses[0], len(guesses) - 1
        more = f" and {others:,} more" if others else ""
        note(
            f"{shorten(formula.strip())}{more}: no signature is told, taken as {name}; --signature says another"
        )


def silent(text: str) -> None:
    """Tell nothing."""
