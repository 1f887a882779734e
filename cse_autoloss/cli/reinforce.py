"""The command `reinforce`: parses, calls one library function and prints. Nothing heavy is imported early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cse_autoloss.cli.options import overrides


def app_command(
    space: Annotated[str | None, typer.Option(help="am-lfs, search-softmax or random-softmax.")] = None,
    task: Annotated[str | None, typer.Option(help="classification, faces or reid.")] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, cifar10:DIR, idx:DIR, folder:DIR, orl or market:DIR.")
    ] = None,
    label_noise: Annotated[float | None, typer.Option(help="Share of train labels to change.")] = None,
    model: Annotated[str | None, typer.Option(help="mlp, small, face or resnet20.")] = None,
    samples: Annotated[int | None, typer.Option(help="Models trained together, B.")] = None,
    intervals: Annotated[int | None, typer.Option(help="Intervals of am-lfs, M.")] = None,
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
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file, or classification, cifar10, faces or reid.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default a new one in runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this directory.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as reinforce.lr=0.1.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search a parametric loss by REINFORCE while training, and compare it with what people use."""
    from cse_autoloss.reinforce.report import table
    from cse_autoloss.reinforce.run import reinforce
    from cse_autoloss.report.reinforce_live import watch

    chosen: dict[str, Any] = {
        "reinforce.space": space,
        "task": task,
        "own.data": data,
        "own.label_noise": label_noise,
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
        "device": device,
    }
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as observer:
        directory, summary = reinforce(
            config=config, out=out, resume=resume, overrides=options, observer=observer
        )
    if as_json:
        print(json.dumps({"directory": str(directory), **summary}, indent=2, ensure_ascii=False))
    else:
        print(table(summary))
        print(f"{directory}: summary.json, best/loss.py, best/model.pt, plots/")
