"""Tune the proportions of the best pair: weights on the edges of its two losses, by CMA-ES on validation.

Evolution scores a candidate by one training or a few, and tells shapes apart by that; what a half or a third more of a
term is worth is less than a seed's luck. Here every generation of weighted pairs is trained with one seed, the same for
all, so that luck drops out of their ranks, and the strategy's mean averages over all of them. At the end that mean is
held against the pair as it was, with seeds that no generation has used, and stays only where it is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.schedule import Process
from cse_autoloss.discovery.halving import Train
from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import Signature
from cse_autoloss.losses import load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.runs import Score
from cse_autoloss.searches.evolution.weights import Edges, Weights, WeightSearch
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.verification import VerifySettings, verify


@dataclass(frozen=True)
class Refining:
    """What is tuned, and how.

    Attributes:
        pair: the losses.
        slots: that were searched, with their signatures; the other losses stay as they are.
        scaled: those whose scale is a tunable's to tell, which is tuned before.
        generations, offspring: of the strategy.
        step: first standard deviation of a weight's logarithm.
        seeds: of the trainings: one a generation, and those of the last comparison.
        epochs: schedule.
        train_limit: number of training samples, None for all.
        task: digest of the data and model settings.
        verify: thresholds that a weighted loss has to pass too.
        metric: that ranks.
    """

    pair: LossSet
    slots: Mapping[str, Signature]
    scaled: tuple[str, ...]
    generations: int
    offspring: int
    step: float
    seeds: tuple[int, ...]
    epochs: float
    train_limit: int | None
    task: str
    verify: VerifySettings
    metric: Metric

    def training(self, pair: LossSet, seed: int) -> Training:
        """One pair with one seed."""
        return Training("combine", pair, seed, self.epochs, "val", self.train_limit, self.task)


@dataclass(frozen=True)
class Refined:
    """What came of it.

    Attributes:
        pair: with weights, or as it was.
        worth, before: mean validation worth of that and of the pair as it was, over the last comparison's seeds.
        generations: that were trained.
    """

    pair: LossSet
    worth: float
    before: float
    generations: int


def refine(refining: Refining, train: Train) -> Process[Refined | None]:
    """Tune the pair's weights; None where it has no edges to bear any, or nothing could be compared in time."""
    weighing = _Weighing(refining)
    if not weighing.size:
        return None
    search = WeightSearch(weighing.size, refining.offspring, refining.step, seed=refining.seeds[0])
    seeds, last = refining.seeds[: refining.generations], refining.seeds[refining.generations :]
    done, worth_of = 0, refining.metric.worth
    for seed in seeds:
        wanted = [refining.training(weighing.pair(weights), seed) for weights in search.ask(weighing.admits)]
        scores = yield from train(wanted)
        if not wanted or not _all_there(wanted, scores):
            break
        search.tell([worth_of(scores[one.key].metrics) for one in wanted])
        done += 1
    mean = weighing.pair(search.mean) if weighing.admits(search.mean) else refining.pair
    rivals = list(dict.fromkeys([refining.pair, mean]))
    wanted = [refining.training(pair, seed) for seed in last for pair in rivals]
    scores = yield from train(wanted)
    if not _all_there(wanted, scores):
        return None
    worth = {
        pair: fmean(worth_of(scores[one.key].metrics) for one in wanted if one.losses == pair)
        for pair in rivals
    }
    best = max(worth, key=lambda pair: worth[pair])
    return Refined(best, worth[best], worth[refining.pair], done)


class _Weighing:
    """The pair's edges, one row of weights for both losses."""

    def __init__(self, refining: Refining) -> None:
        self._refining = refining
        self._verdicts: dict[str, bool] = {}
        self._edges: dict[str, Edges] = {}
        for slot, signature in refining.slots.items():
            loss = load_loss(refining.pair[slot], signature)
            if isinstance(loss, GraphLoss):
                self._edges[slot] = Edges(loss.graph, scale=slot not in refining.scaled)
        self.size = sum(len(edges.places) for edges in self._edges.values())

    def pair(self, weights: Weights) -> LossSet:
        """The pair with such weights."""
        pair = self._refining.pair
        for slot, edges in self._edges.items():
            own, weights = weights[: len(edges.places)], weights[len(edges.places) :]
            pair = pair.with_loss(slot, edges.weighted(own).formula)
        return pair

    def admits(self, weights: Weights) -> bool:
        """Whether both losses keep the properties of a loss."""
        try:
            pair = self.pair(weights)
        except FormulaError:
            return False
        return all(self._holds(pair[slot], slot) for slot in self._edges)

    def _holds(self, formula: str, slot: str) -> bool:
        if formula not in self._verdicts:
            loss = load_loss(formula, self._refining.slots[slot])
            assert isinstance(loss, GraphLoss)
            self._verdicts[formula] = verify(loss.graph, self._refining.verify).accepted
        return self._verdicts[formula]


def _all_there(wanted: Sequence[Training], scores: dict[str, Score]) -> bool:
    """Whether the deadline cut none of them off."""
    return all(one.key in scores for one in wanted)
