"""The state of an evolution: a frozen value that can be kept as JSON and gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Member:
    """A loss that was trained at least once.

    Attributes:
        formula: prefix notation.
        digest: canonical hash of the graph.
        origin: "seed", "random", "crossover", "subtree", "point" or "constant".
        generation: in which it was proposed.
        scores: validation AP of each proxy training, in [0, 1], one a seed.
        name: catalogue name of a handcrafted loss, else empty.
    """

    formula: str
    digest: str
    origin: str
    generation: int
    scores: tuple[float, ...]
    name: str = ""

    @property
    def fitness(self) -> float:
        """Mean validation AP over the seeds it was trained with."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")


def ranked(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """Best first; ties are broken by size and digest, so that the order never depends on time."""
    return tuple(sorted(members, key=lambda m: (-m.fitness, len(m.formula), m.digest)))


@dataclass(frozen=True)
class EvolutionState:
    """Where an evolution stands.

    Attributes:
        generation: number of generations that are done.
        populations: for each branch that is searched, its members.
        partners: for a branch, the loss that stands in the other one while it is searched; fixed when the branch
            begins, so that its scores can be compared. A branch that is not in it has the plan's.
    """

    generation: int = 0
    populations: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    partners: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "generation": self.generation,
            "populations": {b: [asdict(m) for m in members] for b, members in self.populations.items()},
            "partners": dict(self.partners),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvolutionState:
        """The inverse of `to_json`."""
        populations = {
            branch: tuple(Member(**{**member, "scores": tuple(member["scores"])}) for member in members)
            for branch, members in data["populations"].items()
        }
        return cls(int(data["generation"]), populations, data["partners"])
