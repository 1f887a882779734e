"""The loop: ask for candidates, send them down the funnel, tell the search what they are worth.

It is written once, for any search behind `init / ask / tell`. Everything that a generation learns goes into the run
store in the one transaction that also holds the search's next state, and each training's score as soon as it is
known. So a run can be killed at any moment and gone on with: the interrupted generation is asked again from the kept
state, gives the same candidates, and reuses the scores that it has.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cse_autoloss.convergence import VerifySettings
from cse_autoloss.evolution import Evolution, EvolutionState, Member, ranked
from cse_autoloss.funnel import Entrant, Funnel, GenerationRecord
from cse_autoloss.jobs import LossPair, Training
from cse_autoloss.spaces import BRANCHES
from cse_autoloss.workbench import Workbench


@dataclass(frozen=True)
class SearchPlan:
    """What one search does; made from the configuration and the budget.

    Attributes:
        generations: at most so many; None for as many as the time allows.
        seconds: wall time of the search, counted over resumes; None for no limit.
        offspring: candidates trained in a generation.
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


class SearchLoop:
    """Drives an evolution through the funnel; `run` does it all.

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
            bench.deadline = time.monotonic() + max(0.0, plan.seconds - bench.clock.elapsed)
        self._tell_status(state)
        try:
            while plan.generations is None or state.generation < plan.generations:
                if bench.out_of_time:
                    self.stopped_by = "time"
                    break
                state = self._generation(state)
        except KeyboardInterrupt:
            bench.executor.cancel()
            self.stopped_by = "user"
        finally:
            bench.deadline = None
        return state

    def _generation(self, state: EvolutionState) -> EvolutionState:
        bench = self._bench
        branch = self._evolution.branch_of(state.generation)
        bench.status.generation, bench.status.branch = state.generation, branch
        record = GenerationRecord()
        chosen = self._candidates(state, branch, record)
        members = self._train(state, branch, chosen)
        after = self._evolution.tell(state, members)
        self._tell_status(after)
        with bench.store.transaction():
            self._funnel.keep(record, branch, state.generation)
            kept = {"state": after.to_json(), "counts": bench.status.counts()}
            bench.store.save_state(after.generation, kept)
        return after

    def _candidates(self, state: EvolutionState, branch: str, record: GenerationRecord) -> list[Entrant]:
        """The generation's candidates that passed both filters, in the order in which they were asked for."""
        bench, plan = self._bench, self._plan
        chosen = self._scouted(state, branch, record)
        wanted = plan.offspring
        for attempt in range(plan.attempts):
            with bench.clock.stage("generate"):
                entrants = [Entrant(p) for p in self._evolution.ask(state, attempt, plan.batch)]
            if attempt == 0 and not state.populations[branch]:
                starters = [e for e in self._starters if e.proposal.graph.branch == branch]
                wanted += len(starters)
                entrants = starters + entrants
            fresh = self._funnel.verify(entrants, branch, record)
            chosen += self._funnel.simulate(fresh, branch, wanted - len(chosen), record)
            bench.show()
            if len(chosen) >= wanted or bench.out_of_time:
                break
        return chosen

    def _scouted(self, state: EvolutionState, branch: str, record: GenerationRecord) -> list[Entrant]:
        """Random losses that passed both filters, as many as the generation has places for them."""
        plan = self._plan
        places = round(plan.random_fraction * plan.offspring)
        if not places or not plan.scouts:
            return []
        number = zlib.crc32(f"{plan.first_seed}:{branch}:{state.generation}".encode())
        found = self._funnel.scout(BRANCHES[branch], plan.scouts, np.random.default_rng(number), record)
        return self._funnel.simulate(found, branch, places, record)

    def _train(self, state: EvolutionState, branch: str, chosen: Sequence[Entrant]) -> tuple[Member, ...]:
        """Newcomers with their first score, and the elite with one more; whoever failed is missing."""
        bench, plan = self._bench, self._plan
        newcomers = [
            Member(
                e.proposal.graph.formula,
                e.proposal.graph.digest,
                e.proposal.origin,
                state.generation,
                (),
                e.name,
            )
            for e in chosen
        ]
        elite = [m for m in ranked(state.populations[branch])[: plan.elite] if len(m.scores) < plan.max_seeds]
        partner = state.partners.get(branch, plan.partner[branch])
        trainings = [self._training(member, branch, partner) for member in (*newcomers, *elite)]
        with bench.clock.stage("proxy"):
            scores = bench.train(trainings, plan.proxy_limit)
        members = []
        for member, training in zip((*newcomers, *elite), trainings, strict=True):
            score = scores.get(training.key)
            if score is None:
                continue
            if score.ap is None:
                bench.status.reject("proxy", score.status)
            else:
                members.append(replace(member, scores=(*member.scores, score.ap)))
        return tuple(members)

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
