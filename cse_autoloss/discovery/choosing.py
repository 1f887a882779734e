"""Who of many verified candidates is trained: the surrogate's choice, from all trainings of the run so far.

Without it, a generation trains what it happens to breed. With it, a thousand are bred, and those are trained that may
be the best by what is known of losses with such slopes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.searches.protocol import Member
from cse_autoloss.spaces.standing import standing_in, standing_of
from cse_autoloss.surrogate import Remembered, Surrogate, remembered, slope_features

Floats = NDArray[np.float64]

LEAST = 8
"""Losses that must be known before the surrogate is asked."""
NEWEST = 800
"""Trainings of a slot that it learns from at most."""
AGREES = 0.3
"""Spearman's ρ with the run's own trainings from which on memories of other data are believed."""


def believed(told: Floats, worth: Floats, prior: tuple[Floats, Floats], seeds: Floats | None = None) -> bool:
    """Whether what is remembered of other data is believed: it agrees with what the run has seen itself, and helps to
    foretell each of the run's trainings from the others.

    Args:
        told: (n, D) features of the run's own losses.
        worth: (n,) what they are worth.
        prior: features and placed worths that are remembered.
        seeds: (n,) trainings that each worth is the mean of.
    """
    if not spearmanr(Surrogate(told[:0], worth[:0], prior).foretell(told), worth).statistic >= AGREES:
        return False
    alone = Surrogate(told, worth, None, seeds)
    return Surrogate(told, worth, prior, seeds).left_out() >= alone.left_out()


class Chooser:
    """Knows what the trainings of each slot came to, and sorts candidates by what they may be worth.

    It is told and asked by generations, so that a run that is gone on with chooses as it would have.
    """

    def __init__(
        self,
        slots: Mapping[str, Signature],
        seed: int,
        task: str,
        data: str = "",
        memory: Sequence[Remembered] = (),
    ) -> None:
        """
        Args:
            slots: that are searched.
            seed: of the run.
            task: its name; what is remembered of other tasks says nothing here.
            data: as the task's settings name them; what is remembered of others is believed where it agrees with the
                run's own trainings, once there are enough.
            memory: what it begins with; of these data alone, if there is any.
        """
        self._slots = dict(slots)
        self._seed, self._task = seed, task
        own = [one for one in memory if one.task == task and one.data == data]
        self._familiar = bool(own)
        self._features: dict[str, Floats] = {}
        self._fitted: dict[str, Surrogate] = {}
        self._worths: dict[str, dict[str, list[float]]] = {slot: {} for slot in slots}
        self._memory = [one for one in own or memory if not self._knows_alike(one)]

    def _knows_alike(self, one: Remembered) -> bool:
        """Take what an earlier run trained just as this one trains for this run's own, if it is such."""
        slots = [slot for slot, signature in self._slots.items() if signature.name == one.signature]
        for slot in slots if self._familiar and one.worths else ():
            for worth in one.worths:
                self.note(slot, {one.formula: worth})
        return bool(slots and self._familiar and one.worths)

    def note(self, slot: str, trained: Mapping[str, float | None]) -> None:
        """What a generation's trainings were worth, by formula; None for one that failed or was stopped early."""
        self._fitted.pop(slot, None)
        for formula, worth in trained.items():
            self._worths[slot].setdefault(formula, []).append(-math.inf if worth is None else worth)

    def knows(self, slot: str) -> bool:
        """Whether enough is known to choose by."""
        prior = sum(len(places) for _, places in self._prior[slot].values()) if self._familiar else 0
        return len(self._worths[slot]) + prior >= LEAST

    def sort(self, entrants: Sequence[Entrant], slot: str, generation: int, wanted: int) -> list[Entrant]:
        """The candidates, those first that are to be trained; as they are where too little is known."""
        graphs = [entrant.proposal.graph for entrant in entrants if entrant.proposal.graph is not None]
        if len(graphs) < max(2, len(entrants)) or not self.knows(slot):
            return list(entrants)
        features = slope_features(graphs)
        number = zlib.crc32(f"{self._seed}:{slot}:{generation}:{len(entrants)}".encode())
        rng = np.random.default_rng(number)
        order = self._surrogate(slot, features.shape[1]).order(features, wanted, rng)
        moving = [place for place, graph in enumerate(graphs) if standing_in(graph)]
        if self._moving(slot) >= 2 * LEAST:
            return [entrants[place] for place in order]
        return [entrants[place] for place in _with_unknown(order, moving, wanted, rng)]

    def expected(self, members: Sequence[Member], slot: str) -> tuple[Member, ...]:
        """Members with what they are expected to be worth by all that is known of a slot; as they are where it is too
        little. One training moves by as much as good losses differ, so who is best is not for its own scores alone."""
        graphs = [parse_formula(member.formula, self._slots[slot]) for member in members]
        known = [worth for worth in self._worths[slot].values() if math.isfinite(worth[0])]
        if len(known) < 2 * LEAST or not members:
            return tuple(members)
        features = slope_features(graphs)
        told = self._surrogate(slot, features.shape[1]).expected(features)
        return tuple(
            replace(member, expected=float(worth)) for member, worth in zip(members, told, strict=True)
        )

    def _moving(self, slot: str) -> int:
        """How many losses of a slot that read more than the paper's inputs are known."""
        signature = self._slots[slot]
        if not standing_of(signature):
            return 0
        earlier = [one.formula for one in self._memory if self._familiar and one.signature == signature.name]
        return sum(
            bool(standing_in(parse_formula(text, signature))) for text in (*self._worths[slot], *earlier)
        )

    def _surrogate(self, slot: str, width: int) -> Surrogate:
        """Of all that is known of a slot, each loss with so many features; made once between two generations."""
        if slot not in self._fitted:
            known = dict(list(self._worths[slot].items())[-NEWEST:])
            # The order in which trainings ended must not matter to the last bit.
            formulas = sorted(known)
            worth = np.array([float(np.mean(known[formula])) for formula in formulas])
            seeds = np.array([float(len(known[formula])) for formula in formulas])
            told = self._told(slot, formulas).reshape(-1, width)
            self._fitted[slot] = Surrogate(told, worth, self._believed(slot, told, worth, seeds), seeds)
        return self._fitted[slot]

    def _believed(
        self, slot: str, told: Floats, worth: Floats, seeds: Floats
    ) -> tuple[Floats, Floats] | None:
        """What is remembered; of other data, kind by kind, whatever the run's own trainings speak for."""
        kept = [
            prior
            for prior in self._prior[slot].values()
            if self._familiar or believed(told, worth, prior, seeds)
        ]
        if not kept:
            return None
        return np.concatenate([one for one, _ in kept]), np.concatenate([two for _, two in kept])

    def _told(self, slot: str, formulas: Sequence[str]) -> Floats:
        """(n, D) features of trained losses."""
        new = [formula for formula in formulas if formula not in self._features]
        if new:
            graphs = [parse_formula(formula, self._slots[slot]) for formula in new]
            self._features.update(zip(new, slope_features(graphs), strict=True))
        return np.array([self._features[formula] for formula in formulas])

    @cached_property
    def _prior(self) -> dict[str, dict[str, tuple[Floats, Floats]]]:
        """What is remembered, by slot and by the data that it was trained on."""
        kinds: dict[str, list[Remembered]] = {}
        for one in self._memory:
            kinds.setdefault(one.data, []).append(one)
        found = {
            slot: {data: remembered(own, self._task, signature) for data, own in kinds.items()}
            for slot, signature in self._slots.items()
        }
        return {
            slot: {data: prior for data, prior in own.items() if prior is not None}
            for slot, own in found.items()
        }


def _with_unknown(
    order: Sequence[int], moving: Sequence[int], wanted: int, rng: np.random.Generator
) -> list[int]:
    """An order in which every second of the first `wanted` changes with the progress of the training, if any does.

    What is remembered are losses that do not: along a change the surrogate sees nothing at first, and would hold it for
    idle. So these are drawn by chance from those that it does not hold for worse than most.
    """
    better = set(order[: max(wanted, len(order) // 2)])
    drawn = [int(place) for place in rng.permutation([place for place in moving if place in better])]
    if not drawn:
        return list(order)
    mixed: list[int] = []
    for place in order[: (wanted + 1) // 2]:
        mixed += [place, *drawn[:1]]
        drawn = drawn[1:]
    return list(dict.fromkeys((*mixed, *order)))
