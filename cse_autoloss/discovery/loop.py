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

from cse_autoloss.bench.jobs import STATES, LossPair, Training
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.discovery.funnel import SEED, Entrant, Funnel, GenerationRecord
from cse_autoloss.discovery.generation import Generation, added, without
from cse_autoloss.discovery.halving import Ladder, Outcome, climb
from cse_autoloss.searches.evolution import Evolution, EvolutionState, Member, ranked
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.verification import VerifySettings

FIRST_ROUNDS = 50
"""A branch that starts from nothing is scouted so many times at most: with the default 20,000 a million drafts in all,
of which some 300 classification losses have the properties."""


@dataclass(frozen=True)
class SearchPlan:
    """What one search does; made from the configuration and the budget.

    Attributes:
        generations: at most so many; None for as many as the time allows.
        seconds: wall time of the search, counted over resumes; None for no limit.
        offspring: candidates trained in a generation, in whole trainings: a ladder takes more of them in that time.
        random_fraction: part of them that is random.
        scouts: random losses that are drawn and verified in each generation to find those.
        batch: candidates asked for at a time.
        attempts: batches at most in a generation.
        simulate_limit, proxy_limit: wall seconds after which a candidate is killed.
        epochs: schedule of a proxy training.
        train_limit: number of training scenes, None for all.
        elite: members that are trained again with a new seed in each generation…
        max_seeds: …until they have so many scores.
        box_weight, lr: of proxy trainings.
        partner: for each branch, the loss that stands in the other one.
        alpha: α weighting of classification candidates.
        first_seed: training seeds are first_seed, first_seed + 1, …, the same for every candidate.
        task: digest of the data and model settings.
        verify: thresholds of the verification.
        choose_from: candidates that pass the simulation for each that is trained: the best by its score.
        patience: seconds before the end from which on no training is begun, so that those under way can end.
        ladders: rungs of the newcomers' trainings, by branch; a branch that is not in it has none.
    """

    generations: int | None
    seconds: float | None
    offspring: int
    random_fraction: float
    scouts: int
    batch: int
    attempts: int
    simulate_limit: float
    proxy_limit: float
    epochs: float
    train_limit: int | None
    elite: int
    max_seeds: int
    box_weight: float
    lr: float
    partner: Mapping[str, str]
    alpha: float | None
    first_seed: int
    task: str
    verify: VerifySettings = field(default_factory=VerifySettings)
    choose_from: float = 1.0
    patience: float = 0.0
    ladders: Mapping[str, Ladder] = field(default_factory=dict)

    def ladder(self, branch: str) -> Ladder:
        """Rungs of a branch's newcomers."""
        return self.ladders.get(branch, Ladder())

    def places(self, branch: str) -> int:
        """Newcomers of a generation."""
        return self.ladder(branch).widened(self.offspring)


class SearchLoop:
    """Drives an evolution through the funnel; `run` does it all.

    Two branches take turns, and a generation breeds from its own branch alone. So the next generation, of the other
    branch, can be bred, filtered and trained while this one is trained: nothing that it needs is still to come, its
    results are the same as if it had waited, and the workers need not wait for a generation's last training. Only a
    branch's first generation waits to be trained, because its partner is the best of the branch before it.

    Attributes:
        stopped_by: why `run` ended: "plan", "time" or "user".
    """

    def __init__(
        self, plan: SearchPlan, evolution: Evolution, starters: Sequence[Entrant], bench: Workbench
    ) -> None:
        """
        Args:
            plan: sizes and limits.
            evolution: the search.
            starters: handcrafted and the user's losses that open each branch's population.
            bench: where candidates are simulated and trained.
        """
        self._plan = plan
        self._evolution = evolution
        self._starters = starters
        self._bench = bench
        self._funnel = Funnel(bench, plan.verify, plan.simulate_limit, plan.alpha)
        self.stopped_by = "plan"

    def run(self) -> EvolutionState:
        """Evolve until the plan is done, the time is up, or Ctrl-C. Every whole generation is in the store."""
        bench, plan = self._bench, self._plan
        kept = bench.store.load_state()
        state = EvolutionState.from_json(kept[1]["state"]) if kept else self._evolution.init()
        if kept:
            bench.status.restore(kept[1]["counts"])
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
        finally:
            bench.deadline, bench.patience = None, 0.0
        return state

    def _goes_on(self, generation: int) -> bool:
        if self._plan.generations is not None and generation >= self._plan.generations:
            return False
        if self._bench.out_of_time:
            self.stopped_by = "time"
            return False
        return True

    # -- a generation, step by step -------------------------------------------------------------------

    def _prepare_next(self, state: EvolutionState) -> Generation | None:
        """The next generation, filtered and, where it may be, in training, while `state`'s own is trained."""
        number = state.generation + 1
        branch = self._evolution.branch_of(number)
        if branch == self._evolution.branch_of(state.generation) or not self._goes_on(number):
            return None
        coming = self._prepare(state, number)
        if state.populations[branch]:
            self._start(coming, state)
        return coming

    def _prepare(self, state: EvolutionState, number: int) -> Generation:
        """Find a generation's candidates; `state` need not know the generation before it, of another branch."""
        status = self._bench.status
        branch = self._evolution.branch_of(number)
        status.generation, status.branch = number, branch
        before = status.counts()
        record = GenerationRecord()
        chosen = self._candidates(replace(state, generation=number), branch, record)
        return Generation(number, branch, chosen, record, added(before, status.counts()))

    def _start(self, generation: Generation, state: EvolutionState) -> None:
        """Begin to train the newcomers, and the elite with one more seed, unless that was begun before."""
        if generation.climbing is not None:
            return
        bench, plan, branch = self._bench, self._plan, generation.branch
        partner = state.partners.get(branch, plan.partner[branch])
        newcomers = [
            Member(
                e.proposal.graph.formula,
                e.proposal.graph.digest,
                e.proposal.origin,
                generation.number,
                (),
                e.name,
            )
            for e in generation.chosen
        ]
        elite = [m for m in ranked(state.populations[branch])[: plan.elite] if len(m.scores) < plan.max_seeds]
        # Losses that people know are trained to the end: they are parents and rivals whatever the rungs would say.
        known = [m for m in newcomers if m.name]
        climbers = [m for m in newcomers if not m.name]
        generation.climbers = [(m, self._training(m, branch, partner)) for m in climbers]
        generation.others = [(m, self._training(m, branch, partner)) for m in (*known, *elite)]
        # A rung's last training is waited for: meanwhile the others, and the next generation, have their turn.
        rank = 2 * generation.number + 1
        ladder = plan.ladder(branch)
        train = partial(bench.training, limit=plan.proxy_limit, pauses=bool(ladder.rungs))
        climbing = climb(ladder, [t for _, t in generation.climbers], train)
        generation.climbing = bench.start(climbing, "proxy", rank)
        whole = bench.training([t for _, t in generation.others], plan.proxy_limit)
        generation.whole = bench.start(whole, "proxy", rank + 1)

    def _conclude(
        self, generation: Generation, state: EvolutionState, ahead: Generation | None
    ) -> EvolutionState:
        """Wait for the trainings, tell the search, and write the generation down in one transaction."""
        bench = self._bench
        members = self._trained(generation)
        after = self._evolution.tell(state, members)
        self._tell_status(after)
        # What the next generation has counted by now is counted again when a resumed run prepares it anew.
        counts = without(bench.status.counts(), ahead.counts if ahead else {})
        with bench.store.transaction():
            self._funnel.keep(generation.record, generation.branch, generation.number)
            bench.store.save_state(after.generation, {"state": after.to_json(), "counts": counts})
        for _, training in generation.climbers:
            (bench.store.directory / STATES / f"{training.state_name}.pt").unlink(missing_ok=True)
        return after

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
            if outcome.score.ap is None:
                bench.status.reject("proxy", outcome.score.status)
            elif not outcome.finished:
                bench.status.reject("proxy", "stopped early")
            else:
                members.append(replace(member, scores=(*member.scores, outcome.score.ap)))
        return tuple(members)

    # -- candidates -----------------------------------------------------------------------------------

    def _candidates(self, state: EvolutionState, branch: str, record: GenerationRecord) -> list[Entrant]:
        """The generation's candidates that passed both filters: scouted ones, handcrafted ones, bred ones."""
        bench, plan = self._bench, self._plan
        chosen = self._scouted(state, branch, record)
        wanted, starters = plan.places(branch) - len(chosen), []
        pool: list[Entrant] = []
        for attempt in range(plan.attempts):
            with bench.clock.stage("generate"):
                entrants = [Entrant(p) for p in self._evolution.ask(state, attempt, plan.batch)]
            if attempt == 0 and not state.populations[branch]:
                starters = [e for e in self._starters if e.proposal.graph.signature.name == branch]
                entrants = starters + entrants
            bench.look()
            fresh = self._funnel.verify(entrants, branch, record)
            bench.look()
            enough = len(starters) + math.ceil(plan.choose_from * wanted)
            pool += self._funnel.simulate(fresh, branch, enough - len(pool), record)
            bench.show()
            if len(pool) >= enough or bench.out_of_time:
                break
        seeds = [entrant for entrant in pool if entrant.proposal.origin == SEED]
        return chosen + seeds + self._best([e for e in pool if e.proposal.origin != SEED], wanted)

    def _best(self, entrants: Sequence[Entrant], count: int) -> list[Entrant]:
        """The so many that the simulation likes best, best first: these are trained if time runs out."""
        best = sorted(range(len(entrants)), key=lambda i: (-entrants[i].simulated, i))[:count]
        for _ in range(len(entrants) - len(best)):
            self._bench.status.reject("proxy", "outranked")
        return [entrants[i] for i in best]

    def _scouted(self, state: EvolutionState, branch: str, record: GenerationRecord) -> list[Entrant]:
        """Random losses that passed both filters, as many as the generation has places for them.

        Where a branch starts from nothing, all its places are theirs: there is nobody to breed from.
        """
        bench, plan = self._bench, self._plan
        founders = state.populations[branch] or any(
            e.proposal.graph.signature.name == branch for e in self._starters
        )
        places = plan.places(branch) if not founders else round(plan.random_fraction * plan.places(branch))
        if not places or not plan.scouts:
            return []
        number = zlib.crc32(f"{plan.first_seed}:{branch}:{state.generation}".encode())
        rng, enough = np.random.default_rng(number), math.ceil(plan.choose_from * places)
        pool: list[Entrant] = []
        for _ in range(1 if founders else FIRST_ROUNDS):
            found = self._funnel.scout(SIGNATURES[branch], plan.scouts, rng, record)
            bench.look()
            pool += self._funnel.simulate(found, branch, enough - len(pool), record)
            bench.show()
            if len(pool) >= enough or bench.out_of_time:
                break
        return self._best(pool, places)

    def _training(self, member: Member, branch: str, partner: str) -> Training:
        plan = self._plan
        cls, reg = (partner, member.formula) if branch == "reg" else (member.formula, partner)
        pair = LossPair(cls, reg, plan.alpha if branch == "cls-binary" else None, plan.box_weight, plan.lr)
        seed = plan.first_seed + len(member.scores)
        return Training("proxy", pair, seed, plan.epochs, "val", plan.train_limit, plan.task)

    def _tell_status(self, state: EvolutionState) -> None:
        status = self._bench.status
        for branch, members in state.populations.items():
            if members:
                best = ranked(members)[0]
                status.best[branch] = (best.formula, best.fitness)
                handcrafted = [m for m in members if m.name]
                if handcrafted:
                    top = ranked(tuple(handcrafted))[0]
                    if status.baseline is None or top.fitness > status.baseline[1]:
                        status.baseline = (top.name, top.fitness)
        self._bench.show()
