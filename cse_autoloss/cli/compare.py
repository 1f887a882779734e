"""The command `compare`: parses, calls one library function and prints. Nothing heavy is imported early."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cse_autoloss.cli.options import overrides


def app_command(
    losses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LOSS...",
            help="A catalogue name, a formula, CLS+REG (focal+giou), a published pair (cse-autoloss-b), a run "
            "directory or a loss.json; "
            "NAME=LOSS gives it a name.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[str | None, typer.Option(help="one-stage, two-stage, or any other.")] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, or coco:DIR with train.json and val.json.")
    ] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave out faulty items and count them.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each, with the same seeds for all.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Of each training.")] = None,
    tune: Annotated[
        bool, typer.Option(help="Tune box weight and learning rate of each alike, on validation.")
    ] = True,
    split: Annotated[str, typer.Option(help="test or val, for the final scores.")] = "test",
    seed: Annotated[int | None, typer.Option(help="Where the seeds start.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; by default one a core.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    config: Annotated[str | None, typer.Option(help="YAML file with settings, as of evolve.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; by default a new one in runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the comparison in this directory.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, as audit.tune_seeds=2; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare losses: AP with intervals over paired seeds, each tuned alike, and the difference to the first."""
    from cse_autoloss.compare.live import watch
    from cse_autoloss.compare.run import compare_losses
    from cse_autoloss.compare.table import print_comparison

    chosen: dict[str, Any] = {
        "detection.detector": detector,
        "detection.data": data,
        "detection.skip_bad": skip_bad,
        "audit.epochs": epochs,
        "audit.tune_epochs": epochs,
        "seed": seed,
        "workers": workers,
        "device": device,
    }
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as observer:
        directory, result = compare_losses(
            losses or (),
            config=config,
            overrides=options,
            seeds=seeds,
            split=split,
            tune=tune,
            out=out,
            resume=resume,
            observer=observer,
            say=_quiet if quiet else _line,
        )
    if as_json:
        print(json.dumps({"directory": str(directory), **result.to_dict()}, indent=2, ensure_ascii=False))
    else:
        print_comparison(result, directory)


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    """Says nothing."""
