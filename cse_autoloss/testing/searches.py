"""Tests for searches that come with the package: a new one gets its own in three lines of a pytest file.

class TestMine(SearchConformance):
    search = "my_file.py:MySearch"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from cse_autoloss.graph import Signature
from cse_autoloss.searches.protocol import Member, Proposal, Search, SearchState, slot_of, turns_of
from cse_autoloss.searches.registry import SEARCHES
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import signature_of


class SearchConformance:
    """What every search must do; a subclass names one.

    Attributes:
        search: a name that `--search` takes.
        slots: slot -> signature's name, that it is tried on.
        settings: of the configuration, by dotted key.
        generations: that it is driven through.
    """

    search: ClassVar[str]
    slots: ClassVar[Mapping[str, str]] = {"cls": "cls-multiclass", "reg": "reg"}
    settings: ClassVar[Mapping[str, Any]] = {}
    generations: ClassVar[int] = 4

    # -- what the tests stand on -----------------------------------------------------------------------------

    def made(self, seed: int = 0) -> Search:
        """The search, anew."""
        small = {
            "evolution.population": 8,
            "evolution.tournament": 2,
            "evolution.elite": 1,
            "reinforce.samples": 4,
        }
        config = load_config(None, {"search": self.search, "seed": seed, **small, **self.settings})
        slots: dict[str, Signature] = {slot: signature_of(name) for slot, name in self.slots.items()}
        return SEARCHES.get(self.search)(config, slots, dict.fromkeys(slots, ()))

    def worth(self, proposal: Proposal, slot: str) -> float:
        """What a proposal is worth here: decided by its text, so that the same one is worth the same."""
        return (sum(proposal.formula.encode()) % 997) / 997

    def asked(self, search: Search, state: SearchState, attempt: int = 0) -> list[Proposal]:
        """A batch of a generation."""
        return search.ask(state, attempt, search.samples or 12)

    def after(self, search: Search, state: SearchState, failing: int = 0) -> SearchState:
        """The state after a generation of which every `failing`-th candidate failed."""
        slot = slot_of(turns_of(search), state.generation)
        members = [
            Member(p.formula, p.digest, p.origin, state.generation, (self.worth(p, slot),))
            for number, p in enumerate(self.asked(search, state))
            if not (failing and number % failing == 0)
        ]
        return search.tell(state, members)

    def driven(self, search: Search, failing: int = 0) -> list[SearchState]:
        """The states of a run."""
        states = [search.init()]
        for _ in range(self.generations):
            states.append(self.after(search, states[-1], failing))
        return states

    # -- tests -----------------------------------------------------------------------------------------------

    def test_it_begins_with_nothing(self) -> None:
        search = self.made()
        state = search.init()
        assert state.generation == 0
        assert set(state.populations) == set(search.slots) <= set(self.slots)
        assert not any(state.populations.values())

    def test_the_same_state_asks_the_same(self) -> None:
        one, other = self.made(), self.made()
        for state in self.driven(one):
            assert self.asked(one, state) == self.asked(one, state) == self.asked(other, state)

    def test_another_seed_asks_something_else(self) -> None:
        one, other = self.made(0), self.made(1)
        assert self.asked(one, one.init()) != self.asked(other, other.init())

    def test_a_state_survives_as_json(self) -> None:
        search = self.made()
        for state in self.driven(search):
            back = SearchState.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))
            assert self.asked(search, back) == self.asked(search, state)
            assert self.after(search, back).to_json() == self.after(search, state).to_json()

    def test_slots_take_turns_and_proposals_fit_them(self) -> None:
        search = self.made()
        for state in self.driven(search):
            signature = search.slots[slot_of(turns_of(search), state.generation)]
            for proposal in self.asked(search, state):
                if search.expressions:
                    assert proposal.graph is not None
                    assert proposal.graph.signature == signature
                    assert proposal.graph.formula == proposal.formula
                else:
                    assert proposal.graph is None

    def test_the_best_stay_best_first(self) -> None:
        for state in self.driven(self.made())[1:]:
            for members in state.populations.values():
                worths = [member.fitness for member in members]
                assert worths == sorted(worths, reverse=True)
                assert len(worths) <= 8

    def test_failures_are_survived(self) -> None:
        search = self.made()
        assert self.driven(search, failing=2)[-1].generation == self.generations
        assert search.tell(search.init(), ()).generation == 1

    def test_what_it_bets_on_is_a_candidate(self) -> None:
        search = self.made()
        for slot, proposal in search.guess(self.driven(search)[-1]).items():
            assert slot in search.slots
            assert proposal.formula
