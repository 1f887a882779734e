"""Fits a run to its budget: how large the search and the audit may be on this machine, and what was shrunk.

A budget is wall time for everything. The audit's share is reserved beforehand, because a search without one proves
nothing. Costs come from one real training on the machine at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

MIN_PROXIES = 40
"""With fewer trainings than this a search is hardly one: the schedule is shortened until so many fit."""

LEAST = 0.2
"""Of the asked proxy schedule: a shorter one tells losses apart by chance, and no table is printed of it."""

SHARES = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)
"""Of the data that are trained on, where the budget is short."""

PAIRING_SHARE = 0.2
"""Of the time that the audit leaves, what the trainings of the best losses' pairs may take."""

FINALISTS = 1 / 3
"""Share of the pairs that is trained with further seeds."""

REPORT_SECONDS = 4.0
"""Set aside for export, drawings and summary."""

TRAIN_SAMPLES = "train samples"
"""Under this name a run's store keeps how many there are."""


def finalists(count: int) -> int:
    """How many of `count` pairs are trained with further seeds."""
    return math.ceil(FINALISTS * count)


@dataclass(frozen=True)
class Cost:
    """What a training costs on one worker.

    Attributes:
        epoch: seconds an epoch over all the data.
        score: seconds to score.
        quick: seconds an epoch of the search's trainings, where these have another optimiser or precision.
    """

    epoch: float
    score: float
    quick: float | None = None

    @property
    def of_search(self) -> Cost:
        """Of the search's trainings."""
        return self if self.quick is None else Cost(self.quick, self.score)

    def training(self, epochs: float, share: float = 1.0) -> float:
        """Seconds of one training on a share of the data."""
        return self.epoch * epochs * share + self.score


@dataclass(frozen=True)
class AuditSize:
    """How large an audit is; `tuning` is the number of trainings that the tuning of each contestant has.

    Of the winners one is trained on test, the best after the tuning.
    """

    winners: int
    baselines: int
    tuning: int
    tune_epochs: float
    seeds: int
    epochs: float

    def seconds(self, cost: Cost, share: float) -> float:
        """Worker-seconds."""
        tuning = (self.winners + self.baselines) * self.tuning * cost.training(self.tune_epochs, share)
        return tuning + (1 + self.baselines) * self.seeds * cost.training(self.epochs, share)


@dataclass(frozen=True)
class RunSize:
    """What fits.

    Attributes:
        search_seconds: wall time from the run's start until the search ends.
        epochs: schedule of a proxy training.
        share: part of the training data that is used, in (0, 1].
        offspring: candidates trained in a generation.
        combine: how many of each slot are paired at the end.
        audit: of the audit.
        notes: what was shrunk or grown against the configuration, in words.
        combine_epochs: schedule of the pairs' trainings; None for that of the search.
        too_short: why the budget holds no search worth a table, and what would, in words; empty where it does.
    """

    search_seconds: float
    epochs: float
    share: float
    offspring: int
    combine: int
    audit: AuditSize
    notes: tuple[str, ...]
    combine_epochs: float | None = None
    too_short: str = ""


def fit(
    budget: float,
    elapsed: float,
    workers: int,
    cost: Cost,
    audit_share: float,
    epochs: float,
    offspring: int,
    audit: AuditSize,
    combine: int = 3,
    combine_epochs: float = 0.0,
    combine_seeds: int = 1,
) -> RunSize:
    """The largest run, up to what the configuration asks for, that ends within the budget.

    Args:
        budget: wall seconds in all.
        elapsed: wall seconds that start-up took.
        workers: trainings side by side.
        cost: measured on this machine.
        audit_share: part of the budget that is the audit's.
        epochs: schedule of a proxy training, as configured.
        offspring: candidates trained in a generation, as configured.
        audit: as configured; seeds may also grow, up to twice, where time is left.
        combine: as configured.
        combine_epochs: schedule of the pairs' trainings, as configured; 0 for that of the search.
        combine_seeds: seeds of the best pairs' trainings.
    """
    notes: list[str] = []
    audit_wall = budget * audit_share - REPORT_SECONDS / 2
    search_wall = budget * (1 - audit_share) - elapsed - REPORT_SECONDS / 2
    share, proxies = 1.0, 0.0
    for share, proxy_epochs in _schedules(epochs):
        proxies = search_wall * workers / cost.of_search.training(proxy_epochs, share)
        if proxies >= MIN_PROXIES:
            break
    if (share, proxy_epochs) != (1.0, epochs):
        notes.append(
            f"proxy training: {proxy_epochs:g} epochs on {share:.0%} of the data (asked for {epochs:g})"
        )
    too_short = ""
    if share * proxy_epochs < LEAST * epochs:
        least = min(
            cost.of_search.training(each, part)
            for part, each in _schedules(epochs)
            if part * each >= LEAST * epochs
        )
        needed = (MIN_PROXIES * least / workers + elapsed + REPORT_SECONDS / 2) / (1 - audit_share)
        too_short = (
            f"Too short for a search: trainings of {proxy_epochs:g} epochs on {share:.0%} of the data tell losses "
            f"apart by chance. On this machine a budget of at least {math.ceil(needed / 60)}m is needed."
        )
    # About eight generations at least, or evolution has no time to work.
    fitted = max(3, min(offspring, int(proxies / 8)))
    if fitted < offspring:
        notes.append(f"offspring: {fitted} (asked for {offspring})")
    pairs, paired_epochs, pairing = _fit_pairs(
        combine,
        [combine_epochs or proxy_epochs, proxy_epochs],
        combine_seeds,
        cost,
        share,
        search_wall * workers,
    )
    pairing /= workers
    if (pairs, paired_epochs) != (combine, combine_epochs or proxy_epochs):
        notes.append(
            f"pairing: {pairs} of each slot for {paired_epochs:g} epochs "
            f"(asked for {combine} for {combine_epochs or epochs:g})"
        )
    sized = _fit_audit(audit, cost, share, audit_wall * workers * 0.9, notes)
    used = sized.seconds(cost, share) / workers / 0.9
    # What the audit can not use goes to the search.
    search_end = max(budget - REPORT_SECONDS - used - pairing, elapsed)
    return RunSize(
        search_end, proxy_epochs, share, fitted, pairs, sized, tuple(notes), paired_epochs, too_short
    )


def train_limit(share: float, samples: int, batch: int) -> int | None:
    """Samples to train on: that share of them, a batch at least; None for all, and where nobody tells how many."""
    return None if share >= 1 or not samples else max(batch, round(share * samples))


def fit_audit(size: RunSize, left: float, workers: int, cost: Cost, audit: AuditSize) -> RunSize:
    """The same run with its audit fitted anew, when the search is over and costs are known better.

    Args:
        size: as it was planned.
        left: wall seconds to the end of the budget.
        workers: trainings side by side.
        cost: as the search's trainings showed it.
        audit: as configured.
    """
    notes = [note for note in size.notes if not note.startswith("audit: ")]
    sized = _fit_audit(audit, cost, size.share, max(0.0, left - REPORT_SECONDS) * workers * 0.9, notes)
    return replace(size, audit=sized, notes=tuple(notes))


def _schedules(epochs: float) -> list[tuple[float, float]]:
    """(share of the data, epochs), ever cheaper."""
    full = [(1.0, epochs * part) for part in (1.0, 0.75, 0.5) if epochs * part >= 2]
    return [(1.0, epochs), *full[1:], *((share, min(epochs, 3.0)) for share in SHARES)]


def _fit_pairs(
    most: int, schedules: Sequence[float], seeds: int, cost: Cost, share: float, seconds: float
) -> tuple[int, float, float]:
    """How many of each slot are paired, for how many epochs, and its worker-seconds: a fifth of the search's or so.

    A schedule that leaves two of each slot is taken before a shorter one that leaves more.
    """
    for epochs in schedules:
        for count in range(most, min(1, most - 1), -1):
            pairs = count * (count + 2)
            needed = (pairs + (seeds - 1) * finalists(pairs)) * cost.training(epochs, share)
            if needed <= PAIRING_SHARE * seconds:
                return count, epochs, needed
    return 1, epochs, (3 + (seeds - 1)) * cost.training(epochs, share)


def _fit_audit(audit: AuditSize, cost: Cost, share: float, seconds: float, notes: list[str]) -> AuditSize:
    sized = audit
    while sized.seconds(cost, share) > seconds:
        smaller = _smaller(sized)
        if smaller == sized:
            notes.append("the audit is at its smallest and may overrun its share of the budget")
            break
        sized = smaller
    if sized != audit:
        notes.append(
            f"audit: {sized.winners} winner(s) and {sized.baselines} baseline(s), {sized.seeds} seeds, "
            f"{sized.epochs:g} epochs, {sized.tuning} tuning training(s) each "
            f"(asked for {audit.winners}, {audit.baselines}, {audit.seeds}, {audit.epochs:g}, {audit.tuning})"
        )
        return sized
    # Time that is left goes to more finalists and more seeds in turn.
    for extra in range(1, max(audit.winners, audit.seeds) + 1):
        for larger in (
            replace(sized, winners=audit.winners + min(extra, audit.winners)),
            replace(sized, seeds=audit.seeds + min(extra, audit.seeds)),
        ):
            larger = replace(
                larger, winners=max(larger.winners, sized.winners), seeds=max(larger.seeds, sized.seeds)
            )
            if larger.seconds(cost, share) <= seconds:
                sized = larger
    if sized != audit:
        notes.append(
            f"audit: {sized.winners} finalists and {sized.seeds} seeds, because time is left "
            f"(asked for {audit.winners} and {audit.seeds})"
        )
    return sized


def _smaller(size: AuditSize) -> AuditSize:
    """One step down; what says least about the winner goes first."""
    # A third less; one training alone would compare losses by their scale, so it comes last.
    less = replace(size, tuning=size.tuning * 2 // 3)
    if size.winners > 2:
        return replace(size, winners=size.winners - 1)
    if size.baselines > 4:
        return replace(size, baselines=size.baselines - 1)
    if size.tuning > 8:
        return less
    if size.winners > 1:
        return replace(size, winners=1)
    # Plain losses alone are no opponents: the two strongest known stay beside the plain one as long as they can.
    if size.baselines > 3:
        return replace(size, baselines=size.baselines - 1)
    if size.tuning > 5:
        return less
    if size.epochs > size.tune_epochs:
        return replace(size, epochs=max(size.tune_epochs, round(size.epochs * 0.75, 1)))
    if size.tuning > 3:
        return less
    if size.seeds > 5:
        return replace(size, seeds=size.seeds - 1)
    if size.baselines > 2:
        return replace(size, baselines=size.baselines - 1)
    if size.seeds > 3:
        return replace(size, seeds=size.seeds - 1)
    if size.tune_epochs > 1:
        shorter = max(1.0, size.tune_epochs / 2)
        return replace(size, tune_epochs=shorter, epochs=max(1.0, size.epochs / 2))
    if size.seeds > 2:
        return replace(size, seeds=2)
    if size.tuning > 1:
        return less
    if size.baselines > 1:
        return replace(size, baselines=1)
    return size
