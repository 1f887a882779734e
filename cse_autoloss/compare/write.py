"""The files of a comparison: comparison.json, comparison.csv, scores.csv and comparison.png."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path

from cse_autoloss.bench.audit import Contestant
from cse_autoloss.bench.statistics import Interval
from cse_autoloss.compare.plot import plot_comparison
from cse_autoloss.compare.result import Comparison
from cse_autoloss.losses.catalogue import stated_weight
from cse_autoloss.losses.negatives import NEGATIVES
from cse_autoloss.runs import write_whole


def columns(result: Comparison) -> list[str]:
    """Header of comparison.csv; differences are gains over the first row, empty where nothing can be said."""
    losses = result.standings[0].contestant.losses
    names = [metric.name for metric in result.metrics]
    return [
        "loss", *losses.losses, "alpha", *losses.tuned, *_weight_of_negatives(result), "val", "seeds", "failed",
        *(f"{name}{end}" for name in names for end in ("", "_low", "_high")),
        *(f"{name}_difference{end}" for name in names for end in ("", "_low", "_high")),
    ]  # fmt: skip


def write_comparison(result: Comparison, directory: Path) -> None:
    """Write all files; whole or not at all, one by one.

    Args:
        result: what to write.
        directory: there already.
    """
    document = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
    write_whole(directory / "comparison.json", document + "\n")
    write_whole(directory / "comparison.csv", _csv(columns(result), _rows(result)))
    write_whole(
        directory / "scores.csv",
        _csv(("loss", "seed", *(metric.name for metric in result.metrics)), _seeds(result)),
    )
    if result.seeds:
        plot_comparison(result, directory / "comparison.png")


def _rows(result: Comparison) -> Iterable[list[object]]:
    for one in result.standings:
        losses = one.contestant.losses
        row: list[object] = [
            one.contestant.name, *losses.losses.values(), losses.alpha, *losses.tuned.values(),
            *(_weight(one.contestant) for _ in _weight_of_negatives(result)),
            _number(one.contestant.val), len(result.seeds), one.failed,
        ]  # fmt: skip
        for metric in result.metrics:
            row += _cells(result.interval(one, metric))
        for metric in result.metrics:
            row += _cells(result.difference(one, metric))
        yield row


def _weight_of_negatives(result: Comparison) -> tuple[str, ...]:
    """Its column, where it was tuned."""
    return (NEGATIVES.name,) if result.plan.negatives else ()


def _weight(one: Contestant) -> object:
    """What the tuning chose; empty where the loss has none, or has it under a name of its own."""
    if NEGATIVES.name not in one.axes:
        return None
    stated = [*dict(one.inner).values(), *map(stated_weight, one.losses.losses.values())]
    return next((weight for weight in stated if weight is not None), 1.0)


def _seeds(result: Comparison) -> Iterable[list[object]]:
    for one in result.standings:
        for place, seed in enumerate(result.seeds):
            yield [one.contestant.name, seed, *(_number(one.scores[m.name][place]) for m in result.metrics)]


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
