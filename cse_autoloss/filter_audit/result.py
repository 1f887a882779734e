"""What the audit of the filters found, as values for JSON and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cse_autoloss.filter_audit.estimate import Rate
from cse_autoloss.tasks.protocol import Metric

TARGETS = {"verify": 0.01, "simulate": 0.05}
"""Less than this share of a filter's rejections should have been as good as the median survivor."""


@dataclass(frozen=True)
class Hit:
    """A rejected candidate that beat the median survivor.

    Attributes:
        slot, formula, stage, source: of the candidate.
        code, reason: why it was rejected.
        worth, median: its worth (the metric, negated where lower is better) and that of the median survivor.
        weight: how many of the rejected it stands for.
        same_as: formula of a candidate with the same gradients that went further, or empty.
        again: worth with further seeds, where they were asked for.
        confirmed: whether the mean of those is above the median too; None where none was asked for.
    """

    slot: str
    formula: str
    stage: str
    source: str
    code: str
    reason: str
    worth: float
    median: float
    weight: float
    same_as: str = ""
    again: tuple[float, ...] = ()
    confirmed: bool | None = None


@dataclass(frozen=True)
class Row:
    """The figures of one filter and source ("all" for both together).

    Attributes:
        rejected: how many the filter threw away in the run.
        trained: trainings that this took; one serves all candidates with the same loss.
        failed: drawn candidates whose training diverged, failed or took too long: no hits.
        rate: share of the rejected that would have beaten the median survivor.
    """

    stage: str
    source: str
    rejected: int
    trained: int
    failed: int
    rate: Rate


@dataclass(frozen=True)
class FilterAudit:
    """The whole result.

    Attributes:
        rows: for each filter: bred, random, all.
        medians: by slot, worth of the median survivor.
        survivors: by slot, how many it is the median of.
        hits: every hit, best first.
        confidence: of intervals and bounds.
        schedule: what was trained, in words.
        metric: that candidates were scored by.
        complete: False where it was interrupted: only what was trained by then is counted.
    """

    rows: tuple[Row, ...]
    medians: Mapping[str, float]
    survivors: Mapping[str, int]
    hits: tuple[Hit, ...]
    confidence: float
    schedule: str
    metric: Metric
    complete: bool
    notes: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "targets": TARGETS, "verdicts": self.verdicts}

    @property
    def verdicts(self) -> list[str]:
        """One sentence a filter: whether its target was shown to be met."""
        return [_verdict(row, self.confidence) for row in self.rows if row.source == "all"]


def _verdict(row: Row, confidence: float) -> str:
    target = TARGETS[row.stage]
    if not row.rate.draws:
        return f"{row.stage}: nothing that it rejected was trained."
    words = (
        f"{row.stage}: with {confidence:.0%} confidence, fewer than {row.rate.bound:.2%} of its rejections would have "
        f"beaten the median survivor (estimate {row.rate.share:.2%})"
    )
    aim = f"Target: fewer than {target:.0%}."
    if row.rate.bound < target:
        return f"{words}. {aim} Shown."
    if row.rate.low >= target:
        return f"{words}. {aim} Missed."
    return f"{words}. {aim} Not shown by so many trainings; {needed(target)} without a hit would show it."


def needed(target: float) -> int:
    """Draws without a hit that show a share below `target` with 95 % confidence: the rule of three."""
    return round(3 / target)


def render(result: FilterAudit) -> Sequence[Any]:
    """Rich renderables: a table, the medians, hits and the verdicts."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False, title="What the filters threw away", title_justify="left")
    table.add_column("filter", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for name in ("rejected", "drawn", "failed", "hits", "share", f"{result.confidence:.0%} interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        found = row.rate
        drawn = found.draws > 0
        table.add_row(
            row.stage, row.source, f"{row.rejected:,}", str(found.draws), str(row.failed), str(found.hits),
            f"{found.share:.2%}" if drawn else "", f"[{found.low:.2%}, {found.high:.2%}]" if drawn else "",
            style="bold" if row.source == "all" else None,
        )  # fmt: skip
    parts: list[Any] = [table]

    def told(worth: float) -> str:
        return f"{result.metric.text(result.metric.figure(worth), 1)} {result.metric.label}"

    medians = "; ".join(
        f"{slot} {told(worth)} (of {result.survivors[slot]})" for slot, worth in result.medians.items()
    )
    parts.append(Text(f"A hit beats the median survivor: {medians}. {result.schedule}"))
    for hit in result.hits:
        same = f", same gradients as {hit.same_as}" if hit.same_as else ""
        sure = {None: "", True: ", confirmed", False: ", not confirmed by further seeds"}[hit.confirmed]
        parts.append(Text(f"Hit: {told(hit.worth)}, {hit.stage} ({hit.code}){sure}{same}: {hit.formula}"))
    parts += [Text(f"Note: {note}") for note in result.notes]
    parts += [Text(words, style="bold") for words in result.verdicts]
    return parts
