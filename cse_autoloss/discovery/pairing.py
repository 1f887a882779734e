"""Which of the discovered losses are the best: the few that the search likes are trained on the full schedule.

A search ranks losses after a short schedule, which prefers those that learn fast; what is best then need not stay so.
Two losses that were found apart need not go well together either. So all pairs of a few of each branch are trained on
the schedule of the audit, once, and the best third of them with further seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cse_autoloss.bench.budget import finalists
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Process
from cse_autoloss.discovery.halving import Train
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric


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
    """

    pairs: tuple[LossSet, ...]
    seeds: tuple[int, ...]
    epochs: float
    train_limit: int | None
    task: str
    metric: Metric

    def training(self, pair: LossSet, seed: int) -> Training:
        """One pair with one seed."""
        return Training("combine", pair, seed, self.epochs, "val", self.train_limit, self.task)


def choose(pairing: Pairing, train: Train) -> Process[list[tuple[LossSet, float]]]:
    """Train them; pairs with their mean validation worth, finalists first, each part best first.

    A training that failed counts as the worst; what the deadline cut off is left out of a mean.
    """
    first, *others = pairing.seeds
    scores = yield from train([pairing.training(pair, first) for pair in pairing.pairs])
    ranking = _ranked(pairing, pairing.pairs, (first,), scores)
    count = finalists(len(ranking)) if others else 0
    best = [pair for pair, _ in ranking[:count]]
    more = yield from train([pairing.training(pair, seed) for seed in others for pair in best])
    return _ranked(pairing, best, pairing.seeds, {**scores, **more}) + ranking[count:]


def _ranked(
    pairing: Pairing, pairs: Sequence[LossSet], seeds: Sequence[int], scores: dict[str, Score]
) -> list[tuple[LossSet, float]]:
    found = []
    for pair in pairs:
        own = [scores.get(pairing.training(pair, seed).key) for seed in seeds]
        worths = [pairing.metric.worth(score.metrics) for score in own if score is not None]
        found.append((pair, sum(worths) / len(worths) if worths else pairing.metric.worth({})))
    return sorted(found, key=lambda item: -item[1])
