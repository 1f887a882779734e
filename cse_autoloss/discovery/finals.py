"""What follows the search: its best losses are put together, and the best combinations are audited."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from cse_autoloss.bench.audit import AuditPlan, AuditResult, Contestant, conclude, tune, winner
from cse_autoloss.bench.audit_words import untested
from cse_autoloss.bench.budget import REPORT_SECONDS, Cost, RunSize
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, SEEDS_OF_SEARCH, Session
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.certify import QUICK, certificate_of
from cse_autoloss.discovery.pairing import Pairing, choose
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.searches.protocol import Member, Proposal, SearchState, ranked
from cse_autoloss.verification import shortened

Ranking = list[tuple[LossSet, float]]
"""Losses with their validation worth, best first."""

MARGIN = 0.9
"""Of the time that is left after an audit's seeds, what further ones may take."""


class Finals:
    """Combination and audit of one run."""

    def __init__(
        self,
        session: Session,
        store: RunStore,
        clock: Clock,
        status: RunStatus,
        state: SearchState,
        guesses: Mapping[str, Proposal],
        turns: Sequence[str] = (),
    ) -> None:
        """`state`: where the search ended; `guesses`: what it would bet on, by slot; `turns`: of uneven slots."""
        self._turns = tuple(turns) or tuple(session.slots)
        self._guesses = guesses
        self._session, self._store, self._clock, self._status = session, store, clock, status
        self._state = state
        self._origins: dict[str, dict[str, str]] = {}

    def combine(self, bench: Workbench, size: RunSize, cost: Cost) -> Ranking:
        """Train combinations of the best losses; those to be audited come first."""
        session = self._session
        self._status.phase = "combine"
        first = session.first_seed(SEEDS_OF_SEARCH) + 500
        pairing = Pairing(
            tuple(self._pairs(size.combine)),
            tuple(first + i for i in range(session.config.evolution.combine_seeds)),
            size.combine_epochs or size.epochs,
            session.train_limit(size, self._store),
            session.digest,
            session.metric,
            self._expected(),
        )
        with self._clock.stage("combine"):
            train = partial(bench.training, limit=session.limit(cost, pairing.epochs))
            return self._shortened(bench.finish(bench.start(choose(pairing, train))))

    def _expected(self) -> dict[tuple[str, str], float]:
        """What the search expects of the losses that it holds, less the mean of their slot; else nothing."""
        found: dict[tuple[str, str], float] = {}
        for slot, members in self._state.populations.items():
            told = {m.formula: m.expected for m in members if m.expected is not None}
            mean = sum(told.values()) / max(len(told), 1)
            found.update({(slot, formula): value - mean for formula, value in told.items()})
        return found

    def _shortened(self, pairs: Ranking) -> Ranking:
        """The losses, those that may be audited without the parts that do nothing; of equal ones the best."""
        best: dict[LossSet, float] = {}
        for number, (pair, worth) in enumerate(pairs):
            if number < 2 * self._session.config.audit.finalists:
                for slot, text in pair.losses.items():
                    pair = pair.with_loss(slot, self._short(text, slot))
                    self._made(slot, pair[slot], text)
            best.setdefault(pair, worth)
        self._store.set_meta("made from", self._origins)
        return list(best.items())

    def _reweighed(self, field: Sequence[Contestant], tuned: Sequence[Contestant]) -> None:
        """Where the tuning weighed the winner's negatives: what its loss comes from, and what is proved of it now."""
        best = winner(tuned, self._session.metric)
        if best is None or not best.inner:
            return
        origin = next(one for one in field if one.name == best.name)
        for slot, text in best.losses.slots:
            self._made(slot, text, origin.losses[slot])
        self._store.set_meta("made from", self._origins)
        with self._clock.stage("certify"):
            self._certify([best.losses])

    def _certify(self, pairs: Sequence[LossSet]) -> None:
        """Prove what can be proved of each finalist, for the report; nothing is chosen by it."""
        self._status.phase = "certify"
        found = dict(self._store.meta("certificates") or {})
        for pair in pairs:
            for slot in self._session.slots:
                # As it is trained: with the run's α, or its own.
                signature = self._session.task.slots[slot]
                loss = slot_loss(pair[slot], signature, pair.alpha, self._session.task.cosine_scale)
                if isinstance(loss, GraphLoss) and loss.graph.formula not in found:
                    certificate = certificate_of(loss.graph, boxes=QUICK, alpha=loss.alpha)
                    found[loss.graph.formula] = certificate.to_dict()
        self._store.set_meta("certificates", found)

    def _made(self, slot: str, text: str, origin: str) -> None:
        """Keep for the family tree what a candidate became."""
        if text != origin:
            self._origins.setdefault(slot, {}).setdefault(text, origin)

    def _short(self, text: str, slot: str) -> str:
        loss = load_loss(text, self._session.task.slots[slot])
        if not isinstance(loss, GraphLoss) or text in CATALOGUE:
            return text
        return shortened(loss.graph, self._session.config.looking).formula

    def best_so_far(self) -> Ranking:
        """The best losses without any further training: each slot's best beside its partners."""
        best = [(slot, m) for slot in self._session.slots for m in self._discovered(slot)[:1]]
        found = [(self._beside_partners(slot, member), member.fitness) for slot, member in best]
        return sorted(found, key=lambda item: -item[1])

    def audit(self, bench: Workbench, pairs: Ranking, size: RunSize, cost: Cost) -> AuditResult:
        """Tune the losses and their rivals alike, train all with the same seeds, and compare them on test."""
        session, clock, plan = self._session, self._clock, self._plan(size)
        contestants = [Contestant(f"discovered {i + 1}", pair, True) for i, (pair, _) in enumerate(pairs)]
        contestants += [
            Contestant(rival.name, rival, False) for rival in self.rivals()[: size.audit.baselines]
        ]
        with clock.stage("certify"):
            self._certify([pair for pair, _ in pairs])
        self._status.phase = "tune"
        with clock.stage("tune"):
            train = partial(bench.train, limit=session.limit(cost, size.audit.tune_epochs))
            field, contestants = contestants, tune(contestants, plan, train)
        self._reweighed(field, contestants)
        bench.keep_clock()
        # The bet is made on validation; what test would say of the others is no part of any claim.
        best = winner(contestants, session.metric)
        others = tuple(one for one in contestants if one.discovered and one is not best)
        tested = [one for one in contestants if one not in others]
        self._status.phase = "audit"
        with clock.stage("audit"):
            final, seeds = self._tested(bench, plan, tested, session.limit(cost, size.audit.epochs))
        found = conclude(tested, replace(plan, seeds=seeds), final)
        return replace(found, finalists=others, notes=(*found.notes, *untested(others, session.metric)))

    def _tested(
        self, bench: Workbench, plan: AuditPlan, tested: Sequence[Contestant], limit: float
    ) -> tuple[dict[str, Score], tuple[int, ...]]:
        """Trainings on test by key, and their seeds: the plan's, and as many more, up to twice, as the budget has time
        for. How many depends on time, and on no figure."""
        budget, clock, planned = self._session.config.budget, self._clock, plan.final(tested)
        if budget is None:
            return bench.train(planned, limit), plan.seeds
        most = replace(plan, seeds=tuple(plan.seeds[0] + i for i in range(2 * len(plan.seeds))))
        begun, known = clock.elapsed, len(self._kept(planned))
        # Seed after seed is trained, so the bell leaves whole seeds; two are needed for an interval.
        bench.deadline = time.monotonic() + max(5.0, budget - clock.elapsed - 2.0)
        try:
            done = len(bench.train(planned, limit))
            if done == len(planned) > known:
                a_seed = (clock.elapsed - begun) * len(tested) / (done - known)
                more = int(MARGIN * (budget - clock.elapsed - REPORT_SECONDS) / a_seed)
                longer = replace(plan, seeds=most.seeds[: len(plan.seeds) + max(0, more)])
                bench.train(longer.final(tested), limit)
        finally:
            bench.deadline = None
        kept = self._kept(most.final(tested))
        finished = most.finished(tested, kept)
        return kept, tuple(seed for seed in most.seeds if seed in finished or seed in plan.seeds)

    def _kept(self, trainings: Sequence[Training]) -> dict[str, Score]:
        """Scores that the store has, by key."""
        found = ((training.key, self._store.score(training.key)) for training in trainings)
        return {key: score for key, score in found if score is not None}

    def _plan(self, size: RunSize) -> AuditPlan:
        session, audit, asked = self._session, size.audit, self._session.config.audit
        return AuditPlan(
            metric=session.metric,
            task=session.digest,
            seeds=tuple(session.first_seed(SEEDS_OF_AUDIT) + i for i in range(audit.seeds)),
            space=session.space(),
            tries=audit.tuning,
            tune_epochs=audit.tune_epochs,
            tune_seeds=session.tune_seeds,
            epochs=audit.epochs,
            train_limit=session.train_limit(size, self._store),
            confidence=asked.confidence,
            resamples=asked.resamples,
            draws=session.draws,
            sigmoids=session.sigmoids,
            negatives=session.negatives,
        )

    def _pairs(self, count: int) -> list[LossSet]:
        """Combinations of `count` discovered losses a slot; of one slot alone, as many beside their partners."""
        session = self._session
        if len(session.slots) == 1:
            (slot,) = session.slots
            return [self._beside_partners(slot, m) for m in self._discovered(slot)[: count * (count + 2)]]
        # The best handcrafted loss of each slot takes part: two discovered ones need not go well together.
        parts = [self._parts(slot, self._share(slot, count)) for slot in session.slots]
        return [
            session.untuned(
                {
                    **session.plain,
                    **{slot: m.formula for slot, m in zip(session.slots, members, strict=True)},
                },
                session.alpha,
            )
            for members in product(*parts)
            if not all(m.name for m in members)
        ]

    def sets(self, count: int) -> int:
        """How many sets of losses are trained, where each slot has as many as it may."""
        slots = self._session.slots
        if len(slots) == 1:
            return count * (count + 2)
        return math.prod(self._share(slot, count) + 1 for slot in slots) - 1

    def _share(self, slot: str, count: int) -> int:
        """Of `count` losses a slot on the average, how many are this one's: in proportion to its turns."""
        return max(1, round(count * len(self._session.slots) * self._turns.count(slot) / len(self._turns)))

    def _discovered(self, slot: str) -> list[Member]:
        """Members that are no handcrafted seed, best first; those with more seeds are the surer ones.

        What the search would bet on goes before them, though it was not trained.
        """
        bets = [Member(g.formula, g.digest, g.origin, 0, ()) for s, g in self._guesses.items() if s == slot]
        return bets + [m for m in ranked(self._state.populations.get(slot, ())) if not m.name]

    def _parts(self, slot: str, count: int) -> list[Member]:
        """The best discovered losses of a slot and its best handcrafted one."""
        handcrafted = [m for m in ranked(self._state.populations.get(slot, ())) if m.name][:1]
        if not handcrafted:
            loss = load_loss(self._session.plain[slot], self._session.task.slots[slot])
            assert isinstance(loss, GraphLoss)
            handcrafted = [Member(loss.graph.formula, loss.graph.digest, "seed", 0, (), "default")]
        return [*self._discovered(slot)[:count], *handcrafted]

    def _beside_partners(self, slot: str, member: Member) -> LossSet:
        return self._session.beside(slot, member.formula, self._state.partners.get(slot))

    def rivals(self) -> list[LossSet]:
        """The baselines: the plain one, the strongest known, the one that did best in this very search, the others."""
        session = self._session
        found = dict(session.plain)
        for slot in session.slots:
            named = [m.name for m in ranked(self._state.populations[slot]) if m.name]
            found[slot] = named[0] if named else found[slot]
        plain, *others = session.task.baselines
        ordered = [plain, *others[:1], found, *others[1:]]
        sets = [LossSet.of({slot: losses[slot] for slot in session.task.slots}) for losses in ordered]
        return list(dict.fromkeys(sets))
