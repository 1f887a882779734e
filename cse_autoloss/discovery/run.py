"""A run from its first to its last second: measure, search, combine, audit, report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from cse_autoloss.bench.audit import AuditResult
from cse_autoloss.bench.budget import Cost, RunSize, fit, fit_audit
from cse_autoloss.bench.measure import measured
from cse_autoloss.bench.progress import Clock, Observer, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import (
    NothingDone,
    Session,
    remove_empty_run,
    states_folder,
    still_there,
)
from cse_autoloss.bench.stored import create_run
from cse_autoloss.discovery.finals import Finals, Ranking
from cse_autoloss.discovery.funnel import Entrant
from cse_autoloss.discovery.halving import Ladder
from cse_autoloss.discovery.loop import SearchLoop, SearchPlan
from cse_autoloss.discovery.way import draw_way
from cse_autoloss.errors import ConfigError, WorkersLost
from cse_autoloss.graph import parse_formula
from cse_autoloss.losses import CATALOGUE, load_loss
from cse_autoloss.losses.module import GraphLoss
from cse_autoloss.report.about import about_session
from cse_autoloss.report.loggers import library, logged
from cse_autoloss.report.page import PageWriter
from cse_autoloss.report.write import write_report
from cse_autoloss.runs import RunStore, holds_run, write_whole
from cse_autoloss.searches.protocol import Proposal, turns_of
from cse_autoloss.searches.registry import make_search
from cse_autoloss.settings.load import SearchConfig, dump
from cse_autoloss.spaces import wide
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.spaces.random_expressions import searched_operators
from cse_autoloss.spaces.signatures import PACKAGED, takes
from cse_autoloss.threads import one_torch_thread

CONFIG = "config.yaml"
"""The settings as they were settled, for people."""

Starters = dict[str, list[Entrant]]
"""Slot -> losses that open its population."""


class _Run(Protocol):
    """A search of either kind."""

    def complete(self, store: RunStore, observer: Observer) -> dict[str, Any]: ...


def discover(
    config: SearchConfig,
    directory: Path,
    observer: Observer | None = None,
    space: ParametricSpace | None = None,
) -> dict[str, Any]:
    """Start a run in `directory`, or go on with the one that is there.

    Args:
        config: everything that decides the run.
        directory: the run directory, made where it is missing.
        observer: who watches.
        space: a parametric space of the user's, for a search side by side.

    Returns:
        The summary, as written to summary.json.

    Raises:
        RunError: the directory is in use, damaged, or holds a run with another configuration.
        AutoLossError: any other user's mistake, before anything is trained.
    """
    session = Session(config)
    config = session.config
    run: _Run
    if config.reinforce.side_by_side:
        # It draws with matplotlib and writes code, which no other search needs before its end.
        from cse_autoloss.discovery.side_by_side import SideBySideRun

        run = SideBySideRun(session, space)
    else:
        run = SearchRun(session)
    if config.log is not None:
        library(config.log)
    new = not holds_run(directory)
    if new:
        store = create_run(directory, config.model_dump(mode="json"))
    else:
        store = RunStore.open(directory)
    try:
        with store:
            if store.status == "finished" and (summary := store.meta("summary")) is not None:
                return dict(summary)
            if not new:
                store.add_event("resumed")
            if not (directory / CONFIG).exists():
                write_whole(directory / CONFIG, dump(config))
            about_session(store, "reinforce" if config.reinforce.side_by_side else "evolve", session)
            with logged(config.log, store, observer or Silent()) as watcher, one_torch_thread():
                pages = PageWriter(store, watcher)
                summary = run.complete(store, pages)
            pages.finish()
            return summary
    except NothingDone as nothing:
        if new:
            remove_empty_run(directory)
        raise nothing.error from None


def _starters(session: Session) -> Starters:
    """Handcrafted losses that can be written as expressions, and the user's own."""
    config = session.config
    starters: Starters = {slot: [] for slot in session.slots}
    for slot in session.slots:
        signature = session.task.slots[slot]
        # Raises where no loss can be written in them.
        searched_operators(signature, config.evolution.operators)
        known = wide.fitting(signature)
        texts = [entry.name for entry in CATALOGUE.values() if entry.seed and entry.signature in known]
        texts += [losses[slot] for losses in session.task.baselines]
        for text in dict.fromkeys(texts) if config.evolution.handcrafted_seeds else ():
            loss = load_loss(text, signature)
            if isinstance(loss, GraphLoss):
                graph = parse_formula(loss.graph.formula, signature)
                starters[slot].append(Entrant(Proposal.of(graph, "seed"), text))
    # Formulas of a signature that is not built in do not tell it.
    own = [one for one in session.task.slots.values() if one not in PACKAGED]
    for text in config.seed_losses:
        loss = load_loss(text, own[0] if own and "(" in text else None)
        if not isinstance(loss, GraphLoss):
            raise ConfigError(
                f"seed loss {text!r} is not an expression in our operators, so it can not evolve"
            )
        kinds = {slot: session.task.slots[slot] for slot in session.slots}
        fitting = [slot for slot, one in kinds.items() if takes(one, loss.signature.name)]
        if not fitting:
            listed = ", ".join(one.name for one in kinds.values())
            raise ConfigError(
                f"seed loss {text!r} is a {loss.signature.name} loss, but the search is of {listed}"
            )
        graph = parse_formula(loss.formula, kinds[fitting[0]])
        starters[fitting[0]].append(Entrant(Proposal.of(graph, "seed")))
    return starters


class SearchRun:
    """A run's stages, one after the other."""

    def __init__(self, session: Session) -> None:
        self.session, self.config = session, session.config
        self.starters = _starters(session)
        graphs = {
            slot: [e.proposal.graph for e in entrants if e.proposal.graph is not None]
            for slot, entrants in self.starters.items()
        }
        self.search = make_search(
            self.config, {slot: session.task.slots[slot] for slot in session.slots}, graphs
        )
        session.slots = tuple(self.search.slots)
        self.together = session.together

    def complete(self, store: RunStore, observer: Observer) -> dict[str, Any]:
        self.store, self.observer = store, observer
        self.clock = Clock.of(store, self.config.budget)
        self.status = RunStatus(budget=self.config.budget, metric=self.session.metric)
        with self.clock.stage("data"):
            self.data_notes = self.session.check(store, self.status, observer) + self.session.told_quick()
        with self.session.executor(states_folder(store)) as executor:
            bench = Workbench(executor, store, self.clock, self.status, observer)
            try:
                return self._stages(bench, executor.workers)
            finally:
                bench.keep_clock()

    def _stages(self, bench: Workbench, workers: int) -> dict[str, Any]:
        session, search = self.session, self.search
        size, cost = self.size(bench, workers)
        loop = SearchLoop(session, self._search_plan(size, cost), search, self.starters, bench)
        state = loop.run()
        bench.keep_clock()
        turns = turns_of(search)
        finals = Finals(session, self.store, self.clock, self.status, state, search.guess(state), turns)
        pairs: Ranking = []
        audit: AuditResult | None = None
        lost = loop.lost
        interrupted = loop.stopped_by in ("user", "workers")
        if not interrupted:
            try:
                pairs = finals.combine(bench, size, cost)
                size, cost, pairs = self._fit_again(size, cost, pairs, workers)
                audit = finals.audit(bench, pairs, size, cost)
            except (KeyboardInterrupt, WorkersLost) as end:
                bench.cancel()
                interrupted, lost = True, end if isinstance(end, WorkersLost) else None
        if not pairs:
            pairs = finals.best_so_far()
        self.store.status = "interrupted" if interrupted else "finished"
        bench.keep_clock()
        with self.clock.stage("report"):
            summary = write_report(
                self.store,
                self.status,
                self.clock,
                state,
                pairs,
                audit,
                (*self.data_notes, *size.notes),
                session,
                workers,
                too_short=size.too_short,
            )
            draw_way(session, self.store, search, summary)
        if lost is not None:
            raise still_there(lost, self.store)
        return summary

    # -- size -----------------------------------------------------------------------------------------

    def size(self, bench: Workbench, workers: int) -> tuple[RunSize, Cost]:
        """How large the run may be; measured once, kept with the run, so that a resume has the same plan."""
        config = self.config
        audit = self.session.asked_audit()
        plain = self.session.untuned(self.session.plain)
        cost = measured(bench, plain, self.session.digest, *self.session.quick)
        kept = self.store.typed_meta("size", RunSize)
        if kept is not None:
            return kept, cost
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
        self.status.message = size.too_short or "; ".join(size.notes)
        return size, cost

    def _fit_again(
        self, size: RunSize, cost: Cost, pairs: Ranking, workers: int
    ) -> tuple[RunSize, Cost, Ranking]:
        """Size the audit by what the search's trainings really took, and take as many finalists as it holds."""
        if self.config.budget is not None and self.store.meta("fitted_again") is None:
            alone = [s for s in self.store.scores("proxy", status="ok") if "together" not in s.extra]
            ran = [s for s in alone if "seconds_train" in s.extra][-60:]
            if ran:
                epoch = median(
                    s.extra["seconds_train"] / (s.extra.get("epochs_trained", s.epochs) * size.share)
                    for s in ran
                )
                quick = None if cost.quick is None else epoch
                if (
                    cost.quick is not None
                ):  # the audit's have not been seen yet: dearer by as much as they were
                    epoch *= cost.epoch / cost.quick
                cost = Cost(epoch, median(s.extra["seconds_score"] for s in ran), quick)
            left = self.config.budget - self.clock.elapsed
            size = fit_audit(size, left, workers, cost, self.session.asked_audit())
            self.store.set_meta("size", asdict(size))
            self.store.set_meta("cost", asdict(cost))
            self.store.set_meta("fitted_again", True)
        return size, cost, pairs[: size.audit.winners]

    # -- search ---------------------------------------------------------------------------------------

    def _ladders(self) -> dict[str, Ladder]:
        if not self.session.task.pauses:
            return {}
        proxy = self.config.proxy
        ladder = Ladder(proxy.halving, proxy.keep, proxy.floor, proxy.rung_samples)
        unpaused = proxy.whole_slots
        return {slot: ladder for slot in self.session.slots if slot not in unpaused}

    def _search_plan(self, size: RunSize, cost: Cost) -> SearchPlan:
        config = self.config
        return SearchPlan(
            seconds=None if config.budget is None else size.search_seconds,
            offspring=size.offspring,
            proxy_limit=self.session.limit(cost.of_search, size.epochs),
            epochs=size.epochs,
            train_limit=self.session.train_limit(size, self.store),
            simulates=self.session.task.simulates,
            # Of a search that hardly has time for a training, no part is kept for its end.
            patience=min(
                1.2 * self.together * cost.of_search.training(size.epochs, size.share),
                0.1 * size.search_seconds,
            ),
            ladders=self._ladders(),
            stack=self.together,
        )
