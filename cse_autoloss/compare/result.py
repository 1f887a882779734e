"""What a comparison came to: figures seed by seed, intervals, and differences to the first contestant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cse_autoloss.bench.audit import AuditPlan, Contestant, nothing_learnt
from cse_autoloss.bench.audit_words import seeds_text, tuned
from cse_autoloss.bench.statistics import Interval, mean_by_name, told_apart
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

NOTHING = "Nothing learned: every training has the worst figure or failed, so nobody is ahead."


@dataclass(frozen=True)
class Standing:
    """One contestant's figures.

    Attributes:
        contestant: with the settings that tuning chose.
        scores: metric's name -> one figure a seed.
        failed: trainings among them that gave no score and count as the worst.
        parts: `TaskScore.parts`, each the mean over the trainings that tell it.
    """

    contestant: Contestant
    scores: Mapping[str, tuple[float, ...]]
    failed: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The whole result.

    Attributes:
        standings: in the order in which the contestants were named.
        seeds: training seeds that every contestant has.
        plan: what was trained; its `seeds` are those that were asked for.
        task: detector and data, as configured.
        metrics: that are told, the one that decides first.
        notes: what was completed, left out or went wrong, in words.
        spent: time and memory, in words; no part of what is compared.
    """

    standings: tuple[Standing, ...]
    seeds: tuple[int, ...]
    plan: AuditPlan
    task: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = ()
    spent: str = field(default="", compare=False)

    def interval(self, one: Standing, metric: Metric | None = None) -> Interval:
        """Mean and interval of a contestant's figure over seeds."""
        chosen = metric or self.metrics[0]
        return self._done.interval(one.scores[chosen.name], chosen)

    @property
    def _done(self) -> AuditPlan:
        """The plan of the seeds that all have."""
        return replace(self.plan, seeds=self.seeds)

    def difference(self, one: Standing, metric: Metric | None = None) -> Interval | None:
        """Mean and interval of its paired gains over the first contestant, above 0 where it is better; None for the
        first itself."""
        first = self.standings[0]
        if one is first or not self.seeds:
            return None
        chosen = metric or self.metrics[0]
        return self._done.difference(one.scores[chosen.name], first.scores[chosen.name], chosen)

    @property
    def nothing_learnt(self) -> bool:
        """Whether no training came to anything, so that there is nothing to be ahead in."""
        metric = self.metrics[0]
        return nothing_learnt(metric, [one.scores[metric.name] for one in self.standings])

    def told_apart(self) -> dict[str, bool]:
        """Others than the first, by name: whether they differ from it beyond chance, by Holm's correction for their
        number."""
        metric, (first, *others) = self.metrics[0], self.standings
        chances = [
            self._done.chance(one.scores[metric.name], first.scores[metric.name], metric) for one in others
        ]
        return {
            one.contestant.name: apart and not self.nothing_learnt
            for one, apart in zip(others, told_apart(chances, self.plan.confidence), strict=True)
        }

    def sides(self) -> dict[str, list[str]]:
        """The others' names under "ahead of", "behind" and "not told apart from" the first; empty ones left out."""
        apart, found = self.told_apart(), dict[str, list[str]](ahead=[], behind=[], level=[])
        for one in self.standings[1:]:
            name, gain = one.contestant.name, self.difference(one)
            if gain is None or not apart[name]:
                found["level"].append(name)
            else:
                found["ahead" if gain.mean > 0 else "behind"].append(name)
        words = {"ahead": "ahead of", "behind": "behind", "level": "not told apart from"}
        return {words[side]: names for side, names in found.items() if names}

    @property
    def corrected(self) -> str:
        """How `told_apart` allows for the number of comparisons; empty of one."""
        count = len(self.standings) - 1
        return f"Holm's correction for {count} comparisons" if count > 1 else ""

    @property
    def seeds_text(self) -> str:
        """What it rests on, for example "5 paired seeds on 5 fresh draws of the data"."""
        drawn = len({self.plan.draw(seed) for seed in self.seeds}) if self.plan.draws else 0
        return seeds_text(len(self.seeds), drawn)

    @property
    def verdict(self) -> str:
        """Who is ahead of the first and who behind it, in one sentence."""
        if not self.seeds:
            return "No seed was finished for all, so nothing can be compared yet."
        if len(self.standings) < 2:
            return "One loss alone has nothing to be compared with."
        if len(self.seeds) < 2:
            return "One seed tells nothing of the spread, so nobody is called ahead or behind."
        if self.nothing_learnt:
            return NOTHING
        first = self.standings[0].contestant.name
        said = "; ".join(f"{words} {first}: {', '.join(names)}" for words, names in self.sides().items())
        rests = ", ".join(words for words in (self.seeds_text, self.corrected) if words)
        return f"{said[0].upper()}{said[1:]} ({rests})."

    def to_dict(self) -> dict[str, Any]:
        """What comparison.json holds; an interval that seeds can't tell has null bounds."""
        return {
            "task": dict(self.task),
            "split": self.plan.split,
            "epochs": self.plan.epochs,
            "seeds": list(self.seeds),
            "draws": [self.plan.draw(seed) for seed in self.seeds],
            "confidence": self.plan.confidence,
            "tuning": _tuning(self.plan),
            "losses": [self._entry(one) for one in self.standings],
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    def _entry(self, one: Standing) -> dict[str, Any]:
        losses = one.contestant.losses
        entry: dict[str, Any] = {
            "name": one.contestant.name,
            "losses": losses.losses,
            "alpha": losses.alpha,
            "settings": losses.tuned,
            "trainings": one.contestant.trainings,
            **({"inner": dict(one.contestant.inner)} if one.contestant.inner else {}),
            "val": _finite(one.contestant.val),
            "failed": one.failed,
        }
        for metric in self.metrics:
            figures = one.scores[metric.name]
            entry[metric.name] = {**_bounds(self.interval(one, metric)), "seeds": list(figures)}
        gains = {metric.name: self.difference(one, metric) for metric in self.metrics}
        entry["difference"] = {metric: gain and _bounds(gain) for metric, gain in gains.items()}
        entry["told_apart"] = self.told_apart().get(one.contestant.name)
        if one.parts:
            entry["parts"] = dict(one.parts)
        return entry


def compare_scores(
    contestants: Sequence[Contestant],
    plan: AuditPlan,
    scores: Mapping[str, Score],
    metrics: Sequence[Metric],
    *,
    about: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Comparison:
    """The result from the scores of `plan.final`, by training key; seeds that lack any score are left out.

    Args:
        contestants: with their chosen settings.
        plan: of the trainings.
        scores: those that are known.
        metrics: that are told.
        about: detector and data, for the report.
        notes: what is to be said besides.
    """
    seeds = plan.finished(contestants, scores)
    whole = replace(plan, seeds=seeds)
    said = list(notes)
    if len(seeds) < len(plan.seeds):
        missing = len(plan.seeds) - len(seeds)
        said.append(f"{missing} of {len(plan.seeds)} seeds were not finished and are left out")
    standings = []
    for one in contestants:
        kept = [scores[t.key] for t in whole.final([one])]
        failed = [score for score in kept if not score.metrics]
        if failed:
            said.append(
                f"{one.name}: {len(failed)} of {len(kept)} trainings count as {plan.metric.worst:g} ({failed[0].status}"
                f"{': ' + failed[0].detail if failed[0].detail else ''})"
            )
        figures = {metric.name: whole.figures(one, scores, metric) for metric in metrics}
        parts = mean_by_name([score.extra.get("parts", {}) for score in kept])
        standings.append(Standing(one, figures, len(failed), parts))
    if plan.tries:
        said += [tuned(contestants), *plan.told(contestants)]
    if len(seeds) == 1:
        said.append("one seed tells nothing of the spread, so there are no intervals")
    if plan.split == "val" and plan.tries > 1:
        said.append("weights and rates were tuned on the same validation split that is scored here")
    return Comparison(tuple(standings), seeds, plan, about, tuple(metrics), tuple(said))


def _tuning(plan: AuditPlan) -> dict[str, Any] | None:
    if not plan.tries:
        return None
    return {
        "ranges": {axis.name: [axis.low, axis.high] for axis in plan.space},
        "negative_weight": list(plan.negatives) if plan.negatives else None,
        "trainings": plan.tries,
        "epochs": plan.tune_epochs,
        "seeds": list(plan.tune_seeds),
    }


def _bounds(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in interval.to_dict().items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
