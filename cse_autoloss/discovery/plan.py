"""What a run would do in its budget: measured on this machine by one short training, and then nothing is trained."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cse_autoloss.bench.budget import Cost, RunSize, finalists
from cse_autoloss.bench.progress import Clock, Observer, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import NothingDone, Session, states_folder
from cse_autoloss.discovery.finals import Finals
from cse_autoloss.discovery.run import SearchRun
from cse_autoloss.report.live import clock_face
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.protocol import turns_of
from cse_autoloss.settings.load import SearchConfig, load_config
from cse_autoloss.tasks.registry import section_of


@dataclass(frozen=True)
class RunPlan:
    """What a run would do; printed, it is a few lines.

    Attributes:
        config: of the run.
        workers: trainings side by side.
        cost: of a training on this machine.
        size: of search and audit, with what was shrunk.
        rivals: names of the audit's baselines.
        slots: that are searched.
        metric: that is climbed.
        sets: of the best losses that are trained on the audit's schedule, at most.
    """

    config: SearchConfig
    workers: int
    cost: Cost
    size: RunSize
    rivals: tuple[str, ...]
    slots: tuple[str, ...]
    metric: str
    sets: int

    @property
    def trainings(self) -> int | None:
        """Of the search, about; None where no budget says."""
        if self.config.budget is None:
            asked = self.config.generations
            return None if asked is None else asked * self.size.offspring
        each = self.cost.of_search.training(self.size.epochs, self.size.share)
        left = self.workers * max(0.0, self.size.search_seconds)
        return math.floor(left / max(each, 1e-3))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        audit, size = self.size.audit, self.size
        share = size.share
        return {
            "task": self.config.task,
            "slots": list(self.slots),
            "metric": self.metric,
            "budget": self.config.budget,
            "workers": self.workers,
            "seconds_an_epoch": self.cost.epoch,
            "seconds_a_quick_epoch": self.cost.quick,
            "seconds_to_score": self.cost.score,
            "search": {
                "name": self.config.search,
                "seconds": None if self.config.budget is None else size.search_seconds,
                "trainings": self.trainings,
                "epochs": size.epochs,
                "share_of_the_data": share,
                "a_generation": size.offspring,
            },
            "audit": {
                "winners": audit.winners,
                "baselines": list(self.rivals),
                "tuning": audit.tuning,
                "tune_epochs": audit.tune_epochs,
                "seeds": audit.seeds,
                "epochs": audit.epochs,
                "seconds": audit.seconds(self.cost, share) / self.workers,
            },
            "too_short": size.too_short,
            "notes": list(size.notes),
        }

    @property
    def _quick(self) -> str:
        """What an epoch of the search's trainings takes, where they have another optimiser or precision."""
        proxy = self.config.proxy
        how = ", ".join(str(one) for one in (proxy.optimizer, proxy.precision) if one is not None)
        return "" if self.cost.quick is None else f", in the search {self.cost.quick:.2g} s ({how}),"

    def __str__(self) -> str:
        size, audit, share = self.size, self.size.audit, self.size.share
        budget = "no budget" if self.config.budget is None else f"{clock_face(self.config.budget)} in all"
        until = "" if self.config.budget is None else f", until {clock_face(size.search_seconds)} have gone"
        trainings = "trainings" if self.trainings is None else f"room for {self.trainings} trainings"
        lines = [
            f"{self.config.task}: {self.config.search} for {', '.join(self.slots)}, by {self.metric}; {budget}, "
            f"{self.workers} trainings at a time.",
            f"A training here takes {self.cost.epoch:.2g} s an epoch{self._quick} and {self.cost.score:.2g} s to "
            "score.",
            f"Search: {trainings} of {size.epochs:g} epochs on {share:.0%} of the data, {size.offspring} in a "
            f"generation{until}.",
            f"Pairing: {self.sets} sets of the best losses, {finalists(self.sets)} of them with further seeds.",
            f"Audit: {audit.winners} found against {len(self.rivals)} known ({', '.join(self.rivals)}), "
            f"{audit.tuning} tuning trainings each of {audit.tune_epochs:g} epochs, then {audit.seeds} seeds of "
            f"{audit.epochs:g} epochs on test, of the found ones for the best: about "
            f"{clock_face(audit.seconds(self.cost, share) / self.workers)}.",
        ]
        shrunk = [f"Shrunk: {note}" for note in size.notes]
        return "\n".join([*lines, *shrunk, *([size.too_short] if size.too_short else [])])


def plan_run(
    task: str | None = None,
    *,
    config: str | Path | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> RunPlan:
    """What `evolve` with the same arguments would do in its budget; only a short training is done, to measure.

    Raises:
        AutoLossError: as of `evolve`.
    """
    settings: Mapping[str, Any] = {name.replace("__", "."): value for name, value in overrides.items()}
    settled = load_config(config, {**({"task": task} if task else {}), **settings}, section_of)
    session = Session(settled)
    settled = session.config
    run = SearchRun(session)
    with tempfile.TemporaryDirectory(prefix="cse-autoloss-") as folder:
        store = RunStore.create(folder, settled.model_dump(mode="json"))
        try:
            with store, session.executor(states_folder(store)) as executor:
                run.store, run.clock = store, Clock(settled.budget)
                run.status = RunStatus(budget=settled.budget, metric=session.metric)
                bench = Workbench(executor, store, run.clock, run.status, observer or Silent())
                size, cost = run.size(bench, executor.workers)
                state = run.search.init()
                guesses, turns = run.search.guess(state), turns_of(run.search)
                finals = Finals(session, store, run.clock, run.status, state, guesses, turns)
                rivals = [one.name for one in finals.rivals()[: size.audit.baselines]]
                workers, sets = executor.workers, finals.sets(size.combine)
        except NothingDone as nothing:
            raise nothing.error from None
    return RunPlan(
        settled,
        workers,
        cost,
        size,
        tuple(rivals),
        session.slots,
        session.metric.label,
        sets,
    )
