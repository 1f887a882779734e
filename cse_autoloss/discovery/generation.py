"""A generation on its way through the filters and the trainings, and what it adds to a run's counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.schedule import Pending
from cse_autoloss.discovery.funnel import Entrant, GenerationRecord
from cse_autoloss.discovery.halving import Outcome
from cse_autoloss.runs import Score
from cse_autoloss.searches.protocol import Member


@dataclass
class Generation:
    """A generation on its way.

    Attributes:
        number: counted from 0.
        slot: that it works on.
        chosen: candidates that passed both filters.
        record: what the filters decided.
        counts: what its filters added to the status' counts.
        climbers, others: what it trains: newcomers that climb the ladder, and whatever is trained to the end.
        climbing, whole: their trainings, once they have been started.
        told: what its trainings turned out to be worth, by formula; None for one that failed or was stopped early.
    """

    number: int
    slot: str
    chosen: list[Entrant]
    record: GenerationRecord
    counts: dict[str, Any]
    climbers: list[tuple[Member, Training]] = field(default_factory=list)
    others: list[tuple[Member, Training]] = field(default_factory=list)
    climbing: Pending[dict[str, Outcome]] | None = None
    whole: Pending[dict[str, Score]] | None = None
    told: dict[str, float | None] = field(default_factory=dict)


def added(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What the filters counted between two looks at the status' counts."""
    stages = tuple(after["rejected"])
    funnel = Counter(after["funnel"])
    funnel.subtract(before["funnel"])
    rejected = {stage: Counter(after["rejected"].get(stage, {})) for stage in stages}
    for stage in stages:
        rejected[stage].subtract(before["rejected"].get(stage, {}))
    return {"funnel": dict(funnel), "rejected": {stage: dict(codes) for stage, codes in rejected.items()}}


def without(counts: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """The counts without what `added` gave."""
    funnel = Counter(counts["funnel"])
    funnel.subtract(added.get("funnel", {}))
    rejected = {stage: Counter(codes) for stage, codes in counts["rejected"].items()}
    for stage, codes in added.get("rejected", {}).items():
        rejected.setdefault(stage, Counter()).subtract(codes)
    return {"funnel": dict(funnel), "rejected": {stage: dict(+codes) for stage, codes in rejected.items()}}
