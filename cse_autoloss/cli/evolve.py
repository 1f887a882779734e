"""`evolve`: the search for a loss."""

from __future__ import annotations

from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import (
    AsJson,
    Data,
    Device,
    Groups,
    Log,
    Resume,
    RunOut,
    Settings,
    SkipBad,
    Workers,
    overrides,
    print_json,
    print_result,
)


def command(
    task: Annotated[
        str | None,
        typer.Option(help="What to find a loss for: detection, classification, ..., or FILE.py:NAME."),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="evolution, random, reinforce, cma, or FILE.py:NAME.")
    ] = None,
    slot: Annotated[
        str | None, typer.Option(help="Search this slot alone, as cls or reg of a detector.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What to climb; by default the task's first.")] = None,
    data: Data = None,
    label_noise: Annotated[
        float | None, typer.Option(help="Part of the training labels to make wrong, on purpose.")
    ] = None,
    groups: Groups = None,
    detector: Annotated[
        str | None,
        typer.Option(help="one-stage, two-stage, one-stage-pyramid, two-stage-pyramid, or FILE.py:NAME."),
    ] = None,
    spaces: Annotated[
        str | None,
        typer.Option(
            help="What losses read: paper, extended: also how much of the training is done, or wide: see docs."
        ),
    ] = None,
    skip_bad: SkipBad = None,
    budget: Annotated[str | None, typer.Option(help="Wall time in all, as 20m or 1h30m.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations, in place of a budget.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    seed_loss: Annotated[
        list[str] | None, typer.Option(help="A loss to start from; may be repeated.")
    ] = None,
    learn_from: Annotated[
        list[str] | None,
        typer.Option(help="An earlier run to remember, or a folder of runs; may be repeated."),
    ] = None,
    workers: Workers = None,
    device: Device = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file with settings, or detection or smoke.")
    ] = None,
    out: RunOut = None,
    resume: Resume = None,
    log: Log = None,
    settings: Settings = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No screen while it runs.")] = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done in the budget, and train nothing long.")
    ] = False,
) -> None:
    """Search for a loss, audit it on held-out data and write everything into a run directory."""
    from cse_autoloss.report.live import watch

    chosen = {
        "search": search,
        "slot": slot,
        "metric": metric,
        "own.data": data,
        "own.label_noise": label_noise,
        "own.groups": groups,
        "own.detector": detector,
        "own.spaces": spaces,
        "own.skip_bad": skip_bad,
        "budget": budget,
        "generations": generations,
        "seed": seed,
        "seed_losses": seed_loss,
        "surrogate.learn_from": learn_from,
        "workers": workers,
        "device": device,
        "log": log,
    }
    options = overrides(chosen, settings)
    if dry_run:
        plan = cse_autoloss.plan_run(task, config=config, **options)
        print_json(plan.to_dict()) if as_json else print(plan)
        return
    with watch(quiet=quiet) as observer:
        result = cse_autoloss.evolve(
            task, config=config, out=out, resume=resume, observer=observer, **options
        )
    print_result(result, as_json)
