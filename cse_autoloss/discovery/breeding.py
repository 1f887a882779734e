"""Where a generation's candidates are bred and verified: here, or by the workers where these are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cse_autoloss.bench import bred
from cse_autoloss.bench.schedule import Batch, Pending, Process, Workbench
from cse_autoloss.discovery.funnel import Entrant, Funnel, Looked
from cse_autoloss.executors import Job, JobResult
from cse_autoloss.graph import LossGraph
from cse_autoloss.searches.protocol import Search, SearchState, slot_of, turns_of

MANY = 16
"""Workers from which on they breed, too. Fewer are kept busy by the main process, which then shares their cores."""


class Breeding:
    """Asks a search and verifies what it proposes, attempt by attempt; the same, wherever it is done."""

    def __init__(
        self,
        bench: Workbench,
        search: Search,
        funnel: Funnel,
        starters: Mapping[str, Sequence[Entrant]],
    ) -> None:
        """
        Args:
            bench: whose workers may breed.
            search: that is asked.
            funnel: verifies what is bred here.
            starters: handcrafted and the user's losses that open each slot's population.
        """
        self._bench, self._search, self._funnel, self._starters = bench, search, funnel, starters
        self._far = search.expressions and bench.executor.workers >= MANY
        self._coming: dict[str, Pending[dict[str, JobResult]]] = {}
        self._needed: dict[str, int] = {}

    def starters(self, state: SearchState) -> list[Entrant]:
        """The losses that open the slot of the generation to be bred; none where it has a population."""
        slot = slot_of(turns_of(self._search), state.generation)
        opens = self._search.expressions and not state.populations[slot]
        return list(self._starters.get(slot, ())) if opens else []

    def attempt(self, state: SearchState, attempt: int, count: int, most: int) -> list[Looked]:
        """What verification says of an attempt's candidates; nothing where there are no others.

        Args:
            state: of the generation that is to be bred.
            attempt, count: as of `Search.ask`.
            most: attempts in a generation.
        """
        bench, slot = self._bench, slot_of(turns_of(self._search), state.generation)
        starters = [] if attempt else self._funnel.look(self.starters(state))
        if self._far:
            with bench.clock.stage("generate"):
                found = self._by_worker(state, slot, attempt, count, most)
            if found is not None:
                return starters + found
        with bench.clock.stage("generate"):
            entrants = [Entrant(proposal) for proposal in self._search.ask(state, attempt, count)]
        return starters + self._funnel.look(entrants)

    def _by_worker(
        self, state: SearchState, slot: str, attempt: int, count: int, most: int
    ) -> list[Looked] | None:
        """None where a worker failed at it. As many attempts as the slot took last time are under way at once."""
        ahead = max(self._needed.get(slot, 1), attempt + 2)
        if attempt == 0:
            self._coming.clear()
        jobs = [bred.job(state, self._graphs, number, count) for number in range(attempt, min(ahead, most))]
        for job in jobs:
            if job.key not in self._coming:
                self._coming[job.key] = self._bench.start(_alone(job))
        self._needed[slot] = attempt + 1
        result = self._bench.finish(self._coming.pop(jobs[0].key)).get(jobs[0].key)
        if result is None:
            return []  # the deadline has passed
        if result.status != "ok":
            return None
        told = bred.told(result.value, self._search.slots[slot])
        return [(Entrant(proposal, "", mark), verdict) for proposal, mark, verdict in told]

    @property
    def _graphs(self) -> dict[str, list[LossGraph]]:
        return {
            slot: [e.proposal.graph for e in own if e.proposal.graph is not None]
            for slot, own in self._starters.items()
        }


def _alone(job: Job) -> Process[dict[str, Any]]:
    return (yield Batch([job]))
