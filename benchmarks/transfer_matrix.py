"""Do losses that were found on small scenes hold elsewhere? Each kind of data is a column, each pair of losses a row.

    python benchmarks/transfer_matrix.py DIR [--columns plain cluttered sparse two-stage bccd sparse-bccd]
        [--bccd FOLDER] [--workers N] [--seeds N]
        [--found CLS+REG] [--also NAME=CLS+REG ...] [--rivals NAME ...]
        [--of NAME]

Each column is a comparison of its own in DIR (as `cse-autoloss compare` makes them), tuned alike on validation and
scored on test with paired seeds; a killed one is gone on with by the same command. Prints a table in Markdown for
each column that is there, with the gain of the found loss over every other.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cse_autoloss.bench.statistics import Interval, mean_interval, paired_difference
from cse_autoloss.compare.live import watch
from cse_autoloss.compare.run import compare_losses

FOUND_CLS = (
    "Neg(Add(Mul(Q,Add(Mul(Q,Log(Sig(X))),Mul(Sub(1,Q),Log(Sub(2,Sig(X)))))),Mul(Mul(Sub(2,Div(Q,Q)),"
    "Div(2,Add(1,2))),Mul(Mul(Sig(X),Sig(X)),Log(Sub(1,Sig(NY)))))))"
)
FOUND_BOX = "Sub(1,Mul(Div(I,U),Div(I,U)))"
"""Discovered pair 3 of the one-hour search in docs/benchmarks.md, which validation chose. Its box loss is 1 − IoU²."""

ONE_STAGE = (
    "cse-autoloss-b=cse-autoloss-b-cls+cse-autoloss-b-reg",
    "quality-focal+square-iou",
    "quality-focal+giou",
    "focal+giou",
    "bce+giou",
    "bce+l1",
)
_POSITIVE = "Neg(Mul(Mul(Sub(1,Sig(X)),Sub(1,Sig(X))),Log(Sig(X))))"
_NEGATIVE = "Neg(Mul(Mul(Sig(X),Sig(X)),Log(Sub(1,Sig(X)))))"
_QUARTER, _THREE_QUARTERS = "Div(1,Add(2,2))", "Div(3,Add(2,2))"
_TENTH = "Div(1,Add(1,Mul(3,3)))"


def _recalibrated(positive: str, negative: str, start: str, background: str = "1") -> str:
    """Background recalibration loss: focal loss, but a negative with p above `start` is taken for a positive.

    Source: Zhang et al., ICASSP 2020. There `start` is 1 − t, and with 50 % of the boxes missing the background away
    from all objects has the weight 0.1. Here all background has, for a cell's loss doesn't know of its neighbours.

    Args:
        positive, negative: weights of the two kinds (α and 1 − α).
        start: p from which on a negative counts as a positive.
        background: weight of all negatives.
    """
    over = f"Sub(Sig(X),{start})"
    mirrored = f"Div(Relu({over}),{over})"  # 1 where p > start, else 0
    kept = f"Mul({negative},Mul(Sub(1,{mirrored}),{_NEGATIVE}))"
    turned = f"Mul({positive},Mul({mirrored},{_POSITIVE}))"
    return f"Add(Mul({positive},Mul(PY,{_POSITIVE})),Mul({background},Mul(NY,Add({kept},{turned}))))"


SPARSE = (
    "varifocal+giou",
    *ONE_STAGE,
    f"recalibrated-0.1={_recalibrated(_QUARTER, _THREE_QUARTERS, f'Sub(1,{_TENTH})')}+giou",
    f"recalibrated-0.5={_recalibrated(_QUARTER, _THREE_QUARTERS, 'Div(1,2)', _TENTH)}+giou",
    f"recalibrated-0.25={_recalibrated('1', '1', _THREE_QUARTERS)}+giou",
)
"""Also what people use where objects lack their boxes: t and weights as the release has them by default and for 50 %
missing boxes, and t = 0.25 without α, the best of three settings in a look at validation with one seed."""

TWO_STAGE = (
    "cse-autoloss-a=cse-autoloss-a-cls+cse-autoloss-a-reg",
    "cross-entropy+giou",
    "softmax-focal+giou",
    "cross-entropy+l1",
)
"""Of the pair found the box loss alone carries over: the classification loss is none for a softmax head."""


MISSING = {"detection.faults.unlabelled": 0.5}
ONE_RATE = {"audit.ranges": {"lr": [1.0, 1.0]}}
"""Three settings are tried for each, not six: the columns beside the first cost half as much to tune."""


@dataclass(frozen=True)
class Column:
    """A kind of data and detector.

    Attributes:
        rivals: of what was found, as `cse-autoloss compare` takes them.
        config: name of the configuration.
        overrides: of its settings.
    """

    title: str
    rivals: tuple[str, ...]
    config: str = "detection"
    overrides: dict[str, Any] = field(default_factory=dict)


COLUMNS = {
    "plain": Column("digits, plain scenes, one-stage", ONE_STAGE),
    "cluttered": Column(
        "digits, cluttered scenes, one-stage",
        ONE_STAGE,
        overrides={
            **ONE_RATE,
            "detection.scenes.clutter": 4,
            "detection.scenes.overlap": 0.2,
            "detection.scenes.size": [12, 30],
        },
    ),
    "sparse": Column("digits, plain scenes, half of the boxes missing, one-stage", SPARSE, overrides=MISSING),
    "two-stage": Column("digits, crowded scenes, two-stage", TWO_STAGE, "detection_two_stage", ONE_RATE),
    "bccd": Column("photographs of blood cells (bccd), one-stage", ONE_STAGE, overrides=ONE_RATE),
    "sparse-bccd": Column(
        "photographs of blood cells (bccd), half of the boxes missing, one-stage",
        SPARSE,
        overrides={**ONE_RATE, **MISSING},
    ),
}


def main() -> None:
    """Parse the command line, train what is missing, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--columns", nargs="*", default=list(COLUMNS), choices=list(COLUMNS))
    parser.add_argument("--bccd", default="../shared/data/bccd", help="folder in COCO's format")
    parser.add_argument("--bccd-epochs", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--found", default=f"{FOUND_CLS}+{FOUND_BOX}", help="the pair whose gains are told")
    parser.add_argument("--also", nargs="*", default=[], help="further contestants, NAME=CLS+REG")
    parser.add_argument("--rivals", nargs="*", help="of those, these alone")
    parser.add_argument("--of", help="whose gains are told; by default those of the pair found")
    parser.add_argument("--print", action="store_true", help="train nothing")
    options = parser.parse_args()
    for name in options.columns:
        if not options.print:
            _train(name, options)
        file = options.directory / name / "comparison.json"
        if file.exists():
            _print(COLUMNS[name], json.loads(file.read_text(encoding="utf-8")), options.of)


def _train(name: str, options: argparse.Namespace) -> None:
    column, directory = COLUMNS[name], options.directory / name
    workers: dict[str, Any] = {} if options.workers is None else {"workers": options.workers}
    if options.workers == 1:
        workers = {"executor": "inprocess"}
    bccd = {
        "detection.data": f"coco:{options.bccd}",
        "audit.epochs": options.bccd_epochs,
        "audit.tune_epochs": options.bccd_epochs,
    }

    def say(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    with watch() as observer:
        if (directory / "run.sqlite").exists():
            compare_losses(
                resume=directory, seeds=options.seeds, overrides=workers, observer=observer, say=say
            )
        else:
            data = bccd if name.endswith("bccd") else {"detection.data": "digits"}
            overrides = {**column.overrides, **data, **workers}
            rivals = [
                one for one in column.rivals if one.split("=")[0] in (options.rivals or [one.split("=")[0]])
            ]
            found = f"found={options.found}"
            if column.config != "detection":
                found = f"cross-entropy + found box=cross-entropy+{options.found.rpartition('+')[2]}"
            compare_losses(
                [found, *options.also, *rivals],
                config=column.config,
                overrides=overrides,
                seeds=options.seeds,
                out=directory,
                observer=observer,
                say=say,
            )


def _print(column: Column, result: dict[str, Any], name: str | None) -> None:
    first = next((one for one in result["losses"] if one["name"] == name), result["losses"][0])
    print(f"\n**{column.title}**: {result['epochs']:g} epochs, {len(result['seeds'])} paired seeds, test\n")
    print(f"| loss | AP | AP50 | AP75 | weight | lr | AP of {first['name']} less it |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for one in result["losses"]:
        gain = ""
        if one is not first and result["seeds"]:
            gain = _signed(paired_difference(first["ap"]["seeds"], one["ap"]["seeds"]))
        ap = mean_interval(one["ap"]["seeds"])
        print(
            f"| {one['name']} | {100 * ap.mean:.2f} [{100 * ap.low:.1f}, {100 * ap.high:.1f}] "
            f"| {100 * one['ap50']['mean']:.2f} | {100 * one['ap75']['mean']:.2f} "
            f"| {one['settings']['box_weight']:g} | {one['settings']['lr']:g} | {gain} |"
        )
    for note in result["notes"]:
        print(f"\nNote: {note}.")


def _signed(interval: Interval) -> str:
    return f"{100 * interval.mean:+.2f} [{100 * interval.low:+.2f}, {100 * interval.high:+.2f}]"


if __name__ == "__main__":
    main()
