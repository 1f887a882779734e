"""The loop: ask for candidates, send them down the funnel, tell the search what they are worth.

It is written once, for any search behind `init / ask / tell`. Everything that a generation learns goes into the run
store in the one transaction that also holds the search's next state, and each training's score as soon as it is
known. So a run can be killed at any moment and gone on with: the interrupted generation is asked again from the kept
state, gives the same candidates, and reuses the scores that it has.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from cse_autoloss.bench.jobs import STATES, Training
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import SEEDS_OF_SEARCH, NothingDone, Session
from cse_autoloss.discovery.breeding import Breeding
from cse_autoloss.discovery.choosing import LEAST, Chooser
from cse_autoloss.discovery.funnel import SEED, Entrant, Funnel, GenerationRecord
from cse_autoloss.discovery.generation import Generation, added, without
from cse_autoloss.discovery.halving import Ladder, Outcome, climb
from cse_autoloss.discovery.learning import KEPT, learnt
from cse_autoloss.errors import AutoLossError, WorkersLost
from cse_autoloss.searches.protocol import Member, Search, SearchState, ranked, slot_of, turns_of
from cse_autoloss.surrogate import shipped

FIRST_ROUNDS = 50
"""A slot that starts from nothing is scouted so many times at most: with the default 20,000 a million drafts in all,
of which some 300 classification losses have the properties."""


@dataclass(frozen=True)
class SearchPlan:
    """The size of one search, as configuration and budget have it.

    Attributes:
        seconds: wall time of the search, counted over resumes; None for no limit.
        offspring: candidates trained in a generation, in whole trainings: a ladder takes more of them in that time.
        proxy_limit: wall seconds after which a training is killed.
        epochs: schedule of a proxy training.
        train_limit: number of training samples, None for all.
        simulates: whether the task has a simulation.
        patience: seconds before the end from which on no training is begun, so that those under way can end.
        ladders: rungs of the newcomers' trainings, by slot; a slot that is not in it has none.
        stack: how many trainings go side by side in one process.
    """

    seconds: float | None
    offspring: int
    proxy_limit: float
    epochs: float
    train_limit: int | None
    simulates: bool = True
    patience: float = 0.0
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    stack: int = 1

    def ladder(self, slot: str) -> Ladder:
        """Rungs of a slot's newcomers."""
        return self.ladders.get(slot, Ladder())

    def places(self, slot: str) -> int:
        """Newcomers of a generation."""
        return self.ladder(slot).widened(self.offspring)


class SearchLoop:
    """Drives a search through the funnel; `run` does it all.

    Slots take turns, and a generation breeds from its own slot alone. So the next generation, of the other
    slot, can be bred, filtered and trained while this one is trained: nothing that it needs is still to come, its
    results are the same as if it had waited, and the workers need not wait for a generation's last training. Only a
    slot's first generation waits to be trained, because its partner is the best of the slot before it.

    Attributes:
        stopped_by: why `run` ended: "plan", "time", "user" or "workers".
        lost: why no worker could be started any more; None for any other end.
    """

    def __init__(
        self,
        session: Session,
        plan: SearchPlan,
        search: Search,
        starters: Mapping[str, Sequence[Entrant]],
        bench: Workbench,
    ) -> None:
        """
        Args:
            session: task and configuration.
            plan: sizes and limits.
            search: proposes the candidates.
            starters: handcrafted and the user's losses that open each slot's population.
            bench: where candidates are simulated and trained.
        """
        self._session = session
        self._rates = session.config.evolution
        self._plan = plan
        self._search = search
        self._starters = starters
        self._bench = bench
        limit = session.config.simulate_limit if plan.simulates else None
        self._funnel = Funnel(
            bench, search.slots, session.config.looking, limit, session.alpha, self._rates.operators
        )
        self._breeding = Breeding(bench, search, self._funnel, starters)
        self._chooser = self._make_chooser() if search.expressions else None
        self.stopped_by = "plan"
        self.lost: WorkersLost | None = None

    def _make_chooser(self) -> Chooser | None:
        config, slots = self._session.config, self._search.slots
        settings = config.surrogate
        if not settings.pool:
            return None
        try:
            earlier = learnt(self._bench.store, settings.learn_from, config, slots)
        except AutoLossError as error:
            raise NothingDone(error) from None
        for event in self._bench.store.events(KEPT):
            self._bench.status.message = event.detail["note"]
        memory = (*(shipped() if settings.memory else ()), *earlier)
        return Chooser(slots, config.seed, config.task, str(getattr(config.own, "data", "")), memory)

    def run(self) -> SearchState:
        """Evolve until the plan is done, the time is up, or Ctrl-C. Every whole generation is in the store."""
        bench, plan = self._bench, self._plan
        kept = bench.store.load_state()
        state = self._search.init()
        if kept:
            with bench.store.understood("the search's state"):
                state = SearchState.from_json(kept[1]["state"])
                bench.status.restore(kept[1]["counts"])
        if self._chooser:
            with bench.store.understood("what was trained"):
                for event in bench.store.events("trained"):
                    self._chooser.note(event.detail["slot"], event.detail["worth"])
        bench.status.phase = "search"
        if plan.seconds is not None:
            left = plan.seconds - plan.patience - bench.clock.elapsed
            bench.deadline, bench.patience = time.monotonic() + max(0.0, left), plan.patience
        self._tell_status(state)
        ahead: Generation | None = None
        try:
            while ahead is not None or self._goes_on(state.generation):
                now = ahead or self._prepare(state, state.generation)
                self._start(now, state)
                ahead = self._prepare_next(state)
                state = self._conclude(now, state, ahead)
        except KeyboardInterrupt:
            bench.cancel()
            self.stopped_by = "user"
        except WorkersLost as lost:
            bench.cancel()
            self.stopped_by, self.lost = "workers", lost
        finally:
            bench.deadline, bench.patience = None, 0.0
        return state

    def _goes_on(self, generation: int) -> bool:
        if self._session.config.generations is not None and generation >= self._session.config.generations:
            return False
        if self._bench.out_of_time:
            self.stopped_by = "time"
            return False
        return True

    # -- a generation, step by step -------------------------------------------------------------------

    def _prepare_next(self, state: SearchState) -> Generation | None:
        """The next generation, filtered and, where it may be, in training, while `state`'s own is trained."""
        number = state.generation + 1
        slot = slot_of(turns_of(self._search), number)
        if slot == slot_of(turns_of(self._search), state.generation) or not self._goes_on(number):
            return None
        coming = self._prepare(state, number)
        if state.populations[slot]:
            self._start(coming, state)
        return coming

    def _prepare(self, state: SearchState, number: int) -> Generation:
        """Find a generation's candidates; `state` need not know the generation before it, of another slot."""
        status = self._bench.status
        slot = slot_of(turns_of(self._search), number)
        status.generation, status.slot = number, slot
        before = status.counts()
        record = GenerationRecord()
        chosen = self._candidates(replace(state, generation=number), slot, record)
        return Generation(number, slot, chosen, record, added(before, status.counts()))

    def _start(self, generation: Generation, state: SearchState) -> None:
        """Begin to train the newcomers, and the elite with one more seed, unless that was begun before."""
        if generation.climbing is not None:
            return
        bench, plan, slot = self._bench, self._plan, generation.slot
        partners = state.partners.get(slot, {})
        newcomers = [
            Member(e.proposal.formula, e.proposal.digest, e.proposal.origin, generation.number, (), e.name)
            for e in generation.chosen
        ]
        rates = self._rates
        best = ranked(state.populations[slot])[: rates.elite] if self._search.expressions else ()
        elite = [m for m in best if len(m.scores) < rates.max_seeds]
        # Losses that people know are trained to the end: they are parents and rivals whatever the rungs would say.
        known = [m for m in newcomers if m.name]
        climbers = [m for m in newcomers if not m.name]
        generation.climbers = [(m, self._training(m, slot, partners)) for m in climbers]
        generation.others = [(m, self._training(m, slot, partners)) for m in (*known, *elite)]
        # A rung's last training is waited for: meanwhile the others, and the next generation, have their turn.
        rank = 2 * generation.number + 1
        ladder = plan.ladder(slot)
        train = partial(bench.training, limit=plan.proxy_limit, pauses=bool(ladder.rungs), stack=plan.stack)
        climbing = climb(ladder, [t for _, t in generation.climbers], train, self._session.metric)
        generation.climbing = bench.start(climbing, "proxy", rank)
        whole = bench.training([t for _, t in generation.others], plan.proxy_limit, stack=plan.stack)
        generation.whole = bench.start(whole, "proxy", rank + 1)

    def _conclude(self, generation: Generation, state: SearchState, ahead: Generation | None) -> SearchState:
        """Wait for the trainings, tell the search, and write the generation down in one transaction."""
        bench = self._bench
        members = self._trained(generation)
        after = self._search.tell(*self._weighed(state, members, generation))
        self._tell_status(after)
        # What the next generation has counted by now is counted again when a resumed run prepares it anew.
        counts = without(bench.status.counts(), ahead.counts if ahead else {})
        with bench.store.transaction():
            self._funnel.keep(generation.record, generation.slot, generation.number)
            bench.store.save_state(after.generation, {"state": after.to_json(), "counts": counts})
            if self._search.expressions:
                bench.store.add_event("trained", slot=generation.slot, worth=generation.told)
        for _, training in generation.climbers:
            (bench.store.directory / STATES / f"{training.state_name}.pt").unlink(missing_ok=True)
        return after

    def _weighed(
        self, state: SearchState, members: tuple[Member, ...], generation: Generation
    ) -> tuple[SearchState, tuple[Member, ...]]:
        """The slot's members and newcomers with what the surrogate, now that it knows of both, expects of them."""
        slot = generation.slot
        if self._chooser is None:
            return state, members
        with self._bench.clock.stage("choose"):
            self._chooser.note(slot, generation.told)
            kept = self._chooser.expected(state.populations[slot], slot)
            state = replace(state, populations={**state.populations, slot: kept})
            return state, self._chooser.expected(members, slot)

    def _trained(self, generation: Generation) -> tuple[Member, ...]:
        """Newcomers with their first score, and the elite with one more; whoever failed or was stopped is missing."""
        bench = self._bench
        assert generation.climbing is not None
        assert generation.whole is not None
        with bench.clock.stage("proxy"):
            climbed = bench.finish(generation.climbing)
            whole = bench.finish(generation.whole)
        outcomes = {**climbed, **{key: Outcome(score, finished=True) for key, score in whole.items()}}
        members = []
        for member, training in (*generation.climbers, *generation.others):
            outcome = outcomes.get(training.key)
            if outcome is None or outcome.score is None:
                continue
            worth = None
            if not outcome.score.metrics:
                bench.status.reject("proxy", outcome.score.status)
            elif not outcome.finished:
                bench.status.reject("proxy", "stopped early")
            else:
                worth = self._session.metric.worth(outcome.score.metrics)
                members.append(replace(member, scores=(*member.scores, worth)))
            generation.told[member.formula] = worth
            if not member.scores:
                bench.status.funnel["trained"] += worth is not None
        return tuple(members)

    # -- candidates -----------------------------------------------------------------------------------

    def _candidates(self, state: SearchState, slot: str, record: GenerationRecord) -> list[Entrant]:
        """The generation's candidates that passed both filters: scouted ones, handcrafted ones, bred ones."""
        bench, plan, session = self._bench, self._plan, self._session
        search = self._search
        starters = self._breeding.starters(state)
        chooses = self._chooser is not None and self._chooser.knows(slot)
        # Many known losses open a slot alone, where generations are not counted: what is bred before they are ranked
        # is bred from the worst as well.
        uncounted = session.config.generations is None and self._chooser is not None
        alone = uncounted and not chooses and len(starters) >= LEAST
        chosen = [] if alone else self._scouted(state, slot, record)
        places = 0 if alone else search.samples or plan.places(slot)
        bred = session.config.surrogate.pool if chooses else self._rates.batch
        wanted, asked = places - len(chosen), search.samples or bred
        pool: list[Entrant] = []
        for attempt in range(self._rates.attempts):
            looked = self._breeding.attempt(state, attempt, asked, self._rates.attempts)
            bench.look()
            fresh = self._sorted(self._funnel.admit(looked, slot, record), slot, state.generation, wanted)
            bench.look()
            enough = len(starters) + math.ceil((1.0 if search.samples else self._spare(slot)) * wanted)
            pool += self._funnel.simulate(fresh, slot, enough - len(pool), record)
            bench.show()
            if len(pool) >= enough or not looked or bench.out_of_time:
                break
        seeds = [entrant for entrant in pool if entrant.proposal.origin == SEED]
        return chosen + seeds + self._best([e for e in pool if e.proposal.origin != SEED], slot, wanted)

    def _spare(self, slot: str) -> float:
        """Candidates that are simulated for each that is trained; the surrogate has chosen before."""
        return 1.0 if self._chooser and self._chooser.knows(slot) else self._rates.choose_from

    def _sorted(self, fresh: list[Entrant], slot: str, generation: int, wanted: int) -> list[Entrant]:
        """Verified candidates as the surrogate would train them; those that people know come first."""
        if self._chooser is None:
            return fresh
        with self._bench.clock.stage("choose"):
            seeds = [entrant for entrant in fresh if entrant.proposal.origin == SEED]
            others = [entrant for entrant in fresh if entrant.proposal.origin != SEED]
            return seeds + self._chooser.sort(others, slot, generation, wanted)

    def _best(self, entrants: Sequence[Entrant], slot: str, count: int) -> list[Entrant]:
        """The so many that the surrogate or else the simulation likes best, best first: these are trained if time runs
        out."""
        chosen = self._chooser is not None and self._chooser.knows(slot)
        best = sorted(range(len(entrants)), key=lambda i: (0.0 if chosen else -entrants[i].simulated, i))[
            :count
        ]
        for _ in range(len(entrants) - len(best)):
            self._bench.status.reject("proxy", "outranked")
        return [entrants[i] for i in best]

    def _scouted(self, state: SearchState, slot: str, record: GenerationRecord) -> list[Entrant]:
        """Random losses that passed both filters, as many as the generation has places for them.

        Where a slot starts from nothing, all its places are theirs: there is nobody to breed from.
        """
        bench, plan = self._bench, self._plan
        founders = state.populations[slot] or self._starters.get(slot)
        if not self._search.expressions:
            return []
        places = plan.places(slot) if not founders else round(self._rates.random_fraction * plan.places(slot))
        if not places or not self._rates.scouts:
            return []
        number = zlib.crc32(f"{self._first_seed}:{self._search.slots[slot].name}:{state.generation}".encode())
        rng, enough = np.random.default_rng(number), math.ceil(self._spare(slot) * places)
        pool: list[Entrant] = []
        for _ in range(1 if founders else FIRST_ROUNDS):
            drafts = self._funnel.scout(slot, self._rates.scouts, rng, record)
            found = self._sorted(drafts, slot, state.generation, places)
            bench.look()
            pool += self._funnel.simulate(found, slot, enough - len(pool), record)
            bench.show()
            if len(pool) >= enough or bench.out_of_time:
                break
        return self._best(pool, slot, places)

    @property
    def _first_seed(self) -> int:
        return self._session.first_seed(SEEDS_OF_SEARCH)

    def _training(self, member: Member, slot: str, partners: Mapping[str, str]) -> Training:
        plan, session = self._plan, self._session
        losses = session.beside(slot, member.formula, partners)
        seed = self._first_seed + len(member.scores)
        optimizer, precision = session.quick
        return Training(
            "proxy",
            losses,
            seed,
            plan.epochs,
            "val",
            plan.train_limit,
            session.digest,
            optimizer=optimizer,
            precision=precision,
        )

    def _tell_status(self, state: SearchState) -> None:
        status, figure = self._bench.status, self._session.metric.figure
        known: list[Member] = []
        for slot, members in state.populations.items():
            if members:
                best = ranked(members)[0]
                status.best[slot] = (best.formula, figure(best.fitness))
                known += [m for m in members if m.name]
        if known:
            top = ranked(known)[0]
            status.baseline = (top.name, figure(top.fitness))
        self._bench.show()
