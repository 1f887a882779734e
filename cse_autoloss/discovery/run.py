"""A run from its first to its last second: measure, search, combine, audit, report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from cse_autoloss.bench.audit import AuditResult
from cse_autoloss.bench.budget import TRAIN_IMAGES, Cost, RefineSize, RunSize, fit, fit_audit
from cse_autoloss.bench.jobs import LossPair, Training
from cse_autoloss.bench.progress import Observer, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import SEEDS_OF_SEARCH, RunFrame, resolve_device, searched_branches
from cse_autoloss.discovery.finals import Finals, RankedPairs
from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.discovery.halving import Ladder
from cse_autoloss.discovery.loop import SearchLoop, SearchPlan
from cse_autoloss.errors import ConfigError, DataError, RunError
from cse_autoloss.executors import Executor, Work, make_executor
from cse_autoloss.losses import entries, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.report.write import write_report
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.searches.evolution import Evolution, Proposal
from cse_autoloss.settings.load import SearchConfig, dump_config
from cse_autoloss.spaces import SIGNATURES
from cse_autoloss.verification import VerifySettings


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
            return _Run(RunFrame(config, store, device), observer or Silent(), starters).complete()
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


def _starters(config: SearchConfig) -> list[Entrant]:
    """Handcrafted losses that can be written as expressions, and the user's own."""
    branches = searched_branches(config)
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
        if loss.signature.name not in branches:
            raise ConfigError(
                f"seed loss {text!r} is a {loss.signature.name} loss, but the search is of {', '.join(branches)}"
            )
        starters.append(Entrant(Proposal(loss.graph, "seed")))
    return starters


class _Run:
    """A run's stages, one after the other."""

    def __init__(self, frame: RunFrame, observer: Observer, starters: list[Entrant]) -> None:
        self.frame = frame
        self.config, self.store = frame.config, frame.store
        self.clock, self.status = frame.clock, frame.status
        self.observer = observer
        self.starters = starters

    def complete(self) -> dict[str, Any]:
        work = Work("cse_autoloss.bench.worker:init", "cse_autoloss.bench.worker:run", self.frame.work)
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
            tuple(SIGNATURES[name] for name in self.frame.branches),
            self.config.seed,
            [entrant.proposal.graph for entrant in self.starters],
        )
        loop = SearchLoop(self._search_plan(size, cost), evolution, self.starters, bench)
        state = loop.run()
        bench.keep_clock()
        finals = Finals(self.frame, state)
        pairs: RankedPairs = []
        audit: AuditResult | None = None
        interrupted = loop.stopped_by == "user"
        if not interrupted:
            try:
                pairs = finals.combine(bench, size, cost)
                size, cost, pairs = self._fit_again(size, cost, pairs, executor.workers)
                audit = finals.audit(bench, pairs, size, cost)
            except KeyboardInterrupt:
                bench.cancel()
                interrupted = True
        if not pairs:
            pairs = finals.best_so_far()
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
                (*self.frame.notes, *finals.notes, *size.notes),
                self.frame.branches,
                executor.workers,
            )

    # -- size -----------------------------------------------------------------------------------------

    def _size(self, bench: Workbench, workers: int) -> tuple[RunSize, Cost]:
        """How large the run may be; measured once, kept with the run, so that a resume has the same plan."""
        config = self.config
        audit = self.frame.asked_audit()
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
                config.refine.generations,
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
            RefineSize(config.refine.generations, config.refine.offspring, config.refine.seeds),
        )
        self.store.set_meta("size", asdict(size))
        for note in size.notes:
            self.store.add_event("fitted", note=note)
        self.status.message = "; ".join(size.notes)
        return size, cost

    def _fit_again(
        self, size: RunSize, cost: Cost, pairs: RankedPairs, workers: int
    ) -> tuple[RunSize, Cost, RankedPairs]:
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
            size = fit_audit(size, left, workers, cost, self.frame.asked_audit())
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
        pair = LossPair(
            *self.frame.baselines[0], None, self.config.detection.box_weight, self.config.detection.lr
        )
        with self.clock.stage("measure"):
            # A worker's first steps are slow: it reads the data and torch prepares its kernels.
            for epochs in (0.1, 1.0):
                workers = range(bench.executor.workers)
                probes = [
                    Training("tune", pair, -1 - i, epochs, "val", None, self.frame.task) for i in workers
                ]
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

    def _ladders(self) -> dict[str, Ladder]:
        proxy, cls = self.config.proxy, self.frame.cls_branch
        ladder = Ladder(proxy.halving, proxy.keep, proxy.floor, proxy.rung_scenes)
        halved = {"cls": (cls,), "reg": ("reg",), "both": (cls, "reg")}
        return dict.fromkeys(halved[proxy.halving_branch], ladder)

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
            proxy_limit=self.frame.limit(cost, size.epochs),
            epochs=size.epochs,
            train_limit=self.frame.train_limit(size),
            elite=config.evolution.elite,
            max_seeds=config.evolution.max_seeds,
            box_weight=config.detection.box_weight,
            lr=config.detection.lr,
            partner=self.frame.partner,
            alpha=self.frame.alpha,
            first_seed=self.frame.first_seed(SEEDS_OF_SEARCH),
            task=self.frame.task,
            verify=VerifySettings(**config.verify.model_dump()),
            # Of a search that hardly has time for a training, no part is kept for its end.
            patience=min(1.2 * cost.training(size.epochs, size.share), 0.1 * size.search_seconds),
            choose_from=config.evolution.choose_from,
            ladders=self._ladders(),
        )


def _failure(score: Score) -> Exception:
    """The error of a job that can not fail for the loss's sake: the data's or the machine's."""
    name, _, text = score.detail.partition(": ")
    kinds: dict[str, Callable[[str], Exception]] = {"DataError": DataError, "ConfigError": ConfigError}
    return kinds.get(name, RunError)(text if name in kinds else f"the first training failed: {score.detail}")
