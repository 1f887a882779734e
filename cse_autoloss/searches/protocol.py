"""What a search is to the rest of the package; `cse_autoloss.testing.searches` tests whether one keeps to it.

A search is `init / ask / tell` on a value: the same state gives the same questions, in any process. Whoever drives it
(the loop of a run, a `Study`) keeps the value as JSON, and knows no search by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from pydantic import TypeAdapter

from cse_autoloss.graph import LossGraph, Signature


@dataclass(frozen=True)
class Proposal:
    """A candidate that the search wants to know the worth of.

    Attributes:
        formula: prefix notation, or the JSON text of a parametric loss.
        digest: equal for candidates that are the same loss.
        origin: how it was made.
        parents: digests of the losses it was bred from.
        graph: the expression; None for a parametric loss, which needs no filters.
    """

    formula: str
    digest: str
    origin: str
    parents: tuple[str, ...] = ()
    graph: LossGraph | None = None

    @classmethod
    def of(cls, graph: LossGraph, origin: str, parents: tuple[str, ...] = ()) -> Proposal:
        """The proposal of an expression."""
        return cls(graph.formula, graph.digest, origin, parents, graph)


@dataclass(frozen=True)
class Member:
    """A loss that was trained at least once.

    Attributes:
        formula, digest: as of its proposal.
        origin: "seed", "random", "crossover", "subtree", "point", "constant", ...
        generation: in which it was proposed.
        scores: worth of each training on validation (the metric, negated where lower is better), one a seed.
        name: catalogue name of a handcrafted loss, else empty.
        expected: what it is expected to be worth by all that is known, losses like it included; None where nobody says.
    """

    formula: str
    digest: str
    origin: str
    generation: int
    scores: tuple[float, ...]
    name: str = ""
    expected: float | None = None

    @property
    def fitness(self) -> float:
        """Mean worth over the seeds it was trained with."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")

    @property
    def standing(self) -> float:
        """What it is ranked by: the expected worth, or else the mean of its own scores."""
        return self.fitness if self.expected is None else self.expected


def ranked(members: Sequence[Member]) -> tuple[Member, ...]:
    """Best first; ties are broken by size and digest, so that the order never depends on time."""
    return tuple(sorted(members, key=lambda m: (-m.standing, len(m.formula), m.digest)))


@dataclass(frozen=True)
class SearchState:
    """Where a search stands.

    Attributes:
        generation: number of generations that are done.
        populations: for each slot that is searched, the best members so far, best first.
        partners: for a slot, the losses that stand in the others while it is searched (slot -> formula); fixed when
            the slot begins, so that its scores can be compared. A slot that is not in it has the plain ones.
        memory: what else the search remembers, as JSON.
    """

    generation: int = 0
    populations: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    partners: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "generation": self.generation,
            "populations": {slot: [asdict(m) for m in members] for slot, members in self.populations.items()},
            "partners": {slot: dict(losses) for slot, losses in self.partners.items()},
            "memory": dict(self.memory),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SearchState:
        """The inverse of `to_json`."""
        return TypeAdapter(cls).validate_python(data)

    def survived(self, slot: str, trained: Sequence[Member], most: int) -> SearchState:
        """The state after a generation of a slot: members and newcomers compete, the best `most` stay.

        The best handcrafted loss always does: what was found is held against it. A slot that has not begun yet will be
        searched beside the best that the others have by now.

        Args:
            slot: that was searched.
            trained: members as they are now, whether new or scored again; one that failed is not among them.
            most: members that stay.
        """
        pool = {member.digest: member for member in self.populations.get(slot, ())}
        pool.update({member.digest: member for member in trained if member.scores})
        ranking = ranked(tuple(pool.values()))
        survivors = ranking[:most]
        if known := [member for member in ranking if member.name]:
            survivors = survivors if known[0] in survivors else (*survivors[: most - 1], known[0])
        populations = {**self.populations, slot: survivors}
        partners = {name: dict(losses) for name, losses in self.partners.items()}
        for name, members in populations.items():
            if survivors and not members:
                partners.setdefault(name, {})[slot] = survivors[0].formula
        return replace(self, generation=self.generation + 1, populations=populations, partners=partners)


class Search(Protocol):
    """Proposes losses and learns from what they are worth.

    Attributes:
        slots: the slots that it searches, in turn: slot -> signature.
        expressions: whether it proposes expressions, so that random drafts and handcrafted losses may stand among its
            candidates.
        turns: may be left out: the slots in the order in which generations work on them, where that is not each once.
        samples: candidates of a generation, where the search decides that; None for as many as the run has room for.
    """

    expressions: bool
    samples: int | None

    @property
    def slots(self) -> Mapping[str, Signature]: ...

    def init(self) -> SearchState:
        """The state before the first generation, with an empty population for each slot."""
        ...

    def ask(self, state: SearchState, attempt: int, count: int) -> list[Proposal]:
        """Candidates for the generation that `state` is about to begin.

        Args:
            state: as `init` or `tell` gave it.
            attempt: number of earlier calls for this generation; a further call gives other candidates.
            count: how many; fewer mean that there are no others.
        """
        ...

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """The state after a generation; a candidate that failed is not among `trained`."""
        ...

    def guess(self, state: SearchState) -> Mapping[str, Proposal]:
        """Candidates that were not trained and that the search would bet on, by slot: the centre of a distribution."""
        ...


def turns_of(search: Search) -> tuple[str, ...]:
    """The slots in the order in which generations work on them, again and again: the search's, or each once."""
    return tuple(getattr(search, "turns", None) or search.slots)


def slot_of(turns: Iterable[str], generation: int) -> str:
    """The slot that a generation works on: they take turns."""
    names = tuple(turns)
    return names[generation % len(names)]
