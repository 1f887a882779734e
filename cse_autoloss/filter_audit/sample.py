"""Who is trained: a random sample of what each filter threw away, and of the survivors that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cse_autoloss.graph import Signature
from cse_autoloss.runs import Candidate, RunStore
from cse_autoloss.verdict import Verdict

BRED, RANDOM = "bred", "random"
STILL = "1"
"""Trained in place of every loss that reads nothing that moves: all have gradients of 0, which is the same training."""


@dataclass(frozen=True)
class Pick:
    """A rejected candidate that was drawn.

    Attributes:
        candidate: the candidate.
        stage: the filter that stopped it.
        source: "bred" or "random".
        weight: how many of the rejected it stands for.
    """

    candidate: Candidate
    stage: str
    source: str
    weight: float


@dataclass(frozen=True)
class Group:
    """What one filter threw away of one source.

    Attributes:
        stage, source: which.
        rejected: how many there were.
        picks: the sample.
    """

    stage: str
    source: str
    rejected: int
    picks: tuple[Pick, ...]


def draw_groups(store: RunStore, stages: Sequence[str], count: int, seed: int) -> list[Group]:
    """The sample of each filter and source.

    Of verification's rejections the run kept a uniform sample a generation and source, with the number that it stands
    for: from these `count` are drawn for either source, a generation with a chance that is proportional to that number
    (systematic sampling). Of the simulation's rejections it kept all: a fifth as many are drawn, or all there are.

    Args:
        store: of a run.
        stages: "verify", "simulate" or both.
        count: candidates drawn of verification's rejections, for either source.
        seed: of the draws.
    """
    everybody = {candidate.id: candidate for candidate in store.candidates()}
    groups = []
    for stage in stages:
        pools = _verify_pools(store) if stage == "verify" else _simulate_pools(store, everybody)
        shares = [1.0, 1.0] if stage == "verify" else _shares([len(pools[BRED]), len(pools[RANDOM])])
        for source, share in zip((BRED, RANDOM), shares, strict=True):
            pool = pools[source]
            wanted = count if stage == "verify" else max(1, round(count / 5 * share))
            rng = np.random.default_rng([seed, stage == "verify", source == BRED])
            picks = tuple(
                Pick(everybody[number], stage, source, weight)
                for number, weight in systematic(pool, wanted, rng)
            )
            groups.append(Group(stage, source, round(sum(weight for _, weight in pool)), picks))
    return groups


def systematic(
    pool: Sequence[tuple[int, float]], count: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """Draw about `count` of (id, weight) with chances in proportion to the weights; every draw stands for as many.

    The pool keeps its order, so that every stretch of it has its share. Where a weight is so large that an item is
    drawn several times, it is returned once and stands for the sum.
    """
    if len(pool) <= count:
        return [(number, weight) for number, weight in pool if weight > 0]
    total = sum(weight for _, weight in pool)
    interval = total / count
    ends = np.cumsum([weight for _, weight in pool])
    marks = (np.arange(count) + rng.random()) * interval
    places, times = np.unique(np.searchsorted(ends, marks, side="right"), return_counts=True)
    last = len(pool) - 1
    return [(pool[min(int(p), last)][0], interval * int(t)) for p, t in zip(places, times, strict=True)]


def survivors(store: RunStore, slot: str, count: int, seed: int) -> list[Candidate]:
    """At most `count` candidates of the slot, at random of those that passed both filters and were no seed."""
    passed = [
        candidate
        for candidate in store.candidates(slot)
        if candidate.origin != "seed" and candidate.duplicate_of is None
        and _passed(store.verdicts(candidate.id))
    ]  # fmt: skip
    if len(passed) <= count:
        return passed
    chosen = np.random.default_rng([seed, len(slot)]).choice(len(passed), count, replace=False)
    return [passed[place] for place in sorted(chosen)]


def _passed(verdicts: Mapping[str, Verdict]) -> bool:
    """Whether every filter that saw the candidate accepted it."""
    return bool(verdicts) and all(verdict.accepted for verdict in verdicts.values())


def trained_formula(formula: str, signature: Signature) -> str:
    """What is trained for a candidate: its formula, or `STILL` where it reads nothing that moves."""
    names = set(formula.replace("(", ",").replace(")", ",").split(","))
    return formula if names & signature.moving else STILL


def _shares(sizes: Sequence[int]) -> list[float]:
    total = sum(sizes)
    return [size / total if total else 0.0 for size in sizes]


def _source(origin: str) -> str:
    return RANDOM if origin in ("random", "scout") else BRED


def _verify_pools(store: RunStore) -> dict[str, list[tuple[int, float]]]:
    pools: dict[str, list[tuple[int, float]]] = {BRED: [], RANDOM: []}
    for one in sorted(store.rejected(), key=lambda r: (r.slot, r.generation, r.source)):
        if one.stage == "verify":
            pools[_source(one.source)] += [(n, one.population / len(one.candidates)) for n in one.candidates]
    return pools


def _simulate_pools(store: RunStore, everybody: dict[int, Candidate]) -> dict[str, list[tuple[int, float]]]:
    pools: dict[str, list[tuple[int, float]]] = {BRED: [], RANDOM: []}
    for candidate in everybody.values():
        verdict = store.verdicts(candidate.id).get("simulate")
        if verdict is not None and not verdict.accepted:
            pools[_source(candidate.origin)].append((candidate.id, 1.0))
    return pools
