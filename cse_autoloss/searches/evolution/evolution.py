"""The evolutionary search as `init / ask / tell` on a value: same state, same questions.

Source: CSE-Autoloss (Liu et al., ICLR 2021) evolves a population by selection among the best, crossover and mutation.
Its population and tournament sizes, rates and depths are not published; those of the settings are ours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from cse_autoloss.errors import FormulaError
from cse_autoloss.graph import LossGraph, Signature, parse_formula
from cse_autoloss.searches.evolution.genome import (
    Limits,
    PrimitiveSet,
    Tree,
    crossover,
    fade,
    mutate_constant,
    mutate_point,
    mutate_subtree,
    random_tree,
    seeded,
)
from cse_autoloss.searches.evolution.known import drawn_point, families_of
from cse_autoloss.searches.evolution.numbers import mutate_number
from cse_autoloss.searches.protocol import Member, Proposal, SearchState, ranked, slot_of
from cse_autoloss.settings.schema import EvolutionSettings, SearchConfig


class Evolution:
    """Tournament selection, typed crossover and mutations, random immigrants, survival of the best."""

    expressions = True
    samples = None

    def __init__(
        self,
        rates: EvolutionSettings,
        slots: Mapping[str, Signature],
        seed: int,
        starters: Mapping[str, Sequence[LossGraph]] | None = None,
    ) -> None:
        """
        Args:
            rates: sizes and probabilities, and the operators that new parts are made of (None: the paper's); what
                crossover, subtree and point mutation leave is constant mutation.
            slots: to search, in turn.
            seed: of the run.
            starters: losses that candidates of a slot are bred from as long as it has no population.
        """
        self._rates = rates
        self._seed = seed
        self._limits = Limits(rates.max_depth, rates.max_nodes)
        self.slots = dict(slots)
        turns = tuple(slot for slot in rates.turns if slot in slots)
        self.turns = turns if set(turns) == set(slots) else tuple(slots)
        self._primitives = {
            slot: PrimitiveSet.of(signature, rates.operators) for slot, signature in slots.items()
        }
        self._starters = dict(starters or {})
        self._families = {
            slot: families_of(signature) if rates.operators is None and rates.handcrafted_seeds else ()
            for slot, signature in slots.items()
        }

    def init(self) -> SearchState:
        """An empty state: the first generation is bred from the starters, or is random where there are none."""
        return SearchState(0, dict.fromkeys(self.slots, ()))

    def ask(self, state: SearchState, attempt: int, count: int) -> list[Proposal]:
        """Candidates for the generation that `state` is about to begin; see `Search.ask`."""
        slot = slot_of(self.turns, state.generation)
        primitives = self._primitives[slot]
        members = ranked(state.populations[slot]) or tuple(
            Member(graph.formula, graph.digest, "seed", 0, ()) for graph in self._starters.get(slot, ())
        )
        trees = [primitives.to_tree(parse_formula(m.formula, primitives.signature)) for m in members]
        proposals: list[Proposal] = []
        with seeded(f"{self._seed}:{primitives.signature.name}:{state.generation}:{attempt}"):
            while len(proposals) < count:
                tree, origin, parents = self._breed(slot, members, trees)
                if not self._limits.holds(tree):
                    continue
                try:
                    graph = primitives.to_graph(tree)
                except FormulaError:
                    continue
                proposals.append(Proposal.of(graph, origin, parents))
        return proposals

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """The state after a generation: members and newcomers compete, the best `population` stay."""
        return state.survived(slot_of(self.turns, state.generation), trained, self._rates.population)

    def guess(self, state: SearchState) -> dict[str, Proposal]:
        """None: what it holds best was trained."""
        return {}

    def _breed(
        self, slot: str, members: tuple[Member, ...], trees: list[Tree]
    ) -> tuple[Tree, str, tuple[str, ...]]:
        rates, primitives = self._rates, self._primitives[slot]
        draw = random.random()
        if not members or draw < rates.random_fraction:
            return random_tree(primitives, *rates.init_depth), "random", ()
        one = self._tournament(len(members))
        parents: tuple[str, ...] = (members[one].digest,)
        # Nothing is drawn where it can't be, so that other searches stay what they were.
        families = self._families[slot]
        if families and random.random() < rates.families:
            ranks = {member.digest: rank for rank, member in enumerate(members)}
            point = drawn_point(families, primitives.signature, ranks, rates.tournament)
            return primitives.to_tree(point), "family", ()
        if primitives.fades and random.random() < rates.fade:
            two = self._tournament(len(members))
            child = fade(trees[one], trees[two], primitives)
            return child, "fade", (members[one].digest, members[two].digest)
        if random.random() < rates.numbers:
            return mutate_number(trees[one], primitives), "number", parents
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


def make_evolution(
    config: SearchConfig, slots: Mapping[str, Signature], starters: Mapping[str, Sequence[LossGraph]]
) -> Evolution:
    """The search of a configuration."""
    return Evolution(config.evolution, slots, config.seed, starters)
