"""Successive halving: train all for a part of the schedule, and only the promising ones further.

Source: K. Jamieson, A. Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016.
A training that goes on does so on the same one-cycle schedule from the state that its last rung left, so that a
finisher's score is that of an unbroken training, and rungs cost their scoring alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.schedule import Process
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

Train = Callable[[Sequence[Training]], Process[dict[str, Score]]]


@dataclass(frozen=True)
class Ladder:
    """The rungs of a generation's trainings; without any, all are trained to the end.

    Attributes:
        rungs: shares of the schedule after which candidates are scored and the worse ones stopped; rising, below 1.
        keep: share of the candidates that goes on from a rung at most, rounded up.
        floor: part of the best candidate's figure at a rung that one must have there to go on: it tells those that
            learn. Where lower is better, at most the best's figure over that part.
        score_limit: validation samples that a rung is scored on; None for all.
    """

    rungs: tuple[float, ...] = ()
    keep: float = 1.0
    floor: float = 0.0
    score_limit: int | None = None

    def going_on(self, count: int) -> int:
        """How many of `count` candidates go on from a rung at most."""
        return min(count, max(1, math.ceil(self.keep * count - 1e-9)))

    def widened(self, count: int) -> int:
        """How many candidates the ladder trains in the time that `count` whole trainings take, if all of them learn."""
        share, alive, before = 0.0, 1.0, 0.0
        for rung in self.rungs:
            share += alive * (rung - before)
            alive, before = alive * self.keep, rung
        return round(count / (share + alive * (1.0 - before)))


@dataclass(frozen=True)
class Outcome:
    """How far a candidate came.

    Attributes:
        score: its last; None where the deadline cut it off.
        finished: whether that is the score of the whole schedule. Any other is worth nothing beside one that is.
    """

    score: Score | None
    finished: bool


def climb(
    ladder: Ladder, trainings: Sequence[Training], train: Train, metric: Metric
) -> Process[dict[str, Outcome]]:
    """Send trainings up the ladder; outcomes by the key of the whole training.

    Args:
        ladder: its rungs.
        trainings: to the end of the schedule; ties are broken by their order.
        train: does trainings side by side, and gives their scores by key.
        metric: that candidates are ranked by.
    """
    outcomes = {training.key: Outcome(None, False) for training in trainings}
    alive = list(trainings)
    for rung in ladder.rungs:
        rungs = [training.rung(rung * training.epochs, ladder.score_limit) for training in alive]
        scores = yield from train(rungs)
        found = [scores.get(training.key) for training in rungs]
        for training, score in zip(alive, found, strict=True):
            outcomes[training.key] = Outcome(score, False)
        alive = _best(alive, found, ladder.going_on(len(alive)), ladder.floor, metric)
    scores = yield from train(alive)
    for training in alive:
        score = scores.get(training.key)
        outcomes[training.key] = Outcome(score, score is not None)
    return outcomes


def _best(
    trainings: Sequence[Training], scores: Sequence[Score | None], count: int, floor: float, metric: Metric
) -> list[Training]:
    """The best so many, best first, so that these are trained if time runs out.

    Whoever failed, or is far behind the best, is not among them.
    """
    worth = {i: metric.worth(s.metrics) for i, s in enumerate(scores) if s is not None and s.metrics}
    best = max(worth.values(), default=0.0)
    # Worths of a metric where lower is better are negative: there a part of the best is its quotient.
    least = floor * best if best >= 0 else best / floor if floor else -math.inf
    ranking = sorted((i for i in worth if worth[i] >= least), key=lambda i: (-worth[i], i))[:count]
    return [trainings[i] for i in ranking]
