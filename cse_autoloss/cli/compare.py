"""`compare`: losses side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import (
    AsJson,
    Data,
    Device,
    Groups,
    Quiet,
    Resume,
    Settings,
    SkipBad,
    Workers,
    note,
    overrides,
    print_json,
    silent,
)


def command(
    losses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LOSS...",
            help="A catalogue name, a formula, CLS+REG (focal+giou), a published pair (cse-autoloss-b), a run "
            "directory or a loss.json; "
            "NAME=LOSS gives it a name. Without any: the losses that people use.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="detection, classification, ..., or FILE.py:NAME; by default detection."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What decides; by default the task's first.")] = None,
    data: Data = None,
    label_noise: Annotated[
        float | None, typer.Option(help="Part of the training labels to make wrong, on purpose.")
    ] = None,
    groups: Groups = None,
    detector: Annotated[str | None, typer.Option(help="one-stage, two-stage, or any other.")] = None,
    skip_bad: SkipBad = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each, with the same seeds for all.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Of each training.")] = None,
    tune: Annotated[
        bool,
        typer.Option(help="Tune learning rate, weights and inner parameters of each alike, on validation."),
    ] = True,
    negative_weight: Annotated[
        bool,
        typer.Option(
            "--negative-weight",
            help="Tune the weight of negatives of each, too, where it has none of its own: losses of sigmoid heads.",
        ),
    ] = False,
    split: Annotated[str, typer.Option(help="test or val, for the final scores.")] = "test",
    seed: Annotated[int | None, typer.Option(help="Where the seeds start.")] = None,
    workers: Workers = None,
    device: Device = None,
    config: Annotated[str | None, typer.Option(help="YAML file with settings, as of evolve.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; by default a new one in runs/.")] = None,
    resume: Resume = None,
    settings: Settings = None,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail", help="On test, of a detector: AR, and AP by size and by class; of faces: by group."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare losses: scores with intervals over paired seeds, each tuned alike, and the difference to the first."""
    from cse_autoloss.compare.live import watch

    chosen = {
        "metric": metric,
        "own.data": data,
        "own.label_noise": label_noise,
        "own.groups": groups,
        "own.detector": detector,
        "own.skip_bad": skip_bad,
        "audit.epochs": epochs,
        "audit.tune_epochs": epochs,
        "audit.negative_weight": negative_weight or None,
        "seed": seed,
        "workers": workers,
        "device": device,
    }
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as observer:
        directory, result = cse_autoloss.compare_losses(
            losses or (),
            task=task,
            config=config,
            overrides=options,
            seeds=seeds,
            split=split,
            tune=tune,
            out=out,
            resume=resume,
            observer=observer,
            say=silent if quiet else note,
        )
    if as_json:
        print_json({"directory": str(directory), **result.to_dict()})
    else:
        from cse_autoloss.compare.table import print_comparison

        print_comparison(result, directory, detail=detail)
