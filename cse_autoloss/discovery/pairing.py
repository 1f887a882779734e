"""Which of the discovered losses are the best: the few that the search likes are trained on the full schedule.

A search ranks losses after a short schedule, which prefers those that learn fast; what is best then need not stay so.
Two losses that were found apart need not go well together either. So all pairs of a few of each slot are trained on
the schedule of the audit, once, and the best third of them with further seeds.

A training's noise is as large as what good pairs differ by. So a pair is not ranked by its own scores alone: its worth
is what was expected of its losses, plus an effect of each loss, which it shares with the pairs that have it too, plus
an effect of its own, all normal. Ranked by the posterior mean, the lucky fall back. The variances are set by hand, as
parts of a training's noise; of a scale they know nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cse_autoloss.bench.budget import finalists
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Process
from cse_autoloss.discovery.halving import Train
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

LOSS_EFFECT = 0.5
"""Variance of what a loss is worth beyond what is expected of it, as part of the variance that a seed makes."""
PAIR_EFFECT = 0.25
"""The same of what two losses are worth together beyond what each is."""


@dataclass(frozen=True)
class Pairing:
    """What is trained, and how.

    Attributes:
        pairs: in the order that decides ties.
        seeds: of the trainings; the first is every pair's, the others are the finalists'.
        epochs: schedule.
        train_limit: number of training samples, None for all.
        task: digest of the data and model settings.
        metric: that ranks.
        expected: what is expected of a loss, by slot and formula; only differences within a slot count.
    """

    pairs: tuple[LossSet, ...]
    seeds: tuple[int, ...]
    epochs: float
    train_limit: int | None
    task: str
    metric: Metric
    expected: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def training(self, pair: LossSet, seed: int) -> Training:
        """One pair with one seed."""
        return Training("combine", pair, seed, self.epochs, "val", self.train_limit, self.task)


def choose(pairing: Pairing, train: Train) -> Process[list[tuple[LossSet, float]]]:
    """Train them; pairs with their mean validation worth, finalists first, each part with the likeliest best first.

    A training that failed counts as the worst, and its pair goes behind all others; what the deadline cut off is left
    out.
    """
    first, *others = pairing.seeds
    scores = yield from train([pairing.training(pair, first) for pair in pairing.pairs])
    ranking = _ranked(pairing, (first,), scores)
    count = finalists(len(ranking)) if others else 0
    best = [pair for pair, _ in ranking[:count]]
    more = yield from train([pairing.training(pair, seed) for seed in others for pair in best])
    again = _ranked(pairing, pairing.seeds, {**scores, **more})
    return [one for one in again if one[0] in best] + [one for one in again if one[0] not in best]


def _ranked(
    pairing: Pairing, seeds: Sequence[int], scores: Mapping[str, Score]
) -> list[tuple[LossSet, float]]:
    """Pairs with their mean worth, those first that are believed to be best."""
    means, counts, failed = [], [], []
    for pair in pairing.pairs:
        own = [scores[key] for seed in seeds if (key := pairing.training(pair, seed).key) in scores]
        worths = [pairing.metric.worth(score.metrics) for score in own]
        means.append(sum(worths) / len(worths) if worths else pairing.metric.worth({}))
        counts.append(len(worths))
        failed.append(not worths or any(not score.metrics for score in own))
    trained = [place for place, broken in enumerate(failed) if not broken]
    belief = dict(zip(trained, believed(pairing, trained, means, counts), strict=True))
    order = sorted(range(len(means)), key=lambda place: (failed[place], -belief.get(place, means[place])))
    return [(pairing.pairs[place], means[place]) for place in order]


def believed(
    pairing: Pairing, trained: Sequence[int], means: Sequence[float], counts: Sequence[int]
) -> list[float]:
    """Posterior mean of the worth of pairs, from all that were trained.

    Args:
        pairing: whose pairs they are.
        trained: places of the pairs.
        means, counts: of each of the pairing's pairs, the mean of its scores and their number.
    """
    if not trained:
        return []
    losses = [dict(pairing.pairs[place].losses) for place in trained]
    expected = np.array(
        [sum(pairing.expected.get(item, 0.0) for item in own.items()) for own in losses], dtype=np.float64
    )
    shared = np.array([[_shared(one, other) for other in losses] for one in losses], dtype=np.float64)
    prior = LOSS_EFFECT * shared + PAIR_EFFECT * np.eye(len(trained))
    noise = np.diag([1.0 / counts[place] for place in trained])
    seen = np.array([means[place] for place in trained]) - expected
    weight = np.linalg.inv(prior + noise)
    level = weight.sum(axis=0) @ seen / weight.sum()
    return [float(value) for value in expected + level + prior @ weight @ (seen - level)]


def _shared(one: Mapping[str, str], other: Mapping[str, str]) -> int:
    """Of how many slots two sets have the same loss."""
    return sum(other[slot] == loss for slot, loss in one.items())
