"""What follows the search: its best losses are put together in pairs, and the best pairs are audited."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cse_autoloss.bench.audit import AuditPlan, AuditResult, Contestant, conclude, tune
from cse_autoloss.bench.budget import Cost, RunSize
from cse_autoloss.bench.jobs import LossPair
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, SEEDS_OF_SEARCH, SEEDS_OF_TUNING, RunFrame
from cse_autoloss.discovery.pairing import Pairing, choose
from cse_autoloss.discovery.refining import Refining, refine
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.searches.evolution import EvolutionState, Member, ranked
from cse_autoloss.verification import VerifySettings, shortened

RankedPairs = list[tuple[LossPair, float]]
"""Pairs with their validation AP, best first."""


class Finals:
    """Pairing, tuning of weights and audit of one run.

    Attributes:
        notes: what the reader of the results should know, in words.
    """

    def __init__(self, frame: RunFrame, state: EvolutionState) -> None:
        """`state`: where the search ended."""
        self._frame = frame
        self._state = state
        self.notes: tuple[str, ...] = ()

    def combine(self, bench: Workbench, size: RunSize, cost: Cost) -> RankedPairs:
        """Train pairs of the best losses, and tune the best one's weights; those to be audited come first."""
        frame = self._frame
        frame.status.phase = "combine"
        first = frame.first_seed(SEEDS_OF_SEARCH) + 500
        pairing = Pairing(
            tuple(self._pairs(size.combine)),
            tuple(first + i for i in range(frame.config.evolution.combine_seeds)),
            size.combine_epochs or size.epochs,
            frame.train_limit(size),
            frame.task,
        )
        with frame.clock.stage("combine"):
            train = partial(bench.training, limit=frame.limit(cost, pairing.epochs))
            pairs = self._shortened(bench.finish(bench.start(choose(pairing, train))))
            if not (size.refine and pairs):
                return pairs
            refined = self._refined(bench, pairs[0][0], pairing, size, cost)
        return pairs if refined is None else [refined, *pairs]

    def _shortened(self, pairs: RankedPairs) -> RankedPairs:
        """The pairs, those that may be audited without the parts that do nothing; of equal ones the best."""
        best: dict[LossPair, float] = {}
        for number, (pair, ap) in enumerate(pairs):
            if number < 2 * self._frame.config.audit.finalists:
                pair = replace(
                    pair, cls=self._short(pair.cls, self._frame.cls_branch), reg=self._short(pair.reg, "reg")
                )
            best.setdefault(pair, ap)
        return list(best.items())

    def _short(self, text: str, branch: str) -> str:
        loss = load_loss(text, signature=branch)
        if not isinstance(loss, GraphLoss) or text in CATALOGUE:
            return text
        return shortened(loss.graph, VerifySettings(**self._frame.config.verify.model_dump())).formula

    def _refined(
        self, bench: Workbench, pair: LossPair, pairing: Pairing, size: RunSize, cost: Cost
    ) -> tuple[LossPair, float] | None:
        """The pair with weights and its validation AP; None where it is better without.

        Weights are tuned at the box weight and rate that the audit's tuning would choose for the pair: else they would
        make up for these. The audit has the same trainings, and finds them done.
        """
        frame, asked = self._frame, self._frame.config.refine
        frame.status.phase = "refine"
        train = partial(bench.train, limit=frame.limit(cost, pairing.epochs))
        (tuned,) = tune([Contestant("", pair, True)], self._plan(size), frame.task, train)
        first = frame.first_seed(SEEDS_OF_SEARCH) + 700
        refining = Refining(
            tuned.pair,
            frame.branches,
            size.refine,
            asked.offspring,
            asked.step,
            tuple(first + i for i in range(size.refine + asked.seeds)),
            pairing.epochs,
            pairing.train_limit,
            frame.task,
            VerifySettings(**frame.config.verify.model_dump()),
        )
        start = partial(bench.training, limit=frame.limit(cost, pairing.epochs))
        found = bench.finish(bench.start(refine(refining, start)))
        if found is None:
            return None
        better = found.pair != tuned.pair
        self.notes = (
            f"weights of the best pair: tuned for {found.generations} generations, {100 * found.before:.2f} "
            f"{f'-> {100 * found.ap:.2f}' if better else 'stays'} AP on validation ({asked.seeds} further seeds)",
        )
        return (found.pair, found.ap) if better else None

    def best_so_far(self) -> RankedPairs:
        """The best pair without any further training: each branch's best beside its partner."""
        best = [(branch, m) for branch in self._frame.branches for m in self._discovered(branch)[:1]]
        found = [(self._beside_partner(branch, member), member.fitness) for branch, member in best]
        return sorted(found, key=lambda item: -item[1])

    def audit(
        self, bench: Workbench, pairs: Sequence[tuple[LossPair, float]], size: RunSize, cost: Cost
    ) -> AuditResult:
        """Tune the pairs and their rivals alike, train all with the same seeds, and compare them on test."""
        frame, audit, plan = self._frame, size.audit, self._plan(size)
        contestants = [Contestant(f"discovered {i + 1}", pair, True) for i, (pair, _) in enumerate(pairs)] + [
            Contestant(f"{c} + {r}", LossPair(c, r), False) for c, r in self._rivals()[: audit.baselines]
        ]
        frame.status.phase = "tune"
        with frame.clock.stage("tune"):
            train = partial(bench.train, limit=frame.limit(cost, audit.tune_epochs))
            contestants = tune(contestants, plan, frame.task, train)
        bench.keep_clock()
        frame.status.phase = "audit"
        if frame.config.budget is not None:
            # Seed after seed is trained, so the bell leaves whole seeds; two are needed for an interval.
            bench.deadline = time.monotonic() + max(5.0, frame.config.budget - frame.clock.elapsed - 2.0)
        try:
            with frame.clock.stage("audit"):
                final = bench.train(plan.final(contestants, frame.task), frame.limit(cost, audit.epochs))
        finally:
            bench.deadline = None
        return conclude(contestants, plan, frame.task, final)

    def _plan(self, size: RunSize) -> AuditPlan:
        frame, audit = self._frame, size.audit
        return AuditPlan(
            seeds=tuple(frame.first_seed(SEEDS_OF_AUDIT) + i for i in range(audit.seeds)),
            box_weights=audit.box_weights,
            lrs=audit.lrs,
            tune_epochs=audit.tune_epochs,
            tune_seeds=tuple(frame.first_seed(SEEDS_OF_TUNING) + i for i in range(audit.tune_seeds)),
            epochs=audit.epochs,
            train_limit=frame.train_limit(size),
            confidence=frame.config.audit.confidence,
            resamples=frame.config.audit.resamples,
            edge_steps=frame.config.audit.edge_steps,
        )

    def _pairs(self, count: int) -> list[LossPair]:
        """Pairs of `count` discovered losses a branch; of one branch alone, as many beside their partner."""
        frame = self._frame
        if len(frame.branches) == 1:
            (branch,) = frame.branches
            return [self._beside_partner(branch, m) for m in self._discovered(branch)[: count * (count + 2)]]
        # The best handcrafted loss of each branch takes part: two discovered ones need not go well together.
        classes, boxes = (self._parts(branch, count) for branch in (frame.cls_branch, "reg"))
        return [frame.pair(c.formula, r.formula) for c in classes for r in boxes if not (c.name and r.name)]

    def _discovered(self, branch: str) -> list[Member]:
        """Members that are no handcrafted seed, best first; those with more seeds are the surer ones."""
        return [m for m in ranked(self._state.populations.get(branch, ())) if not m.name]

    def _parts(self, branch: str, count: int) -> list[Member]:
        """The best discovered losses of a branch and its best handcrafted one."""
        frame = self._frame
        handcrafted = [m for m in ranked(self._state.populations.get(branch, ())) if m.name][:1]
        if not handcrafted:
            loss = load_loss(frame.partner["reg" if branch != "reg" else frame.cls_branch])
            assert isinstance(loss, GraphLoss)
            handcrafted = [Member(loss.graph.formula, loss.graph.digest, "seed", 0, (), "default")]
        return [*self._discovered(branch)[:count], *handcrafted]

    def _beside_partner(self, branch: str, member: Member) -> LossPair:
        frame = self._frame
        partner = self._state.partners.get(branch, frame.partner[branch])
        if branch != "reg":
            return frame.pair(member.formula, partner)
        detection = frame.config.detection
        return LossPair(partner, member.formula, None, detection.box_weight, detection.lr)

    def _rivals(self) -> list[tuple[str, str]]:
        """The baselines: the plain one, the strongest known, the one that did best in this very search, the others."""
        frame = self._frame
        best = {}
        for branch in frame.branches:
            named = [m.name for m in ranked(self._state.populations[branch]) if m.name]
            best[branch] = named[0] if named else None
        cls, reg = best.get(frame.cls_branch), best.get("reg")
        found = (cls or frame.partner["reg"], reg or frame.partner[frame.cls_branch])
        plain, strongest, *rest = frame.baselines
        return list(dict.fromkeys([plain, strongest, found, *rest]))
