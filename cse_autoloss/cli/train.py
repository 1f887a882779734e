"""`train`: a full-size detector with any loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, Quiet, Resume, Settings, overrides, print_json


def command(
    detector: Annotated[
        str | None,
        typer.Option(help="torchvision:NAME of a Faster or Mask R-CNN, RetinaNet or FCOS."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="A folder of photographs with boxes.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Classification loss, or a pair: a name, a formula, a loss.json or a run directory; by "
            "default torchvision's own."
        ),
    ] = None,
    loss_reg: Annotated[
        str | None,
        typer.Option(help="Box loss, likewise; by default the one of the pair, or torchvision's own."),
    ] = None,
    box_weight: Annotated[float | None, typer.Option(help="Factor on the box loss.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; by default the detector's usual one, times batch/16.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images; 12 by default.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images a step, of all processes together; 16 by default.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Shorter side of the images, pixels; 800 by default.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="none, backbone (ImageNet's, a download; the default) or a file with weights."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Reading processes of each process; 4 by default.")
    ] = None,
    amp: Annotated[
        bool | None, typer.Option("--amp/--no-amp", help="Compute in bfloat16 where it is safe.")
    ] = None,
    test: Annotated[
        bool | None, typer.Option("--test/--no-test", help="Score the test file too, at the end.")
    ] = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard/--no-tensorboard", help="By default where it is installed."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and flips.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    config: Annotated[
        str | None,
        typer.Option(
            help="YAML file with settings, or coco_faster_rcnn, coco_mask_rcnn, coco_retinanet, coco_fcos."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder; by default a new one in runs/.")] = None,
    resume: Resume = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a full-size detector of torchvision with any loss; for several GPUs start it by torchrun."""
    from cse_autoloss.fullsize.watch import watch

    chosen = {
        "detector": detector,
        "data": data,
        "loss": loss,
        "loss_reg": loss_reg,
        "box_weight": box_weight,
        "lr": lr,
        "epochs": epochs,
        "batch": batch,
        "image_size": image_size,
        "weights": weights,
        "workers": workers,
        "amp": amp,
        "test": test,
        "tensorboard": tensorboard,
        "seed": seed,
    }
    options = overrides(chosen, settings)
    with watch(quiet=quiet) as watcher:
        folder, tables = cse_autoloss.train_detector(
            config=config, out=out, resume=resume, device=device, overrides=options, watcher=watcher
        )
    if not tables:  # of several processes the first prints
        return
    if as_json:
        plain = {
            split: {name: None if math.isnan(value) else value for name, value in table.items()}
            for split, table in tables.items()
        }
        print_json({"directory": str(folder), **plain})
    else:
        _print_tables(folder, tables)


def _print_tables(folder: Path, tables: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for kind in ("AP", "mask AP"):
        rows = {
            split: {n.removeprefix("mask "): v for n, v in table.items() if n.startswith(kind)}
            for split, table in tables.items()
        }
        if not any(rows.values()):
            continue
        shown = Table(title=f"COCO {'boxes' if kind == 'AP' else 'masks'}, ×100", title_justify="left")
        shown.add_column("")
        for name in next(iter(rows.values())):
            shown.add_column(name, justify="right")
        for split, figures in rows.items():
            shown.add_row(split, *("-" if math.isnan(v) else f"{v * 100:.1f}" for v in figures.values()))
        console.print(shown)
    console.print(
        f"{folder}: checkpoint.pt, train.yaml, scalars.jsonl, table.json", soft_wrap=True, highlight=False
    )
