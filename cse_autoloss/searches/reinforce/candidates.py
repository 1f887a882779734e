"""REINFORCE as a search of candidates: each θ of a generation is a loss, trained from nothing and scored.

The papers' own algorithm trains B models side by side for an epoch a generation (`discovery.side_by_side`). Here a
generation is B whole trainings, which any task can do, on any executor; the distribution moves by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cse_autoloss.graph import Signature
from cse_autoloss.searches.parametric import proposal, rewards, space_of, space_slot
from cse_autoloss.searches.protocol import Member, Proposal, SearchState
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce, ReinforceState
from cse_autoloss.settings.schema import SearchConfig
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.spaces.parametric import ParametricSpace


def policy_of(
    config: SearchConfig, space: ParametricSpace, seed: int, side_by_side: bool = False
) -> Reinforce:
    """The distribution that a configuration asks for; Random-Softmax has one that stays, and needs one model then.

    To the letter of AM-LFS's paper (`reinforce.paper`) σ is a covariance, N(μ, σI); Search-Softmax writes N(μ, σ²), and
    its σ is a deviation.
    """
    own, uniform = config.reinforce, space.name == "random-softmax"
    covariance = own.paper and isinstance(space, AmLfs)
    return Reinforce(
        space,
        samples=1 if uniform and side_by_side else own.samples,
        sigma=math.sqrt(own.sigma) if covariance else own.sigma,
        lr=own.lr,
        seed=seed,
        update=own.update and not uniform,
        draw="uniform" if uniform else "gaussian",
        decay=own.sigma_decay,
        antithetic=own.antithetic,
        ranks=own.rank_rewards,
        baseline=own.reward_baseline,
        sigma_lr=own.sigma_lr,
        reuse=own.reuse,
    )


class ReinforceSearch:
    """The distribution of `Reinforce`, whose state is the memory of the search's."""

    expressions = False

    def __init__(self, config: SearchConfig, slots: Mapping[str, Signature], starters: Any = None) -> None:
        own = config.reinforce
        self._space = space_of(config)
        self.slots = space_slot(config, slots, self._space)
        self.samples = own.samples
        self._population = config.evolution.population
        self._reinforce = policy_of(config, self._space, config.seed)

    def init(self) -> SearchState:
        """μ is the space's start."""
        return SearchState(0, dict.fromkeys(self.slots, ()), memory=self._reinforce.init().to_dict())

    def ask(self, state: SearchState, attempt: int, count: int) -> list[Proposal]:
        """B θs drawn around μ, as they are once the space's rules hold; none at a further attempt."""
        if attempt:
            return []
        drawn = self._reinforce.ask(ReinforceState.from_dict(dict(state.memory)))
        return [proposal(self._space, theta, "drawn") for theta in drawn.tolist()]

    def tell(self, state: SearchState, trained: Sequence[Member]) -> SearchState:
        """μ moves towards what was worth more; where all failed it stays."""
        (slot,) = self.slots
        inner = ReinforceState.from_dict(dict(state.memory))
        try:
            moved = self._reinforce.tell(inner, rewards(self.ask(state, 0, self.samples), trained))
        except DivergedError:
            moved = replace(inner, epoch=inner.epoch + 1)
        return replace(state.survived(slot, trained, self._population), memory=moved.to_dict())

    def guess(self, state: SearchState) -> Mapping[str, Proposal]:
        """The loss at μ: what the search would bet on."""
        (slot,) = self.slots
        mu = ReinforceState.from_dict(dict(state.memory)).mu
        return {slot: proposal(self._space, mu, "mu")}
