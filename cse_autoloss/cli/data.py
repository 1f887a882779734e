"""`data`: what data hold, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from cse_autoloss.api.data import DataReport
    from cse_autoloss.api.samples import SamplesReport

MOST_CLASSES = 30
"""Up to which each has a line; with more, the table tells the least, the middle and the most of them."""


def command(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR|FILE|KIND:PLACE",
            help="A folder or a .csv file, or its kind as well: coco, yolo, voc, folder, cifar10, cifar100, idx, "
            "market, csv.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="PNG file for sixteen images with boxes, labels or masks.")
    ] = Path("data.png"),
    split: Annotated[str, typer.Option(help="Whose images are drawn: train, val or test.")] = "train",
    task: Annotated[
        str | None, typer.Option(help="Where the data do not tell it: faces for folders of people.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what the data of any task hold and what is wrong with them, and draw sixteen images."""
    from cse_autoloss.fullsize.watch import watch

    with watch(quiet=as_json) as watcher:
        report = cse_autoloss.inspect_data(data, out, split, progress=watcher.looked, task=task)
    if as_json:
        print_json(report.to_dict())
        return
    from rich.console import Console

    from cse_autoloss.api.data import DataReport

    console = Console(highlight=False)
    if isinstance(report, DataReport):
        _print_boxes(console, report)
    else:
        _print_parts(console, report)
    for note in report.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    if report.picture:
        console.print(f"Picture: {report.picture}", markup=False, soft_wrap=True)


def _print_boxes(console: Console, report: DataReport) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(report.data), title_justify="left")
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
    _print_classes(console, "boxes", {one.name: one.classes for one in report.splits}, report.class_names)
    if report.problem:
        console.print(f"Wrong: {report.problem}", markup=False, soft_wrap=True)
        console.print("With --skip-bad, which leaves such images out:", soft_wrap=True)


def _print_parts(console: Console, report: SamplesReport) -> None:
    from rich.table import Table
    from rich.text import Text

    from cse_autoloss.tasks.parts import spread

    noun = "rows" if report.task == "regression" else "images"
    kind, kinds = ("person", "people") if report.task in ("faces", "reid") else ("class", "classes")
    shown = Table(title=Text(f"{report.data}, for {report.task}"), title_justify="left")
    counted = any(one.classes for one in report.parts)
    columns = (
        noun,
        *(("size",) if noun == "images" else ()),
        *((kinds, f"{noun} of a {kind}") if counted else ()),
    )
    for name in ("split", *columns, *report.parts[0].facts):
        shown.add_column(name, justify="left" if name == "split" else "right")
    for one in report.parts:
        cells = [f"{one.count:,}", *([one.size] if noun == "images" else [])]
        if counted:
            cells += [f"{len(one.classes):,}", spread(list(one.classes.values()))]
        shown.add_row(one.name, *cells, *one.facts.values())
    console.print(shown, markup=False)
    names = sorted({name for one in report.parts for name in one.classes})
    if kind == "class" and 0 < len(names) <= MOST_CLASSES:
        _print_classes(console, noun, {one.name: one.classes for one in report.parts}, names)


def _print_classes(
    console: Console, noun: str, counts: Mapping[str, Mapping[str, int]], names: Sequence[str]
) -> None:
    from rich.table import Table
    from rich.text import Text

    classes = Table(title=f"{noun} by class", title_justify="left")
    classes.add_column("class")
    for split in counts:
        classes.add_column(split, justify="right")
    for name in names:
        classes.add_row(Text(name), *(f"{own.get(name, 0):,}" for own in counts.values()))
    console.print(classes)
