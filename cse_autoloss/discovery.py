"""A run from its first to its last second: measure, search, combine, audit, report."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from cse_autoloss.audit import AuditPlan, AuditResult, Contestant, conclude, tune
from cse_autoloss.config import SearchConfig, dump_config
from cse_autoloss.convergence import VerifySettings
from cse_autoloss.detectors.registry import detector_builder
from cse_autoloss.errors import ConfigError, DataError, RunError
from cse_autoloss.evolution import Evolution, EvolutionState, Member, Proposal, ranked
from cse_autoloss.executors import Executor, Work, make_executor
from cse_autoloss.funnel import Entrant
from cse_autoloss.graph import LossGraph
from cse_autoloss.halving import Ladder
from cse_autoloss.jobs import LossPair, Training
from cse_autoloss.losses import entries, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.pairing import Pairing, choose
from cse_autoloss.plan import TRAIN_IMAGES, AuditSize, Cost, RunSize, fit, fit_audit, train_limit
from cse_autoloss.progress import Clock, Observer, RunStatus, Silent
from cse_autoloss.report.write import write_report
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.search import STATES, SearchLoop, SearchPlan
from cse_autoloss.spaces import BRANCHES
from cse_autoloss.workbench import Workbench

BASELINES = {
    "cls-binary": (
        ("bce", "giou"),
        ("quality-focal", "square-iou"),
        ("quality-focal", "giou"),
        ("focal", "giou"),
        ("cse-autoloss-b-cls", "cse-autoloss-b-reg"),
        ("varifocal", "giou"),
        ("bce", "iou"),
    ),
    "cls-multiclass": (
        ("cross-entropy", "giou"),
        ("cse-autoloss-a-cls", "cse-autoloss-a-reg"),
        ("softmax-focal", "giou"),
        ("cross-entropy", "iou"),
        ("softmax-poly-1", "giou"),
        ("cross-entropy", "diou"),
        ("cross-entropy", "log-iou"),
    ),
}
"""Pairs that people use with a detector's classification branch, by how much would be lost if one were left out
for lack of time; the first is the plain one, the second the best of docs/benchmarks/transfer.md."""

SEEDS_OF_SEARCH = 1_000
SEEDS_OF_TUNING = 2_000
SEEDS_OF_AUDIT = 3_000
"""Training seeds start at the run's seed times 10,000 plus these, so that no stage sees another's luck."""


def discover(config: SearchConfig, directory: Path, observer: Observer | None = None) -> dict[str, Any]:
    """Start a run in `directory`, or go on with the one that is there.

    Args:
        config: everything that decides the run.
        directory: the run directory, made where it is missing.
        observer: who watches.

    Returns:
        The summary, as written to summary.json.

    Raises:
        RunError: the directory is in use, damaged, or holds a run with another configuration.
        AutoLossError: any other user's mistake, before anything is trained.
    """
    starters = _starters(config)
    device = resolve_device(config.device)
    new = not (directory / "run.sqlite").exists()
    if new:
        store = RunStore.create(directory, config.model_dump(mode="json"))
        (directory / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    else:
        store = RunStore.open(directory)
        store.add_event("resumed")
    try:
        with store:
            return _Run(config, store, observer or Silent(), starters, device).complete()
    except _NothingDone as nothing:
        if new:
            _remove_empty_run(directory)
        raise nothing.error from None


class _NothingDone(Exception):
    """The first training could not even be begun, for a reason that is the user's to mend."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _remove_empty_run(directory: Path) -> None:
    """Take back what was just made, so that the mended command finds the directory free."""
    for name in ("config.yaml", "run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.lock"):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _branches(config: SearchConfig) -> tuple[str, ...]:
    cls = detector_builder(config.detection.detector).branch
    return {"cls": (cls,), "reg": ("reg",), "both": (cls, "reg")}[config.branch]


def _starters(config: SearchConfig) -> list[Entrant]:
    """Handcrafted losses that can be written as expressions, and the user's own."""
    branches = _branches(config)
    starters = []
    for branch in branches:
        for entry in entries(branch) if config.evolution.handcrafted_seeds else ():
            loss = entry.make()
            if isinstance(loss, GraphLoss):
                starters.append(Entrant(Proposal(loss.graph, "seed"), entry.name))
    for text in config.seed_losses:
        loss = load_loss(text)
        if not isinstance(loss, GraphLoss):
            raise ConfigError(
                f"seed loss {text!r} is not an expression in our operators, so it can not evolve"
            )
        if loss.branch not in branches:
            raise ConfigError(
                f"seed loss {text!r} is a {loss.branch} loss, but the search is of {', '.join(branches)}"
            )
        starters.append(Entrant(Proposal(loss.graph, "seed")))
    return starters


class _Run:
    """The parts of a run share its store, clock and configuration."""

    def __init__(
        self, config: SearchConfig, store: RunStore, observer: Observer, starters: list[Entrant], device: str
    ) -> None:
        self.config = config
        self.store = store
        self.observer = observer
        before = store.meta("clock", {"elapsed": 0.0, "seconds": {}})
        self.clock = Clock(config.budget, before["elapsed"], before["seconds"], before.get("busy"))
        self.status = RunStatus(budget=config.budget)
        self.work = {
            "detection": config.detection.model_dump(mode="json"),
            "simulate": config.simulate.model_dump(mode="json"),
            "device": device,
            "states": str(store.directory.resolve() / STATES),
        }
        identity = json.dumps([self.work["detection"], self.work["device"]], sort_keys=True)
        self.task = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.branches = _branches(config)
        self.cls_branch = detector_builder(config.detection.detector).branch
        self.alpha = config.alpha if self.cls_branch == "cls-binary" else None
        self.baselines = BASELINES[self.cls_branch]
        plain_cls, plain_reg = self.baselines[0]
        # What stands in the other branch while one is searched: the strongest plain baseline.
        self.partner = {self.cls_branch: plain_reg, "reg": plain_cls}
        self.starters = starters
        proxy = config.proxy
        ladder = Ladder(proxy.halving, proxy.keep, proxy.floor, proxy.rung_scenes)
        halved = {"cls": (self.cls_branch,), "reg": ("reg",), "both": (self.cls_branch, "reg")}
        self.ladders = dict.fromkeys(halved[proxy.halving_branch], ladder)

    def complete(self) -> dict[str, Any]:
        work = Work("cse_autoloss.worker:init", "cse_autoloss.worker:run", self.work)
        with make_executor(self.config.executor, work, self.config.workers) as executor:
            bench = Workbench(executor, self.store, self.clock, self.status, self.observer)
            try:
                return self._stages(bench, executor)
            finally:
                bench.keep_clock()

    def _stages(self, bench: Workbench, executor: Executor) -> dict[str, Any]:
        size, cost = self._size(bench, executor.workers)
        evolution = Evolution(
            self.config.evolution,
            tuple(BRANCHES[name] for name in self.branches),
            self.config.seed,
            [entrant.proposal.graph for entrant in self.starters],
        )
        loop = SearchLoop(self._search_plan(size, cost), evolution, self.starters, bench)
        state = loop.run()
        bench.keep_clock()
        pairs: list[tuple[LossPair, float]] = []
        audit: AuditResult | None = None
        interrupted = loop.stopped_by == "user"
        if not interrupted:
            try:
                pairs = self._combine(bench, state, size, cost)
                size, cost, pairs = self._fit_again(size, cost, pairs, executor.workers)
                audit = self._audit(bench, state, pairs, size, cost)
            except KeyboardInterrupt:
                bench.cancel()
                interrupted = True
        if not pairs:
            pairs = self._best_so_far(state)
        self.store.status = "interrupted" if interrupted else "finished"
        bench.keep_clock()
        with self.clock.stage("report"):
            return write_report(
                self.store,
                self.status,
                self.clock,
                state,
                pairs,
                audit,
                size.notes,
                self.branches,
                executor.workers,
            )

    # -- size -----------------------------------------------------------------------------------------

    def _size(self, bench: Workbench, workers: int) -> tuple[RunSize, Cost]:
        """How large the run may be; measured once, kept with the run, so that a resume has the same plan."""
        config = self.config
        audit = self._asked_audit()
        cost = self._cost(bench)
        kept = self.store.meta("size")
        if kept is not None:
            return RunSize.from_json(kept), cost
        if config.budget is None:
            epochs, offspring = config.proxy.epochs, config.evolution.offspring
            size = RunSize(
                float("inf"),
                epochs,
                1.0,
                offspring,
                config.evolution.combine,
                audit,
                (),
                config.evolution.combine_epochs or audit.tune_epochs,
            )
            self.store.set_meta("size", {**asdict(size), "search_seconds": 1e12})
            return size, cost
        size = fit(
            config.budget,
            self.clock.elapsed,
            workers,
            cost,
            config.audit.share,
            config.proxy.epochs,
            config.evolution.offspring,
            audit,
            config.evolution.combine,
            config.evolution.combine_epochs or audit.tune_epochs,
            config.evolution.combine_seeds,
        )
        self.store.set_meta("size", asdict(size))
        for note in size.notes:
            self.store.add_event("fitted", note=note)
        self.status.message = "; ".join(size.notes)
        return size, cost

    def _asked_audit(self) -> AuditSize:
        """The audit that the configuration asks for."""
        audit = self.config.audit
        return AuditSize(
            winners=audit.finalists,
            baselines=min(audit.baselines, len(self.baselines)),
            box_weights=audit.box_weights,
            lrs=tuple(self.config.detection.lr * factor for factor in audit.lr_factors),
            tune_epochs=audit.tune_epochs,
            tune_seeds=audit.tune_seeds,
            seeds=audit.seeds,
            epochs=audit.epochs,
        )

    def _fit_again(
        self, size: RunSize, cost: Cost, pairs: list[tuple[LossPair, float]], workers: int
    ) -> tuple[RunSize, Cost, list[tuple[LossPair, float]]]:
        """Size the audit by what the search's trainings really took, and take as many finalists as it holds."""
        if self.config.budget is not None and self.store.meta("fitted_again") is None:
            ran = [s for s in self.store.scores("proxy", status="ok") if "seconds_train" in s.extra][-60:]
            if ran:
                cost = Cost(
                    median(
                        s.extra["seconds_train"] / (s.extra.get("epochs_trained", s.epochs) * size.share)
                        for s in ran
                    ),
                    median(s.extra["seconds_score"] for s in ran),
                )
            left = self.config.budget - self.clock.elapsed
            size = fit_audit(size, left, workers, cost, self._asked_audit())
            self.store.set_meta("size", asdict(size))
            self.store.set_meta("cost", asdict(cost))
            self.store.set_meta("fitted_again", True)
        return size, cost, pairs[: size.audit.winners]

    def _cost(self, bench: Workbench) -> Cost:
        """Seconds of a training, from one short real one on each worker side by side."""
        kept = self.store.meta("cost")
        if kept is not None:
            return Cost(**kept)
        self.status.phase = "measure"
        pair = LossPair(*self.baselines[0], None, self.config.detection.box_weight, self.config.detection.lr)
        with self.clock.stage("measure"):
            # A worker's first steps are slow: it reads the data and torch prepares its kernels.
            for epochs in (0.1, 1.0):
                workers = range(bench.executor.workers)
                probes = [Training("tune", pair, -1 - i, epochs, "val", None, self.task) for i in workers]
                scores = bench.train(probes, limit=600.0)
        self.status.funnel["trained"] = 0
        failed = [s for s in scores.values() if s.status not in ("ok", "diverged")]
        if failed:
            raise _NothingDone(_failure(failed[0]))
        seconds_train = max(float(s.extra.get("seconds_train", s.seconds)) for s in scores.values())
        seconds_score = max(float(s.extra.get("seconds_score", 0.0)) for s in scores.values())
        cost = Cost(seconds_train, seconds_score)
        self.store.set_meta("cost", asdict(cost))
        counted = [s.extra["train_images"] for s in scores.values() if "train_images" in s.extra]
        if counted:
            self.store.set_meta(TRAIN_IMAGES, int(counted[0]))
        return cost

    # -- search ---------------------------------------------------------------------------------------

    def _search_plan(self, size: RunSize, cost: Cost) -> SearchPlan:
        config = self.config
        return SearchPlan(
            generations=config.generations,
            seconds=None if config.budget is None else size.search_seconds,
            offspring=size.offspring,
            random_fraction=config.evolution.random_fraction,
            scouts=config.evolution.scouts,
            batch=config.evolution.batch,
            attempts=config.evolution.attempts,
            simulate_limit=config.simulate_limit,
            proxy_limit=self._limit(cost, size.epochs),
            epochs=size.epochs,
            train_limit=self._train_limit(size),
            elite=config.evolution.elite,
            max_seeds=config.evolution.max_seeds,
            box_weight=config.detection.box_weight,
            lr=config.detection.lr,
            partner=self.partner,
            alpha=self.alpha,
            first_seed=self._first_seed(SEEDS_OF_SEARCH),
            task=self.task,
            verify=VerifySettings(**config.verify.model_dump()),
            # Of a search that hardly has time for a training, no part is kept for its end.
            patience=min(1.2 * cost.training(size.epochs, size.share), 0.1 * size.search_seconds),
            choose_from=config.evolution.choose_from,
            ladders=self.ladders,
        )

    # -- combine and audit ----------------------------------------------------------------------------

    def _discovered(self, state: EvolutionState, branch: str) -> list[Member]:
        """Members that are no handcrafted seed, best first; those with more seeds are the surer ones."""
        return [m for m in ranked(state.populations.get(branch, ())) if not m.name]

    def _parts(self, state: EvolutionState, branch: str, count: int) -> list[Member]:
        """The best discovered losses of a branch and its best handcrafted one."""
        handcrafted = [m for m in ranked(state.populations.get(branch, ())) if m.name][:1]
        if not handcrafted:
            graph = _catalogue_graph(self.partner["reg" if branch != "reg" else self.cls_branch])
            handcrafted = [Member(graph.formula, graph.digest, "seed", 0, (), "default")]
        return [*self._discovered(state, branch)[:count], *handcrafted]

    def _best_so_far(self, state: EvolutionState) -> list[tuple[LossPair, float]]:
        """The best pair without any further training: each branch's best beside its partner."""
        best = [(branch, m) for branch in self.branches for m in self._discovered(state, branch)[:1]]
        found = [(self._pair(state, branch, member), member.fitness) for branch, member in best]
        return sorted(found, key=lambda item: -item[1])

    def _pair(self, state: EvolutionState, branch: str, member: Member) -> LossPair:
        partner = state.partners.get(branch, self.partner[branch])
        cls, reg = (partner, member.formula) if branch == "reg" else (member.formula, partner)
        alpha = self.alpha if branch == "cls-binary" else None
        return LossPair(cls, reg, alpha, self.config.detection.box_weight, self.config.detection.lr)

    def _combine(
        self, bench: Workbench, state: EvolutionState, size: RunSize, cost: Cost
    ) -> list[tuple[LossPair, float]]:
        """Pairs to be audited, best validation AP first."""
        base: dict[str, Any] = {
            "alpha": self.alpha,
            "box_weight": self.config.detection.box_weight,
            "lr": self.config.detection.lr,
        }
        self.status.phase = "combine"
        if len(self.branches) == 1:
            branch = self.branches[0]
            found = self._discovered(state, branch)[: size.combine * (size.combine + 2)]
            pairs = [self._pair(state, branch, member) for member in found]
        else:
            # The best handcrafted loss of each branch takes part: two discovered ones need not go well together.
            classes, boxes = (self._parts(state, branch, size.combine) for branch in (self.cls_branch, "reg"))
            pairs = [
                LossPair(c.formula, r.formula, **base)
                for c in classes
                for r in boxes
                if not (c.name and r.name)
            ]
        first = self._first_seed(SEEDS_OF_SEARCH) + 500
        pairing = Pairing(
            tuple(pairs),
            tuple(first + i for i in range(self.config.evolution.combine_seeds)),
            size.combine_epochs or size.epochs,
            self._train_limit(size),
            self.task,
        )
        with self.clock.stage("combine"):
            train = partial(bench.training, limit=self._limit(cost, pairing.epochs))
            return bench.finish(bench.start(choose(pairing, train)))

    def _rivals(self, state: EvolutionState) -> list[tuple[str, str]]:
        """The baselines: the plain one, the strongest known, the one that did best in this very search, the others."""
        best = {}
        for branch in self.branches:
            named = [m.name for m in ranked(state.populations[branch]) if m.name]
            best[branch] = named[0] if named else None
        cls, reg = best.get(self.cls_branch), best.get("reg")
        found = (cls or self.partner["reg"], reg or self.partner[self.cls_branch])
        plain, strongest, *rest = self.baselines
        return list(dict.fromkeys([plain, strongest, found, *rest]))

    def _audit(
        self,
        bench: Workbench,
        state: EvolutionState,
        pairs: Sequence[tuple[LossPair, float]],
        size: RunSize,
        cost: Cost,
    ) -> AuditResult:
        audit = size.audit
        plan = AuditPlan(
            seeds=tuple(self._first_seed(SEEDS_OF_AUDIT) + i for i in range(audit.seeds)),
            box_weights=audit.box_weights,
            lrs=audit.lrs,
            tune_epochs=audit.tune_epochs,
            tune_seeds=tuple(self._first_seed(SEEDS_OF_TUNING) + i for i in range(audit.tune_seeds)),
            epochs=audit.epochs,
            train_limit=self._train_limit(size),
            confidence=self.config.audit.confidence,
            resamples=self.config.audit.resamples,
            edge_steps=self.config.audit.edge_steps,
        )
        contestants = [Contestant(f"discovered {i + 1}", pair, True) for i, (pair, _) in enumerate(pairs)] + [
            Contestant(f"{c} + {r}", LossPair(c, r), False) for c, r in self._rivals(state)[: audit.baselines]
        ]
        self.status.phase = "tune"
        with self.clock.stage("tune"):
            train = partial(bench.train, limit=self._limit(cost, audit.tune_epochs))
            contestants = tune(contestants, plan, self.task, train)
        bench.keep_clock()
        self.status.phase = "audit"
        if self.config.budget is not None:
            # Seed after seed is trained, so the bell leaves whole seeds; two are needed for an interval.
            bench.deadline = time.monotonic() + max(5.0, self.config.budget - self.clock.elapsed - 2.0)
        try:
            with self.clock.stage("audit"):
                final = bench.train(plan.final(contestants, self.task), self._limit(cost, audit.epochs))
        finally:
            bench.deadline = None
        return conclude(contestants, plan, self.task, final)

    # -- small change ---------------------------------------------------------------------------------

    def _first_seed(self, of: int) -> int:
        return self.config.seed * 10_000 + of

    def _train_limit(self, size: RunSize) -> int | None:
        detection = self.config.detection
        images = self.store.meta(TRAIN_IMAGES, detection.scenes.counts[0])
        return train_limit(size.share, images, detection.batch)

    def _limit(self, cost: Cost, epochs: float) -> float:
        """Wall seconds after which a training is killed; never less than five times what an ordinary one takes."""
        return max(30.0, self.config.proxy.limit_factor * cost.training(epochs))


def resolve_device(name: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; ConfigError where CUDA is asked for and not there."""
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise ConfigError("device: cuda was asked for, but torch sees no CUDA device; use auto or cpu")
    return "cpu"


def _failure(score: Score) -> Exception:
    """The error of a job that can not fail for the loss's sake: the data's or the machine's."""
    name, _, text = score.detail.partition(": ")
    kinds: dict[str, Callable[[str], Exception]] = {"DataError": DataError, "ConfigError": ConfigError}
    return kinds.get(name, RunError)(text if name in kinds else f"the first training failed: {score.detail}")


def _catalogue_graph(name: str) -> LossGraph:
    loss = load_loss(name)
    assert isinstance(loss, GraphLoss)
    return loss.graph
