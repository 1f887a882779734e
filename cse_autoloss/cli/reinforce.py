"""`reinforce`: the search of a parametric loss space."""

from __future__ import annotations

from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import (
    AsJson,
    Device,
    Groups,
    Log,
    Quiet,
    Resume,
    RunOut,
    Settings,
    Workers,
    overrides,
    print_result,
)


def command(
    space: Annotated[
        str | None,
        typer.Option(help="am-lfs, search-softmax, random-softmax; of sigmoid heads search-sigmoid, ap."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="classification, faces, reid, or any with a softmax slot.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, cifar10:DIR, cifar100:DIR, idx:DIR, folder:DIR, orl or market:DIR."),
    ] = None,
    label_noise: Annotated[float | None, typer.Option(help="Share of train labels to change.")] = None,
    groups: Groups = None,
    model: Annotated[str | None, typer.Option(help="mlp, small, face, resnet20 or mgn.")] = None,
    samples: Annotated[int | None, typer.Option(help="Models trained together, B.")] = None,
    intervals: Annotated[int | None, typer.Option(help="Intervals of am-lfs and ap, M.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Standard deviation of the losses.")] = None,
    lr: Annotated[float | None, typer.Option(help="Of Adam on the mean of the losses.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Whole searches, for intervals.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first.")] = None,
    reward: Annotated[str | None, typer.Option(help="Metric that drives the search.")] = None,
    update: Annotated[bool | None, typer.Option(help="--no-update leaves the mean where it is.")] = None,
    copy_best: Annotated[
        bool | None, typer.Option(help="--no-copy-best: models go on by themselves.")
    ] = None,
    workers: Workers = None,
    device: Device = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file, or classification, cifar10, faces or reid.")
    ] = None,
    out: RunOut = None,
    resume: Resume = None,
    log: Log = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search a parametric loss by REINFORCE while training, and compare it with what people use."""
    from cse_autoloss.report.live import watch

    chosen = {
        "reinforce.space": space,
        "own.data": data,
        "own.label_noise": label_noise,
        "own.groups": groups,
        "own.model": model,
        "own.epochs": epochs,
        "reinforce.samples": samples,
        "reinforce.intervals": intervals,
        "reinforce.sigma": sigma,
        "reinforce.lr": lr,
        "reinforce.update": update,
        "reinforce.copy_best": copy_best,
        "reinforce.seeds": seeds,
        "seed": seed,
        "metric": reward,
        "workers": workers,
        "device": device,
        "log": log,
    }
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as observer:
        result = cse_autoloss.reinforce_loss(
            task, config=config, out=out, resume=resume, observer=observer, **options
        )
    print_result(result, as_json)
