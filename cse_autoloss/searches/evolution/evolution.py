"""The evolutionary search as `init / ask / tell` on a value: same state, same questions.

Source: CSE-Autoloss (Liu et al., ICLR 2021) evolves a population by selection among the best, crossover and mutation.
Its population and tournament sizes, rates and depths are not published; those of the settings are ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.searches.evolution.genome import (
    Limits,
    PrimitiveSet,
    Tree,
    crossover,
    mutate_constant,
    mutate_point,
    mutate_subtree,
    random_tree,
    seeded,
)
from cse_autoloss.searches.evolution.population import EvolutionState, Member, ranked


class EvolutionRates(Protocol):
    """The settings that an evolution reads; the `evolution` section of a search's configuration has them."""

    @property
    def population(self) -> int: ...
    @property
    def tournament(self) -> int: ...
    @property
    def crossover(self) -> float: ...
    @property
    def subtree_mutation(self) -> float: ...
    @property
    def point_mutation(self) -> float: ...
    @property
    def random_fraction(self) -> float: ...
    @property
    def max_depth(self) -> int: ...
    @property
    def max_nodes(self) -> int: ...
    @property
    def init_depth(self) -> tuple[int, int]: ...
    @property
    def operators(self) -> Sequence[str] | None: ...


@dataclass(frozen=True)
class Proposal:
    """A candidate that the search wants to know the worth of.

    Attributes:
        graph: the loss.
        origin: how it was made.
        parents: digests of the losses it was bred from.
    """

    graph: LossGraph
    origin: str
    parents: tuple[str, ...] = ()


class Evolution:
    """Tournament selection, typed crossover and mutations, random immigrants, survival of the best."""

    def __init__(
        self,
        rates: EvolutionRates,
        signatures: tuple[Signature, ...],
        seed: int,
        starters: Sequence[LossGraph] = (),
    ) -> None:
        """
        Args:
            rates: sizes and probabilities, and the operators that new parts are made of (None: the paper's); what
                crossover, subtree and point mutation leave is constant mutation.
            signatures: the branches to search, in turn.
            seed: of the run.
            starters: losses that candidates are bred from as long as a branch has no population.
        """
        self._rates = rates
        self._seed = seed
        self._limits = Limits(rates.max_depth, rates.max_nodes)
        self._primitives = {
            signature.name: PrimitiveSet.of(signature, rates.operators) for signature in signatures
        }
        self._starters = tuple(starters)

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that are searched."""
        return tuple(self._primitives)

    def init(self) -> EvolutionState:
        """An empty state: the first generation is bred from the starters, or is random where there are none."""
        return EvolutionState(0, dict.fromkeys(self._primitives, ()))

    def branch_of(self, generation: int) -> str:
        """The branch that a generation works on: they take turns."""
        return self.branches[generation % len(self.branches)]

    def ask(self, state: EvolutionState, attempt: int, count: int) -> list[Proposal]:
        """Candidates for the generation that `state` is about to begin.

        Args:
            state: as `init` or `tell` gave it.
            attempt: number of earlier calls for this generation; a further call gives other candidates.
            count: how many.
        """
        branch = self.branch_of(state.generation)
        primitives = self._primitives[branch]
        members = ranked(state.populations[branch]) or tuple(
            Member(graph.formula, graph.digest, "seed", 0, ())
            for graph in self._starters
            if graph.branch == branch
        )
        trees = [primitives.to_tree(parse_formula(m.formula, primitives.signature)) for m in members]
        proposals: list[Proposal] = []
        with seeded(f"{self._seed}:{branch}:{state.generation}:{attempt}"):
            while len(proposals) < count:
                tree, origin, parents = self._breed(primitives, members, trees)
                if not self._limits.holds(tree):
                    continue
                try:
                    graph = primitives.to_graph(tree)
                except FormulaError:
                    continue
                proposals.append(Proposal(graph, origin, parents))
        return proposals

    def tell(self, state: EvolutionState, trained: tuple[Member, ...]) -> EvolutionState:
        """The state after a generation: members and newcomers compete, the best `population` stay.

        Args:
            state: from which the generation was asked.
            trained: members as they are now, whether new or scored again; one that failed is not among them.
        """
        branch = self.branch_of(state.generation)
        pool = {member.digest: member for member in state.populations[branch]}
        pool.update({member.digest: member for member in trained if member.scores})
        survivors = ranked(tuple(pool.values()))[: self._rates.population]
        populations = {**state.populations, branch: survivors}
        # A branch that has not begun yet will be searched beside the best that the others have by now.
        partners = dict(state.partners)
        for name in self.branches:
            if survivors and not populations[name]:
                partners[name] = survivors[0].formula
        return EvolutionState(state.generation + 1, populations, partners)

    def _breed(
        self, primitives: PrimitiveSet, members: tuple[Member, ...], trees: list[Tree]
    ) -> tuple[Tree, str, tuple[str, ...]]:
        rates = self._rates
        draw = random.random()
        if not members or draw < rates.random_fraction:
            return random_tree(primitives, *rates.init_depth), "random", ()
        one = self._tournament(len(members))
        parents: tuple[str, ...] = (members[one].digest,)
        draw = random.random()
        if draw < rates.crossover:
            two = self._tournament(len(members))
            child = random.choice(crossover(trees[one], trees[two]))
            return child, "crossover", (members[one].digest, members[two].digest)
        draw -= rates.crossover
        # Two changes in a row now and then: some improvements have no viable half-way house.
        repeats = 2 if random.random() < 0.25 else 1
        child = trees[one]
        if draw < rates.subtree_mutation:
            origin, mutate = "subtree", mutate_subtree
        elif draw < rates.subtree_mutation + rates.point_mutation:
            origin, mutate = "point", mutate_point
        else:
            origin, mutate = "constant", mutate_constant
        for _ in range(repeats):
            child = mutate(child, primitives)
        return child, origin, parents

    def _tournament(self, size: int) -> int:
        """Index of the winner: members are sorted best first, so it is the least of the drawn indices."""
        return min(random.randrange(size) for _ in range(max(1, self._rates.tournament)))
