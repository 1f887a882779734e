"""The audit: are the discovered losses better than those people use, on data that the search never saw?

Winners and baselines are treated alike: the same small grid of box-loss weight and learning rate is tried for each on
the validation split, and weights beyond the grid's ends for whoever is best there; the best setting of each is trained
on the full schedule with the same seeds, and only that is scored on the test split. The gain is the mean of paired
differences, seed by seed, with a bootstrap interval. It is taken over the baseline that did best on test, which
flatters the baseline, and for the one winner that validation chose, which does not flatter the winner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cse_autoloss.bench.jobs import LossPair, Training
from cse_autoloss.bench.statistics import Interval, bootstrap_interval, paired_difference
from cse_autoloss.runs.records import Score

Metric = Literal["ap", "ap50", "ap75"]


@dataclass(frozen=True)
class Contestant:
    """A pair of losses in the audit.

    Attributes:
        name: as it stands in the table.
        pair: the losses.
        discovered: whether the search found it; else it is a baseline.
        val_ap: validation AP on the full schedule with its tuned setting, the mean over the tuning's seeds.
        test: test AP, one a seed, in the order of the seeds; a training that failed counts as 0.
        unit: what the grid's box weights are multiplied by, for a box loss in units far from GIoU's.
    """

    name: str
    pair: LossPair
    discovered: bool
    val_ap: float = math.nan
    test: tuple[float, ...] = ()
    unit: float = 1.0


@dataclass(frozen=True)
class AuditPlan:
    """What an audit trains.

    Attributes:
        seeds: training seeds of the final comparison, the same for all.
        box_weights: grid of the tuning.
        lrs: grid of the tuning.
        tune_epochs: schedule of the tuning.
        tune_seeds: seeds of the tuning; they are not among `seeds`.
        epochs: full schedule.
        train_limit: number of training scenes, None for all.
        confidence: of the intervals.
        resamples: of the bootstrap.
        split: that the final trainings are scored on.
        edge_steps: whoever is best at an end of the grid of box weights has twice that weight tried (half of it at the
            lower end) at its best rate, and so on, so many times at most: no grid suits every loss.
    """

    seeds: tuple[int, ...]
    box_weights: tuple[float, ...]
    lrs: tuple[float, ...]
    tune_epochs: float
    tune_seeds: tuple[int, ...]
    epochs: float
    train_limit: int | None = None
    confidence: float = 0.95
    resamples: int = 10_000
    split: Literal["val", "test"] = "test"
    edge_steps: int = 0

    def tuning(self, contestants: Sequence[Contestant], task: str) -> list[Training]:
        """Trainings that choose each contestant's weight and rate, on validation."""
        grid = [(weight, lr) for weight in self.box_weights for lr in self.lrs]
        return [t for one in contestants for setting in grid for t in self._tuning(one, setting, task)]

    def further(
        self, contestants: Sequence[Contestant], task: str, scores: Mapping[str, Score]
    ) -> list[Training]:
        """What is still to be trained beyond the grid's ends, now that `scores` are known by training key."""
        return [
            training
            for one in contestants
            for setting in self._tried(one, task, scores)
            for training in self._tuning(one, setting, task)
            if training.key not in scores
        ]

    def settled(self, one: Contestant, task: str, scores: Mapping[str, Score]) -> Contestant:
        """The contestant with the setting that did best on validation."""
        tried = self._tried(one, task, scores)
        worth = {setting: self._worth(one, setting, task, scores) for setting in tried}
        best = max(worth, key=lambda setting: worth[setting])
        return replace(one, pair=self._tuning(one, best, task)[0].pair, val_ap=worth[best])

    def _tried(self, one: Contestant, task: str, scores: Mapping[str, Score]) -> list[tuple[float, float]]:
        """(box weight, rate): the grid, and what lies beyond its ends as far as `scores` lead there."""
        tried = [(weight, lr) for weight in self.box_weights for lr in self.lrs]
        for _ in range(self.edge_steps if len(set(self.box_weights)) > 1 else 0):
            if any(t.key not in scores for setting in tried for t in self._tuning(one, setting, task)):
                break
            weight, lr = max(tried, key=lambda setting: self._worth(one, setting, task, scores))
            weights = [weight for weight, _ in tried]
            if weight == max(weights):
                tried.append((2 * weight, lr))
            elif weight == min(weights):
                tried.append((weight / 2, lr))
            else:
                break
        return tried

    def _tuning(self, one: Contestant, setting: tuple[float, float], task: str) -> list[Training]:
        weight, lr = setting
        pair = one.pair.tuned(weight * one.unit, lr)
        return [
            Training("tune", pair, seed, self.tune_epochs, "val", self.train_limit, task)
            for seed in self.tune_seeds
        ]

    def _worth(
        self, one: Contestant, setting: tuple[float, float], task: str, scores: Mapping[str, Score]
    ) -> float:
        return _mean([_figure(scores.get(t.key)) for t in self._tuning(one, setting, task)])

    def finished(
        self, contestants: Sequence[Contestant], task: str, scores: Mapping[str, Score]
    ) -> tuple[int, ...]:
        """Seeds with which every contestant was trained; only these can be compared in pairs."""
        return tuple(
            seed
            for seed in self.seeds
            if all(t.key in scores for t in replace(self, seeds=(seed,)).final(contestants, task))
        )

    def figures(
        self, one: Contestant, task: str, scores: Mapping[str, Score], metric: Metric = "ap"
    ) -> tuple[float, ...]:
        """A contestant's figures on the final split, seed by seed; a training that failed counts as 0."""
        return tuple(_figure(scores[t.key], metric) for t in self.final([one], task))

    def final(self, contestants: Sequence[Contestant], task: str) -> list[Training]:
        """Trainings on the full schedule; seed by seed, so that an early end leaves whole seeds."""
        return [
            Training("audit", one.pair, seed, self.epochs, self.split, self.train_limit, task)
            for seed in self.seeds
            for one in contestants
        ]


Train = Callable[[list[Training]], Mapping[str, Score]]
"""Trains, and gives the scores by key; those that the deadline cut off are missing."""


def tune(contestants: Sequence[Contestant], plan: AuditPlan, task: str, train: Train) -> list[Contestant]:
    """Each contestant with the setting that did best on validation: over the grid, and beyond its ends."""
    scores: dict[str, Score] = {}
    wanted = plan.tuning(contestants, task)
    while wanted:
        found = train(wanted)
        scores.update(found)
        if len(found) < len({training.key for training in wanted}):
            break
        wanted = plan.further(contestants, task, scores)
    return [plan.settled(one, task, scores) for one in contestants]


@dataclass(frozen=True)
class AuditResult:
    """What the audit found.

    Attributes:
        contestants: baselines and winners, each with its setting and test APs.
        best: the winner that validation chose, or None where the search found nothing.
        rival: the baseline with the best mean on test.
        gain: interval of best − rival over paired seeds.
        noise_floor: standard deviation of a mean difference that seeds alone make between two equal losses.
        seeds: number of seeds that every contestant has.
        notes: what was left out or went wrong, in words.
    """

    contestants: tuple[Contestant, ...]
    best: Contestant | None
    rival: Contestant | None
    gain: Interval | None
    noise_floor: float
    seeds: int
    confidence: float = 0.95
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def verdict(self) -> str:
        """One honest sentence."""
        if self.best is None:
            return "The search found no loss that passed every stage."
        if self.rival is None or self.gain is None:
            return "The audit did not finish, so nothing is claimed about test data."
        points = f"{self.gain.mean * 100:+.2f} AP [{self.gain.low * 100:+.2f}, {self.gain.high * 100:+.2f}]"
        against = f"{self.rival.name} (box weight {self.rival.pair.box_weight:g}, tuned alike)"
        if self.gain.low > 0:
            return f"Better than the best baseline, {against}: {points} on test, {self.seeds} paired seeds."
        if self.gain.high < 0:
            return f"Worse than the best baseline, {against}: {points} on test, {self.seeds} paired seeds."
        return (
            f"No better than the best baseline, {against}, as far as {self.seeds} paired seeds can tell: "
            f"{points} on test."
        )

    def interval(self, one: Contestant) -> Interval:
        """Interval of a contestant's mean test AP over seeds."""
        return bootstrap_interval(one.test, confidence=self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """The audit's part of summary.json."""

        def entry(one: Contestant) -> dict[str, Any]:
            return {
                "name": one.name,
                "cls": one.pair.cls,
                "reg": one.pair.reg,
                "box_weight": one.pair.box_weight,
                "lr": one.pair.lr,
                "val_ap": one.val_ap,
                "test_ap": self.interval(one).to_dict() | {"seeds": list(one.test)},
            }

        return {
            "baselines": [entry(one) for one in self.contestants if not one.discovered],
            "winners": [entry(one) for one in self.contestants if one.discovered],
            "noise_floor": self.noise_floor,
            "seeds": self.seeds,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }


def conclude(
    contestants: Sequence[Contestant], plan: AuditPlan, task: str, scores: Mapping[str, Score]
) -> AuditResult:
    """Compare the contestants on test, from the scores of `plan.final`; seeds that lack any score are left out."""
    whole = replace(plan, seeds=plan.finished(contestants, task, scores))
    count = len(whole.seeds)
    notes = []
    if count < len(plan.seeds):
        notes.append(
            f"{len(plan.seeds) - count} of {len(plan.seeds)} seeds were not finished and are left out"
        )
    done = [replace(one, test=whole.figures(one, task, scores)) for one in contestants]
    winners = [one for one in done if one.discovered]
    baselines = [one for one in done if not one.discovered]
    best = max(winners, key=lambda one: one.val_ap, default=None)
    rival = max(baselines, key=lambda one: _mean(one.test), default=None) if count else None
    gain = None
    if best is not None and rival is not None and count:
        gain = paired_difference(best.test, rival.test, confidence=plan.confidence, resamples=plan.resamples)
    return AuditResult(
        tuple(done), best, rival, gain, _noise_floor(done), count, plan.confidence, tuple(notes)
    )


def _figure(score: Score | None, metric: Metric = "ap") -> float:
    value: float | None = getattr(score, metric, None)
    return 0.0 if value is None else value


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _noise_floor(contestants: Sequence[Contestant]) -> float:
    """√(2/n) times the pooled standard deviation of test AP over seeds, within contestants."""
    squares, freedom, n = 0.0, 0, 0
    for one in contestants:
        n = len(one.test)
        mean = _mean(one.test)
        squares += sum((value - mean) ** 2 for value in one.test)
        freedom += max(0, n - 1)
    if not freedom:
        return math.nan
    return math.sqrt(squares / freedom) * math.sqrt(2 / n)
