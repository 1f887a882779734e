"""The audit: are the discovered losses better than those people use, on data that the search never saw?

Winners and baselines are treated alike: each has the same number of trainings on the validation split, which one
optimiser spends on the joint space of the task's tunables (weights of slots, learning rate) and of the inner parameters
that its losses leave open (γ, ε, q, ...); `audit.negative_weight` adds the weight of negatives for whoever has none of
its own. The best point of each is trained on the full schedule with the same seeds,
and only that is scored on the test split. Where data are drawn, seed i trains and is tested on draw i, which no search,
tuning or default has used: intervals are over seeds and draws. The gain is the mean of paired differences. It is taken
over the baseline that did best on test, which flatters the baseline, and for the one winner that validation chose,
which does not flatter the winner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cse_autoloss.bench.audit_words import gain_text, seeds_text, tuned
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.negatives import negatives_told
from cse_autoloss.bench.statistics import (
    Interval,
    by_draw,
    gains,
    mean_interval,
    noise_floor,
    p_value,
    told_apart,
)
from cse_autoloss.bench.tuning import Axis, Point, Trial, best, due
from cse_autoloss.losses import is_point_of, open_parameters, with_parameters
from cse_autoloss.losses.family import Parameter, called, chosen
from cse_autoloss.losses.negatives import NEGATIVES
from cse_autoloss.runs.records import Score
from cse_autoloss.tasks.protocol import Metric


@dataclass(frozen=True)
class Contestant:
    """Losses that take part in an audit.

    Attributes:
        name: as it stands in the table.
        losses: of each slot; with the tuned settings and inner parameters once they are known.
        discovered: whether the search found them; else they are a baseline.
        val: validation figure of the metric on the full schedule with the tuned setting, the mean over the tuning's
            seeds.
        test: test figures, one a seed, in the order of the seeds; a training that failed counts as the metric's worst.
        units: (tunable, what its values are multiplied by), for a loss in units far from the usual.
        trainings: that its tuning had.
        inner: (parameter, value) that the tuning chose inside formulas, which no name tells: the weight of negatives.
        axes: names of what its tuning moved.
    """

    name: str
    losses: LossSet
    discovered: bool
    val: float = math.nan
    test: tuple[float, ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    trainings: int = 0
    inner: tuple[tuple[str, float], ...] = ()
    axes: tuple[str, ...] = ()

    def owns(self, losses: LossSet) -> bool:
        """Whether the losses are these, whatever the settings and the inner parameters that these leave open."""
        return losses.alpha == self.losses.alpha and all(
            is_point_of(losses[slot], text) for slot, text in self.losses.slots
        )


@dataclass(frozen=True)
class AuditPlan:
    """What an audit trains.

    Attributes:
        metric: that decides.
        task: digest of the data and model settings.
        seeds: training seeds of the final comparison, the same for all.
        space: the task's tunables; empty for no tuning.
        tries: trainings of each contestant's tuning.
        tune_epochs: schedule of the tuning.
        tune_seeds: two seeds of the tuning, the second for the best points; they are not among `seeds`.
        epochs: full schedule.
        train_limit: number of training samples, None for all.
        confidence: of the intervals.
        resamples: of the bootstrap.
        split: that the final trainings are scored on.
        draws: of the data, in the final trainings; 0 for the data of the settings. Of more seeds some share one.
        sigmoids: slots of losses of per-class sigmoids, whose negatives can be weighed.
        negatives: least and greatest weight of negatives that are tried in these slots; None where it is not tuned.
    """

    metric: Metric
    task: str
    seeds: tuple[int, ...]
    space: tuple[Axis, ...]
    tries: int
    tune_epochs: float
    tune_seeds: tuple[int, int]
    epochs: float
    train_limit: int | None = None
    confidence: float = 0.95
    resamples: int = 10_000
    split: Literal["val", "test"] = "test"
    draws: int = 0
    sigmoids: tuple[str, ...] = ()
    negatives: tuple[float, float] | None = None

    def draw(self, seed: int) -> int:
        """Of the final training with that seed."""
        return seed % self.draws + 1 if self.draws else 0

    def tuning(self, contestants: Sequence[Contestant], scores: Mapping[str, Score]) -> list[Training]:
        """What is to be trained next on validation, now that `scores` are known by training key."""
        return [
            training
            for one in contestants
            for trial in due(self._axes(one), self.tries, self._worths(one, scores))
            if (training := self._training(one, trial)).key not in scores
        ]

    def settled(self, one: Contestant, scores: Mapping[str, Score]) -> Contestant:
        """The contestant with the point that did best on validation."""
        axes, worths = self._axes(one), self._worths(one, scores)
        point, worth = best(axes, self.tries, worths)
        losses = self._at(one, point)
        return replace(
            one,
            losses=losses,
            axes=tuple(axis.name for axis in axes),
            inner=tuple(
                (axis.name, value)
                for axis, value in zip(axes, point, strict=True)
                if axis.name == NEGATIVES.name and value != axis.default and not called(losses[axis.slot])
            ),
            val=self.metric.figure(worth),
            # One point leaves nothing to choose: that is no tuning.
            trainings=len(worths) if len(worths) > 1 else 0,
        )

    def told(self, contestants: Sequence[Contestant]) -> list[str]:
        """What a reader should know of the tuning besides its trainings' number."""
        return negatives_told(contestants, self.sigmoids, self.negatives) if self.tries > 1 else []

    def _axes(self, one: Contestant) -> tuple[Axis, ...]:
        """The contestant's space."""
        return (
            *self.space,
            *(
                self._inner_axis(inner, slot)
                for slot, text in one.losses.slots
                for inner in open_parameters(
                    text, negatives=self.negatives is not None and slot in self.sigmoids
                )
            ),
        )

    def _inner_axis(self, inner: Parameter, slot: str) -> Axis:
        low, high = self.negatives if inner.name == NEGATIVES.name and self.negatives else inner.span
        default = min(max(inner.default, low), high)
        return Axis(inner.name, default, low, high, inner.log, inner.whole, slot)

    def _at(self, one: Contestant, point: Point) -> LossSet:
        """The contestant's losses, with settings, at a point of its space."""
        values = list(zip(self._axes(one), point, strict=True))
        units = dict(one.units)
        settings = {axis.name: value * units.get(axis.name, 1.0) for axis, value in values if not axis.slot}
        losses = one.losses.with_settings(settings)
        for slot, text in one.losses.slots:
            own = {axis.name: value for axis, value in values if axis.slot == slot}
            losses = losses.with_loss(slot, with_parameters(text, own))
        return losses

    def _training(self, one: Contestant, trial: Trial) -> Training:
        losses, seed = self._at(one, trial.point), self.tune_seeds[trial.seed]
        return Training("tune", losses, seed, self.tune_epochs, "val", self.train_limit, self.task)

    def _worths(self, one: Contestant, scores: Mapping[str, Score]) -> dict[Trial, float]:
        """Of all that was tried, round by round."""
        worths: dict[Trial, float] = {}
        while True:
            keys = {
                trial: self._training(one, trial).key for trial in due(self._axes(one), self.tries, worths)
            }
            found = {trial: _worth(self.metric, scores[key]) for trial, key in keys.items() if key in scores}
            worths |= found
            if not found:
                return worths

    def finished(self, contestants: Sequence[Contestant], scores: Mapping[str, Score]) -> tuple[int, ...]:
        """Seeds with which every contestant was trained; only these can be compared in pairs."""
        return tuple(
            seed
            for seed in self.seeds
            if all(t.key in scores for t in replace(self, seeds=(seed,)).final(contestants))
        )

    def figures(
        self, one: Contestant, scores: Mapping[str, Score], metric: Metric | None = None
    ) -> tuple[float, ...]:
        """A contestant's figures on the final split, seed by seed; a training that failed counts as the worst."""
        chosen = metric or self.metric
        return tuple(chosen.figure(_worth(chosen, scores[t.key])) for t in self.final([one]))

    def final(self, contestants: Sequence[Contestant]) -> list[Training]:
        """Trainings on the full schedule; seed by seed, so that an early end leaves whole seeds. The first is shown."""
        return [
            Training(
                "audit",
                one.losses,
                seed,
                self.epochs,
                self.split,
                self.train_limit,
                self.task,
                draw=self.draw(seed),
                show=seed == self.seeds[0],
            )
            for seed in self.seeds
            for one in contestants
        ]

    def difference(
        self, one: Sequence[float], other: Sequence[float], metric: Metric | None = None
    ) -> Interval:
        """Interval of the paired gain of figures over others, above 0 where they are better."""
        low, high = (metric or self.metric).bounds
        found = mean_interval(
            self._gains(one, other, metric), confidence=self.confidence, resamples=self.resamples
        )
        return found.within((low - high, high - low))

    def chance(self, one: Sequence[float], other: Sequence[float], metric: Metric | None = None) -> float:
        """p of a gain as large where there is none."""
        return p_value(self._gains(one, other, metric))

    def interval(self, figures: Sequence[float], metric: Metric | None = None) -> Interval:
        """Interval of a mean figure, within what the metric can be."""
        found = mean_interval(self.values(figures), confidence=self.confidence, resamples=self.resamples)
        return found.within((metric or self.metric).bounds)

    def _gains(self, one: Sequence[float], other: Sequence[float], metric: Metric | None) -> list[float]:
        chosen = metric or self.metric
        return self.values(gains(*([chosen.figure(value) for value in values] for values in (one, other))))

    def values(self, values: Sequence[float]) -> list[float]:
        """Independent values of one a seed: where seeds share a draw of the data, their mean."""
        return by_draw(values, [self.draw(seed) for seed in self.seeds]) if self.draws else list(values)


Train = Callable[[list[Training]], Mapping[str, Score]]
"""Trains, and gives the scores by key; those that the deadline cut off are missing."""


def tune(contestants: Sequence[Contestant], plan: AuditPlan, train: Train) -> list[Contestant]:
    """Each contestant with the point that did best on validation, as far as the trainings came."""
    scores: dict[str, Score] = {}
    while wanted := plan.tuning(contestants, scores):
        found = train(wanted)
        scores.update(found)
        if any(training.key not in found for training in wanted):
            break
    return [plan.settled(one, scores) for one in contestants]


@dataclass(frozen=True)
class Difference:
    """The best winner's gain over one other contestant.

    Attributes:
        gain: its interval, for itself; one value a draw, where seeds share draws.
        told_apart: whether it is beyond chance by Holm's correction for the number of baselines; None of another
            winner, over which nothing is claimed.
    """

    gain: Interval
    told_apart: bool | None


Figures = Sequence[float]


def differences(
    best: Contestant,
    contestants: Sequence[Contestant],
    gain: Callable[[Figures, Figures], Interval],
    chance: Callable[[Figures, Figures], float],
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """The best's gains over all others, by name.

    Args:
        best: whose gains they are.
        contestants: all, the best among them.
        gain: interval of the paired gain of figures over others.
        chance: p of such a gain where there is none.
        confidence: 1 − the share of audits that may tell a baseline apart by chance.
    """
    baselines = [one for one in contestants if not one.discovered]
    chances = [chance(best.test, one.test) for one in baselines]
    apart = dict(zip((one.name for one in baselines), told_apart(chances, confidence), strict=True))
    others = [one for one in contestants if one is not best]
    return {one.name: Difference(gain(best.test, one.test), apart.get(one.name)) for one in others}


@dataclass(frozen=True)
class AuditResult:
    """What the audit found.

    Attributes:
        metric: that decides.
        contestants: baselines and the winner, each with its setting and test figures.
        best: the winner that validation chose, or None where the search found nothing.
        rival: the baseline with the best mean on test.
        gain: interval of the best's gain over the rival over paired seeds; above 0 is better, whichever way the metric
            points.
        noise_floor: standard deviation of the mean paired difference of two equally good losses; see
            `statistics.noise_floor`.
        seeds: number of seeds that every contestant has.
        notes: what was left out or went wrong, in words.
        draws: of the data, among these seeds; 0 where all have the data of the settings.
        intervals: of the contestants' mean test figures, by name; where one is missing it is taken over the seeds.
        differences: the best's gains over all others, by name.
        tuning: what was tuned and what not, in words.
        finalists: the other found ones, that did worse on validation after the same tuning; they are not tested.
    """

    metric: Metric
    contestants: tuple[Contestant, ...]
    best: Contestant | None
    rival: Contestant | None
    gain: Interval | None
    noise_floor: float
    seeds: int
    confidence: float = 0.95
    notes: tuple[str, ...] = field(default_factory=tuple)
    draws: int = 0
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    tuning: tuple[str, ...] = ()
    finalists: tuple[Contestant, ...] = ()

    @property
    def verdict(self) -> str:
        """One honest sentence."""
        if self.best is None:
            return "The search found no loss that passed every stage."
        if self.rival is None or self.gain is None:
            return "The audit did not finish, so nothing is claimed about test data."
        if nothing_learnt(self.metric, [one.test for one in self.contestants]):
            worst = f"{self.metric.label} {self.metric.text(self.metric.worst)}"
            return (
                f"Nothing learned: every training of the audit has {worst} or failed, so there is no verdict."
            )
        points = f"{gain_text(self.metric, self.gain)} on test"
        seeds = seeds_text(self.seeds, self.draws)
        settings = ", ".join(
            f"{_words(name)} {value:g}" for name, value in self.rival.losses.settings if name != "lr"
        )
        own = chosen(self.rival.name, self.rival.losses.losses.values(), dict(self.rival.inner))
        known = sum(not one.discovered for one in self.contestants)
        said = [
            "the only one" if known == 1 else f"the best of {known}",
            *own,
            *([settings] if settings else []),
            tuned(self.contestants),
        ]
        against = f"{self.rival.name} ({', '.join(said)})"
        if self.gain.low > 0:
            return f"Better than the best baseline, {against}: {points}, {seeds}."
        if self.gain.high < 0:
            return f"Worse than the best baseline, {against}: {points}, {seeds}."
        return f"No better than the best baseline, {against}, as far as {seeds} can tell: {points}."

    def interval(self, one: Contestant) -> Interval:
        """Interval of a contestant's mean test figure over seeds."""
        known = self.intervals.get(one.name)
        return known or mean_interval(one.test, confidence=self.confidence).within(self.metric.bounds)

    def to_dict(self) -> dict[str, Any]:
        """The audit's part of summary.json."""

        nothing = nothing_learnt(self.metric, [one.test for one in self.contestants])

        def tuned_to(one: Contestant) -> dict[str, Any]:
            return {
                "name": one.name,
                "losses": one.losses.losses,
                "settings": one.losses.tuned,
                "trainings": one.trainings,
                **({"inner": dict(one.inner)} if one.inner else {}),
                "val": one.val,
            }

        def entry(one: Contestant) -> dict[str, Any]:
            difference = self.differences.get(one.name)
            apart = difference.told_apart if difference else None
            return {
                **tuned_to(one),
                "test": self.interval(one).to_dict() | {"seeds": list(one.test)},
                "best_gain": difference.gain.to_dict() if difference else None,
                "told_apart": apart and not nothing,
            }

        return {
            "baselines": [entry(one) for one in self.contestants if not one.discovered],
            "winners": [entry(one) for one in self.contestants if one.discovered],
            "finalists": [tuned_to(one) for one in self.finalists],
            "paired_noise": self.noise_floor,
            "seeds": self.seeds,
            "draws": self.draws,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "tuning": list(self.tuning),
        }


def conclude(contestants: Sequence[Contestant], plan: AuditPlan, scores: Mapping[str, Score]) -> AuditResult:
    """Compare the contestants on test, from the scores of `plan.final`; seeds that lack any score are left out."""
    whole = replace(plan, seeds=plan.finished(contestants, scores))
    count = len(whole.seeds)
    notes = []
    if count < len(plan.seeds):
        notes.append(
            f"{len(plan.seeds) - count} of {len(plan.seeds)} seeds were not finished and are left out"
        )
    done = [replace(one, test=whole.figures(one, scores)) for one in contestants]
    baselines = [one for one in done if not one.discovered]
    toward = plan.metric.figure(1.0)
    best = winner(done, plan.metric)
    rival = max(baselines, key=lambda one: toward * _mean(one.test), default=None) if count else None
    gain = None
    if best is not None and rival is not None and count:
        gain = whole.difference(best.test, rival.test)
    return AuditResult(
        plan.metric,
        tuple(done),
        best,
        rival,
        gain,
        noise_floor([whole.values(one.test) for one in done]),
        count,
        plan.confidence,
        tuple(notes),
        len({plan.draw(seed) for seed in whole.seeds}) if plan.draws else 0,
        {one.name: whole.interval(one.test) for one in done},
        differences(best, done, whole.difference, whole.chance, plan.confidence) if best and count else {},
        tuple(plan.told(contestants)),
    )


def winner(contestants: Sequence[Contestant], metric: Metric) -> Contestant | None:
    """The one of the found that did best on validation; None where the search found nothing."""
    found = [one for one in contestants if one.discovered]
    return max(found, key=lambda one: metric.figure(1.0) * one.val, default=None)


def nothing_learnt(metric: Metric, figures: Sequence[Sequence[float]]) -> bool:
    """Whether all trainings failed or came to what a failed one counts as: there is nothing to be better at."""
    return all(value == metric.worst or not math.isfinite(value) for row in figures for value in row)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _worth(metric: Metric, score: Score | None) -> float:
    return metric.worth({} if score is None else score.metrics)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
