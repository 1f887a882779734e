"""What a run store takes and gives: frozen records, and the key under which a training's score is kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A proposed loss.

    Attributes:
        id: number in the store.
        slot: the task's slot that it is for, for example "cls".
        formula: prefix notation.
        digest: canonical hash; equal for formulas that differ in the order of commutative operands only.
        generation, place: where in the search: the place-th proposal of that generation.
        origin: "seed", "random", "crossover", "mutation", ...
        parents: digests of the candidates that it was bred from.
        duplicate_of: id of the earlier candidate that is the same loss, if there is one.
        created: seconds since the epoch.
    """

    id: int
    slot: str
    formula: str
    digest: str
    generation: int
    place: int
    origin: str
    parents: tuple[str, ...]
    duplicate_of: int | None
    created: float


@dataclass(frozen=True)
class Proposed:
    """What a search proposes, as `RunStore.add_generation` takes it; attributes as of `Candidate`."""

    formula: str
    digest: str
    origin: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """What one filter threw away in one generation, and the uniform sample of it that was kept.

    Attributes:
        slot, generation: where.
        stage: the filter, "verify" or "simulate".
        source: where the candidates came from, for example "scout" or "bred".
        population: how many were thrown away.
        candidates: ids of those in the sample.
    """

    slot: str
    generation: int
    stage: str
    source: str
    population: int
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """What one training came to. Only status "ok" carries metrics; any other status says why there are none.

    Attributes:
        key: `job_key` of everything that decides the result.
        purpose: "proxy", "tune", "audit", ...: what it was trained for.
        losses: formula (or catalogue name) of each slot's loss.
        split: the split it was scored on: "val" or "test".
        seed, epochs: of the training.
        settings: what is tuned for every contestant, by name: learning rate, weights of slots.
        status: "ok", "diverged", "error", "timeout", "crashed".
        metrics: finite figures by name.
        detail: one line for a person when there are no metrics.
        seconds: of training and scoring.
        candidate: id of the candidate it was trained for; None for baselines.
        extra: more figures, as JSON.
        created: seconds since the epoch, as the store has it.
    """

    key: str
    purpose: str
    losses: Mapping[str, str]
    split: str
    seed: int
    epochs: float
    settings: Mapping[str, float] = field(default_factory=dict)
    status: str = "ok"
    metrics: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    seconds: float = 0.0
    candidate: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    created: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        finite = bool(self.metrics) and all(math.isfinite(value) for value in self.metrics.values())
        if self.status == "ok" and not finite:
            raise ValueError(f"a score with status 'ok' needs finite metrics, but got {dict(self.metrics)}")
        if self.status != "ok" and self.metrics:
            raise ValueError(
                f"a score with status {self.status!r} can't hold metrics, but got {dict(self.metrics)}"
            )


@dataclass(frozen=True)
class Event:
    """Something that happened to the run: started, resumed, interrupted, shrunk, ..."""

    created: float
    kind: str
    detail: Mapping[str, Any]


def job_key(**parts: Any) -> str:
    """Hash of everything that decides a training's result: same parts in any order, same key.

    Args:
        parts: JSON values. Give the canonical digests of the losses, seed, schedule, split, data and model
            settings; give nothing that doesn't change the result (worker, time), or a resume trains again.

    Returns:
        32 hexadecimal digits.

    >>> job_key(cls="a1", seed=0) == job_key(seed=0, cls="a1")
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
