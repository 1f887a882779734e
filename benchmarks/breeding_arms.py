"""Ways of breeding that are tried in replayed searches: see replay.py.

`MapElites` keeps the best loss of each cell of a map instead of the best losses, and breeds from cells drawn alike.
`refined` varies the numbers of the candidates that the surrogate likes best, again and again, before it chooses.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from cse_autoloss.discovery.funnel import Entrant, Looked
from cse_autoloss.discovery.loop import SearchLoop
from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.operators import ALL_OPERATORS
from cse_autoloss.searches.evolution import Evolution, Limits, seeded
from cse_autoloss.searches.evolution.genome import PrimitiveSet
from cse_autoloss.searches.evolution.numbers import mutate_number
from cse_autoloss.searches.protocol import Member, Proposal, SearchState, ranked, slot_of
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.spaces import form_of, parse
from cse_autoloss.spaces.curves import Look
from cse_autoloss.surrogate import slope_features
from cse_autoloss.surrogate.slopes import EVERY, KNEE

SIGNATURE = "cls-binary-progress"
EDGES = ((-4.0, -2.0, 0.2), (-3.0, -2.3, -1.8), (0.05, 0.3))
"""Of the cells, 48 in all; see `traits`."""
AIMED = 0.645
SLOTS = 40
"""Cells that breed at most, those with the best losses: as many parents as an evolution has."""


@cache
def traits(formula: str) -> tuple[float, float, float]:
    """Of a classification loss: how bounded it is on negatives, ln |slope at x = 5| / |slope at 0|; how focused on what
    is hard, ln |slope at 3| / |slope at −1| of positives; and its aim less w = 0.645, as probabilities, 1 for none."""
    graph = parse(formula, SIGNATURE)
    coupled = any(ALL_OPERATORS[name].shape == "softmax" for name in graph.signature.operators)
    grid = form_of(graph.signature).grid(Look(True, coupled))
    (told,) = slope_features([graph])
    slopes = np.full(grid.coordinate.numel(), np.nan)
    slopes[::EVERY] = np.sinh(told) * KNEE
    slopes = slopes.reshape(grid.coordinate.shape)
    bounded, focused, aims = [], [], []
    for curve, row, xs in zip(grid.curves, slopes, grid.coordinate.numpy(), strict=True):
        seen = ~np.isnan(row)
        x, slope = xs[seen], row[seen]
        order = np.argsort(x)
        x, slope = x[order], slope[order]

        def size(at: float, x: Any = x, slope: Any = slope) -> float:
            return abs(float(np.interp(at, x, slope))) + 1e-6

        if curve.role == "negative":
            bounded.append(math.log(size(5) / size(0)))
        elif curve.iou == 1.0 and curve.role == "positive":
            focused.append(math.log(size(3) / size(-1)))
        elif abs(curve.iou - AIMED) < 0.05 and curve.role == "positive":
            rising = np.flatnonzero(slope > 1e-4)
            aims.append(1 / (1 + math.exp(-x[rising[0]])) - curve.iou if len(rising) else 1 - curve.iou)
    return float(np.mean(bounded)), float(np.mean(focused)), float(np.mean(aims))


def cell(formula: str) -> tuple[int, ...]:
    """Of the map."""
    return tuple(int(np.searchsorted(edges, one)) for edges, one in zip(EDGES, traits(formula), strict=True))


class MapElites(Evolution):
    """Quality-diversity: the best of each cell stay, and each breeds as often as another.

    Source: J.-B. Mouret, J. Clune: Illuminating search spaces by mapping elites, 2015.
    """

    def __init__(
        self,
        config: SearchConfig,
        slots: Mapping[str, Signature],
        starters: Mapping[str, Sequence[LossGraph]] | None = None,
    ) -> None:
        super().__init__(config.evolution, slots, config.seed, starters)

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """The best of each cell go on."""
        slot = slot_of(self.turns, state.generation)
        after = state.survived(slot, trained, 10_000)
        best: dict[tuple[int, ...], Member] = {}
        for member in ranked(after.populations[slot]):
            best.setdefault(cell(member.formula), member)
        kept = ranked(tuple(best.values()))[:SLOTS]
        # A search is held against the best loss that people know.
        known = [member for member in ranked(after.populations[slot]) if member.name][:1]
        kept = ranked((*kept, *(one for one in known if one not in kept)))
        return replace(after, populations={**after.populations, slot: kept})

    def _tournament(self, size: int) -> int:
        return random.randrange(size)


@contextmanager
def refined(rounds: int, best: int = 25, children: int = 8) -> Iterator[None]:
    """Searches whose candidates are improved on the surrogate's mean before it draws whom to train.

    Args:
        rounds: of hill climbing.
        best: candidates that the surrogate expects most of, of which in each round
        children: others are made, with one of their numbers changed.
    """
    original = SearchLoop._candidates

    def candidates(self: SearchLoop, state: SearchState, slot: str, record: Any) -> list[Entrant]:
        breeding, chooser, funnel = self._breeding, self._chooser, self._funnel
        plain = type(breeding).attempt
        signature = self._search.slots[slot]
        primitives, limits = PrimitiveSet.of(signature), Limits(self._rates.max_depth, self._rates.max_nodes)

        def attempt(where: SearchState, number: int, count: int, most: int) -> list[Looked]:
            looked = plain(breeding, where, number, count, most)
            if chooser is None or not chooser.knows(slot):
                return looked
            pool = {one.fingerprint: one for one, verdict in looked if verdict is None}
            for round_ in range(rounds):
                members = [one for one in pool.values() if one.proposal.graph is not None]
                if not members:
                    break
                features = slope_features([one.proposal.graph for one in members])  # type: ignore[misc]
                mean = chooser._surrogate(slot, features.shape[1]).foretell(features)
                liked = [members[place] for place in np.argsort(-mean, kind="stable")[:best]]
                made: list[Entrant] = []
                seed = zlib.crc32(f"{where.generation}:{number}:{round_}:{len(members)}".encode())
                with seeded(f"refine:{seed}"):
                    for one in liked:
                        tree = primitives.to_tree(parse_formula(one.proposal.formula, signature))
                        for _ in range(children):
                            child = mutate_number(tree, primitives)
                            if limits.holds(child):
                                graph = primitives.to_graph(child)
                                made.append(Entrant(Proposal.of(graph, "refined", (one.proposal.digest,))))
                new = [(one, verdict) for one, verdict in funnel.look(made) if verdict is None]
                new = [pair for pair in new if pair[0].fingerprint not in pool]
                pool |= {one.fingerprint: one for one, _ in new}
                looked = [*looked, *new]
            return looked

        breeding.attempt = attempt  # type: ignore[method-assign]
        try:
            return original(self, state, slot, record)
        finally:
            del breeding.attempt

    SearchLoop._candidates = candidates  # type: ignore[method-assign]
    try:
        yield
    finally:
        SearchLoop._candidates = original  # type: ignore[method-assign]
