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
        branch: "cls-binary", "cls-multiclass" or "reg".
        formula: prefix notation.
        digest: canonical hash; equal for formulas that differ in the order of commutative operands only.
        generation, slot: its place in the search: the slot-th proposal of that generation.
        origin: "seed", "random", "crossover", "mutation", ...
        parents: digests of the candidates that it was bred from.
        duplicate_of: id of the earlier candidate that is the same loss, if there is one.
        created: seconds since the epoch.
    """

    id: int
    branch: str
    formula: str
    digest: str
    generation: int
    slot: int
    origin: str
    parents: tuple[str, ...]
    duplicate_of: int | None
    created: float


@dataclass(frozen=True)
class Rejected:
    """What one filter threw away in one generation, and the uniform sample of it that was kept.

    Attributes:
        branch, generation: where.
        stage: the filter, "verify" or "simulate".
        source: where the candidates came from, for example "scout" or "bred".
        population: how many were thrown away.
        candidates: ids of those in the sample.
    """

    branch: str
    generation: int
    stage: str
    source: str
    population: int
    candidates: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """What one training came to. Only status "ok" carries an AP; any other status says why there is none.

    Attributes:
        key: `job_key` of everything that decides the result.
        purpose: "proxy", "tune", "audit", ...: what it was trained for.
        cls, reg: formulas (or catalogue names) of the pair of losses.
        split: the split it was scored on: "val" or "test".
        seed, epochs, box_weight, lr: the schedule.
        status: "ok", "diverged", "error", "timeout", "crashed".
        ap, ap50, ap75: in [0, 1].
        detail: one line for a person when there is no AP.
        seconds: of training and scoring.
        candidate: id of the candidate it was trained for; None for baselines.
        extra: more figures, as JSON.
    """

    key: str
    purpose: str
    cls: str
    reg: str
    split: str
    seed: int
    epochs: float
    box_weight: float
    lr: float
    status: str = "ok"
    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    detail: str = ""
    seconds: float = 0.0
    candidate: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status == "ok":
            if self.ap is None or not (math.isfinite(self.ap) and 0.0 <= self.ap <= 1.0):
                raise ValueError(f"a score with status 'ok' needs an AP in [0, 1], but got ap={self.ap!r}")
        elif self.ap is not None:
            raise ValueError(f"a score with status {self.status!r} can't hold an AP, but got ap={self.ap!r}")


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
