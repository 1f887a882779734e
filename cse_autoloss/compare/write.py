"""The files of a comparison: comparison.json, comparison.csv, scores.csv and comparison.png."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path

from cse_autoloss.bench.statistics import Interval
from cse_autoloss.compare.plot import plot_comparison
from cse_autoloss.compare.result import METRICS, Comparison

COLUMNS = (
    "loss", "cls", "reg", "alpha", "box_weight", "lr", "val_ap", "seeds", "failed",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    *(f"{metric}_difference{end}" for metric in METRICS for end in ("", "_low", "_high")),
)  # fmt: skip
"""Header of comparison.csv; AP in [0, 1], differences to the first row, empty where nothing can be said."""


def write_comparison(result: Comparison, directory: Path) -> None:
    """Write all files; whole or not at all, one by one.

    Args:
        result: what to write.
        directory: there already.
    """
    document = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
    _replace(directory / "comparison.json", document + "\n")
    _replace(directory / "comparison.csv", _csv(COLUMNS, _rows(result)))
    _replace(directory / "scores.csv", _csv(("loss", "seed", *METRICS), _seeds(result)))
    if result.seeds:
        plot_comparison(result, directory / "comparison.png")


def _rows(result: Comparison) -> Iterable[list[object]]:
    for one in result.standings:
        pair = one.contestant.pair
        row: list[object] = [
            one.contestant.name, pair.cls, pair.reg, pair.alpha, pair.box_weight, pair.lr,
            _number(one.contestant.val_ap), len(result.seeds), one.failed,
        ]  # fmt: skip
        for metric in METRICS:
            row += _cells(result.interval(one, metric))
        for metric in METRICS:
            row += _cells(result.difference(one, metric))
        yield row


def _seeds(result: Comparison) -> Iterable[list[object]]:
    for one in result.standings:
        for place, seed in enumerate(result.seeds):
            yield [one.contestant.name, seed, *(_number(one.scores[metric][place]) for metric in METRICS)]


def _cells(interval: Interval | None) -> list[object]:
    if interval is None:
        return ["", "", ""]
    return [_number(value) for value in (interval.mean, interval.low, interval.high)]


def _number(value: float) -> object:
    return round(value, 6) if math.isfinite(value) else ""


def _csv(header: Iterable[str], rows: Iterable[list[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return stream.getvalue()


def _replace(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
