"""Where a study stands between two calls, as its store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.graph import Signature, parse_formula
from cse_autoloss.searches.protocol import Member, Proposal, SearchState
from cse_autoloss.study.candidate import Candidate


@dataclass
class Standing:
    """The search's state, and what happened since it was told last.

    Attributes:
        told: candidates of this generation whose value is known.
        closed: how many of this generation were told, failures included.
        pool: verified, and not handed out yet.
        attempt: batches bred for this generation.
        asked: candidates handed out in all.
        open: number -> candidate of which no value was told yet.
        again: of the open ones, those that the next call hands out first.
    """

    state: SearchState
    told: list[Member] = field(default_factory=list)
    closed: int = 0
    pool: list[Entrant] = field(default_factory=list)
    attempt: int = 0
    asked: int = 0
    open: dict[int, Candidate] = field(default_factory=dict)
    again: list[Candidate] = field(default_factory=list)

    def next_generation(self, state: SearchState) -> None:
        """Begin the generation of `state`; open candidates stay open."""
        self.state, self.told, self.closed, self.pool, self.attempt = state, [], 0, [], 0

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "state": self.state.to_json(),
            "told": [
                [m.formula, m.digest, m.origin, m.generation, list(m.scores), m.name] for m in self.told
            ],
            "closed": self.closed,
            "attempt": self.attempt,
            "asked": self.asked,
            "pool": [_pooled(one) for one in self.pool],
            "open": [[c.number, c.slot, c.origin, dict(c.texts)] for c in self.open.values()],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any], signature: Signature | None) -> Standing:
        """All but the open candidates, which the study makes; `signature` is None where the pool has no formulas."""
        pool = []
        for formula, digest, origin, parents, name, fingerprint in kept["pool"]:
            graph = None if signature is None else parse_formula(formula, signature)
            pool.append(Entrant(Proposal(formula, digest, origin, tuple(parents), graph), name, fingerprint))
        told = [Member(f, d, o, g, tuple(s), n) for f, d, o, g, s, n in kept["told"]]
        state = SearchState.from_json(kept["state"])
        return cls(state, told, kept["closed"], pool, kept["attempt"], kept["asked"])


def _pooled(one: Entrant) -> list[Any]:
    made = one.proposal
    return [made.formula, made.digest, made.origin, list(made.parents), one.name, one.fingerprint]
