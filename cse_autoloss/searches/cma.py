"""CMA-ES on a parametric loss space, as a search of candidates: see `searches.evolution.strategy`.

The strategy's own state is not kept: it is told the generations so far again, which takes no time beside a training,
so that what is kept is plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cse_autoloss.graph import Signature
from cse_autoloss.searches.evolution.strategy import Strategy, Vector
from cse_autoloss.searches.parametric import proposal, rewards, space_of, space_slot
from cse_autoloss.searches.protocol import Member, Proposal, SearchState
from cse_autoloss.settings.schema import SearchConfig


class CmaSearch:
    """θ ~ N(m, σ²C), moved by the ranks of what was worth more; σ starts at `reinforce.sigma`."""

    expressions = False

    def __init__(self, config: SearchConfig, slots: Mapping[str, Signature], starters: Any = None) -> None:
        own = config.reinforce
        self._space = space_of(config)
        self.slots = space_slot(config, slots, self._space)
        self.samples = max(4, own.samples)
        self._population, self._seed, self._step = config.evolution.population, config.seed, own.sigma

    def init(self) -> SearchState:
        """The centre is the space's start."""
        return SearchState(0, dict.fromkeys(self.slots, ()), memory={"worths": []})

    def ask(self, state: SearchState, attempt: int, count: int) -> list[Proposal]:
        """θs drawn around the centre; none at a further attempt."""
        if attempt:
            return []
        return [proposal(self._space, theta, "drawn") for theta in self._strategy(state)[1]]

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """Keeps what they were worth; one that failed counts as the worst of its generation."""
        (slot,) = self.slots
        found = rewards(self.ask(state, 0, self.samples), trained)
        sound = [worth for worth in found if math.isfinite(worth)]
        worths = [worth if math.isfinite(worth) else min(sound, default=0.0) for worth in found]
        memory = {"worths": [*state.memory["worths"], worths]}
        return replace(state.survived(slot, trained, self._population), memory=memory)

    def guess(self, state: SearchState) -> Mapping[str, Proposal]:
        """The loss at the centre."""
        (slot,) = self.slots
        return {slot: proposal(self._space, self._strategy(state)[0].mean, "centre")}

    def _strategy(self, state: SearchState) -> tuple[Strategy, list[Vector]]:
        """The strategy as it stands, and what it asks next."""
        strategy = Strategy(self._space.start, self._step, self.samples, self._seed)
        asked = strategy.ask()
        for worths in state.memory["worths"]:
            strategy.tell(asked, worths)
            asked = strategy.ask()
        return strategy, asked
