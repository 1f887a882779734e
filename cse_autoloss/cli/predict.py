"""`predict`: pictures of what a run's detector finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import cse_autoloss
from cse_autoloss.cli.options import AsJson, CodeAgain, note, print_json, silent
from cse_autoloss.errors import ConfigError

if TYPE_CHECKING:
    from cse_autoloss.predict import PredictResult


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE]...", help="Photographs to draw on, folders of them, or patterns as '*.jpg'."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder, as coco:DIR, with the run's classes, or a photograph; by default the run's own data."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="test or val. Test is for looking, never for choosing.")
    ] = "test",
    loss: Annotated[
        str | None, typer.Option(help="A name of the audit's table, as 'bce + giou'; by default the winner.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; by default predictions/ in the run directory.")
    ] = None,
    score: Annotated[
        float | None, typer.Option(help="Draw from this score on; by default that with the best F1 on val.")
    ] = None,
    count: Annotated[int, typer.Option(help="Single pictures of a split, at most.")] = 24,
    detector: CodeAgain = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw what the detector of a run finds on photographs; it is trained once, and its weights are kept."""
    folders = [
        text for text in data or [] if os.path.isdir(text) or (":" in text and not os.path.exists(text))
    ]
    photographs = [*(images or []), *(Path(text) for text in data or [] if text not in folders)]
    if len(folders) > 1:
        raise ConfigError(f"--data: expected one data set, got {' and '.join(folders)}")
    result = cse_autoloss.predict_images(
        run,
        photographs,
        data=folders[0] if folders else None,
        split=split,
        loss=loss,
        out=out,
        score=score,
        count=count,
        code=(detector,) if detector else (),
        note=silent if quiet or as_json else note,
    )
    if as_json:
        print_json(result.to_dict())
    elif not quiet:
        _print(result)


def _print(result: PredictResult) -> None:
    how = "the best F1 on val" if result.chosen else "as asked for"
    print(f"{result.name}: detections with a score of {result.score:.2g} or more ({how})")
    if result.ap is not None:
        audit = "" if result.test_ap is None else f" (the audit's training: {100 * result.test_ap:.1f})"
        print(
            f"AP {100 * result.ap.ap:.1f}{audit}, AP50 {100 * result.ap.ap50:.1f}, AP75 {100 * result.ap.ap75:.1f} "
            f"on {result.split}; in the pictures {result.right} right, {result.wrong} wrong, {result.missed} missed"
        )
    singles = result.files[1:]
    more = f", {singles[0].name}" + (f" to {singles[-1].name}" if len(singles) > 1 else "")
    print(f"{result.files[0]}{more}; detections.json")
