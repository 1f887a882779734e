"""`data`: what a data set of photographs holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from cse_autoloss.api.data import DataReport


def command(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A folder of photographs with boxes, or coco:DIR, yolo:DIR, voc:DIR."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="PNG file for sixteen images with their boxes.")
    ] = Path("data.png"),
    split: Annotated[str, typer.Option(help="Whose images are drawn: train, val or test.")] = "train",
    as_json: AsJson = False,
) -> None:
    """Tell what a data set of photographs holds and what is wrong with it, and draw sixteen images."""
    from cse_autoloss.fullsize.watch import watch

    with watch(quiet=as_json) as watcher:
        report = cse_autoloss.inspect_data(data, out, split, progress=watcher.looked)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _print(report: DataReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    shown = Table(title=report.data, title_justify="left")
    for name in (
        "split",
        "images",
        "without boxes",
        "boxes",
        "crowds",
        "image sizes",
        "boxes' shorter side, px",
    ):
        shown.add_column(name, justify="left" if name == "split" else "right")
    for one in report.splits:
        sides = " < ".join(f"{side:g}" for side in one.sides)  # least, median, most
        counts = (one.images, one.empty, one.boxes, one.crowds)
        shown.add_row(one.name, *(f"{count:,}" for count in counts), one.sizes, sides)
    console.print(shown)
    classes = Table(title="boxes by class", title_justify="left")
    classes.add_column("class")
    for one in report.splits:
        classes.add_column(one.name, justify="right")
    for name in report.class_names:
        classes.add_row(name, *(f"{one.classes.get(name, 0):,}" for one in report.splits))
    console.print(classes, markup=False)
    if report.problem:
        console.print(f"Wrong: {report.problem}", markup=False, soft_wrap=True)
        console.print("With --skip-bad, which leaves such images out:", soft_wrap=True)
    for note in report.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    if report.picture:
        console.print(f"Picture: {report.picture}", markup=False, soft_wrap=True)
