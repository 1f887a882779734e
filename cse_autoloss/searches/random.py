"""Random search: every candidate is drawn anew; what a search that learns has to beat with the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cse_autoloss.graph import Signature
from cse_autoloss.searches.evolution.genome import random_graph
from cse_autoloss.searches.protocol import Member, Proposal, SearchState, slot_of
from cse_autoloss.settings.load import SearchConfig


class RandomSearch:
    """Expressions of the depths that evolution starts with; the best stay, as its rivals and for the audit."""

    expressions = True
    samples = None

    def __init__(self, config: SearchConfig, slots: Mapping[str, Signature], starters: Any = None) -> None:
        self.slots = dict(slots)
        self._seed, self._rates = config.seed, config.evolution

    def init(self) -> SearchState:
        """Nothing is known."""
        return SearchState(0, dict.fromkeys(self.slots, ()))

    def ask(self, state: SearchState, attempt: int, count: int) -> list[Proposal]:
        """`count` random expressions."""
        signature = self.slots[slot_of(self.slots, state.generation)]
        name = f"random:{self._seed}:{signature.name}:{state.generation}:{attempt}"
        return [
            Proposal.of(random_graph(signature, f"{name}:{number}", *self._rates.init_depth), "random")
            for number in range(count)
        ]

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """The best stay."""
        return state.survived(slot_of(self.slots, state.generation), trained, self._rates.population)

    def guess(self, state: SearchState) -> dict[str, Proposal]:
        """None: what it holds best was trained."""
        return {}
