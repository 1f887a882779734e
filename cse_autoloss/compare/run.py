"""A comparison from its first to its last second: check, measure, tune, train, report. It can be killed and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from cse_autoloss.bench.audit import Contestant, tune
from cse_autoloss.bench.budget import Cost
from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.measure import measured
from cse_autoloss.bench.progress import Clock, Observer, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import NothingDone, Session, fresh, new_directory, remove_empty_run
from cse_autoloss.bench.spent import spent, spent_text
from cse_autoloss.bench.stored import create_run, keep_config, named_again
from cse_autoloss.compare.contestants import Field, enlist
from cse_autoloss.compare.request import Request
from cse_autoloss.compare.result import Comparison, compare_scores
from cse_autoloss.compare.standings import Standings
from cse_autoloss.compare.write import write_comparison
from cse_autoloss.errors import AutoLossError, ConfigError, RunError, WorkersLost, shorten
from cse_autoloss.report.about import about_session
from cse_autoloss.report.page import PageWriter
from cse_autoloss.runs import RunStore, Score, holds_run, write_whole
from cse_autoloss.settings.fields import Spaces, written
from cse_autoloss.settings.load import SearchConfig, changed, config_for, dump, load_config
from cse_autoloss.settings.schema import section_key
from cse_autoloss.tasks.registry import section_of

SHORTEST_LIMIT = 300.0
"""Seconds that any training may take before it is ended as hanging: a busy machine must not look like a bad loss."""

Say = Callable[[str], None]


def compare_losses(
    losses: Sequence[str] = (),
    *,
    task: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    split: str = "test",
    tune: bool = True,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    observer: Observer | None = None,
    say: Say = lambda line: None,
) -> tuple[Path, Comparison]:
    """Compare losses and write everything into a directory.

    Args:
        losses: names, formulas, `CLS+REG`, run directories or loss.json files; see docs/compare.md. Without any, the
            task's baselines.
        task: "detection", "classification", ..., or "my_file.py:MyTask"; None is the configuration's, or detection.
        config: YAML file, or the name of one that comes with the package; by default the detector's or the task's own.
        overrides: dotted key -> value, as of `cse_autoloss.settings.load.load_config`.
        seeds: final trainings of each; by default the configuration's `audit.seeds`.
        split: "test" or "val", that the final trainings are scored on.
        tune: tune the task's tunables (box weight, learning rate) of each on validation first.
        out: directory of the comparison; by default a new one below `runs/`.
        resume: an earlier comparison's directory to go on with; then only `seeds` and workers may be given.
        observer: who watches.
        say: gets a line now and then: what was completed, how long it will take.

    Returns:
        The directory, and the result, which is what comparison.json holds.

    Raises:
        AutoLossError: a user's mistake, in one line, before anything is trained.
    """
    if split not in ("val", "test"):
        raise ConfigError(f"split: expected 'test' or 'val', got {split!r}")
    if seeds is not None and not (isinstance(seeds, int) and 1 <= seeds <= 1000):
        raise ConfigError(f"seeds: expected 1 to 1000, got {seeds!r}")
    if isinstance(losses, str) or not all(isinstance(one, str) for one in losses):
        raise ConfigError(f"losses: expected a list of names or formulas, got {shorten(repr(losses))}")
    settings = {**({"task": task} if task else {}), **(overrides or {})}
    if resume is not None:
        if losses or config is not None or out is not None:
            raise ConfigError(
                "--resume goes on with a comparison as it was begun: leave losses, --config and --out away"
            )
        directory = Path(resume)
        request = _resumed(directory, seeds, settings)
        session = Session(request.config)
    else:
        named = settings.get("own.detector", settings.get("detection.detector"))
        settled = load_config(
            config or (config_for(named) if isinstance(named, str) else None), settings, section_of
        )
        session = Session(settled)
        known = session.task.baselines[: settled.audit.baselines]
        texts = losses or ["+".join(one[slot] for slot in session.task.slots) for one in known]
        field, settled, session = _enlisted(texts, settled, session)
        request = Request(
            field, settled, seeds or settled.audit.seeds, "val" if split == "val" else "test", tune
        )
        directory = fresh(Path(out) if out is not None else settled.out or new_directory("compare-"))
    for note in request.field.notes:
        say(note)
    return directory, _run(request, session, directory, observer or Silent(), say)


def _enlisted(
    texts: Sequence[str], settled: SearchConfig, session: Session
) -> tuple[Field, SearchConfig, Session]:
    """The contestants, in spaces that all of them fit: losses that read more need wider ones."""
    try:
        return enlist(texts, session.task), settled, session
    except ConfigError:
        known = list(get_args(Spaces))
        for spaces in known[known.index(getattr(settled.own, "spaces", known[-1])) + 1 :]:
            wider = changed(settled, {f"{section_key(settled.task)}.spaces": spaces})
            with suppress(AutoLossError):
                widened = Session(wider)
                return enlist(texts, widened.task), wider, widened
        raise


def _resumed(directory: Path, seeds: int | None, overrides: Mapping[str, Any]) -> Request:
    overrides, code = named_again(overrides)
    with RunStore.open(directory) as store:
        if "compare" not in store.config:
            raise RunError(
                f"{directory}: a search, not a comparison; go on with it by evolve --resume {directory}"
            )
        kept = request = Request.of(store, code, overrides.get("ray.address"))
        may_change = ("workers", "executor", "ray.address", *written(kept.config))
        for key in overrides:
            if key not in may_change:
                raise ConfigError(
                    f"{key}: a resumed comparison keeps it as it was; only seeds and workers may change"
                )
        if overrides:
            request = replace(request, config=changed(request.config, overrides))
        if seeds is not None:
            request = replace(request, seeds=seeds)
        if request != kept or store.status != "finished":
            keep_config(store, request.to_json())
            store.add_event("resumed")
    return request


def _run(
    request: Request,
    session: Session,
    directory: Path,
    observer: Observer,
    say: Say,
) -> Comparison:
    new = not holds_run(directory)
    store = create_run(directory, request.to_json()) if new else RunStore.open(directory)
    if new:
        write_whole(directory / "config.yaml", dump(request.config))
    try:
        status = RunStatus(metric=session.metric)
        with ExitStack() as stack:
            stack.enter_context(store)
            about_session(store, "compare", session)
            pages = PageWriter(store, observer)
            data_notes = session.check(store, status, pages)
            for note in data_notes:
                say(note)
            executor = stack.enter_context(session.executor())
            bench = Workbench(executor, store, Clock.of(store, None), status, pages)
            try:
                result = _Stages(request, session, bench, say).complete(data_notes)
            finally:
                bench.keep_clock()
            write_comparison(result, directory)
            store.set_meta("summary", result.to_dict())
            pages.finish()
            return result
    except NothingDone as nothing:
        if new:
            remove_empty_run(directory)
        raise nothing.error from None


class _Stages:
    """Measure, tune, train; all share plan, store and workers."""

    def __init__(self, request: Request, session: Session, bench: Workbench, say: Say) -> None:
        self.request, self.session, self.bench, self.say = request, session, bench, say
        self.plan, self.store = request.plan(session), bench.store

    def complete(self, data_notes: Sequence[str]) -> Comparison:
        contestants: Sequence[Contestant] = self._untuned()
        cost = measured(self.bench, contestants[0].losses, self.session.digest)
        longest = max(self.plan.tune_epochs, self.plan.epochs)
        limit = max(SHORTEST_LIMIT, self.request.config.proxy.limit_factor * cost.training(longest))
        self._announce(contestants, cost)
        scores: dict[str, Score] = {}
        notes = [*self.request.field.notes, *data_notes]
        self.store.status = "running"
        try:
            if self.request.tune:
                field = contestants
                train = partial(self._train, "tune", field, limit=limit, cost=cost)
                contestants = tune(field, self.plan, train)
            scores = self._train("audit", contestants, self.plan.final(contestants), limit, cost)
            self.store.status = "finished"
        except (KeyboardInterrupt, WorkersLost):
            self.bench.cancel()
            self.store.status = "interrupted"
            finals = self.plan.final(contestants)
            scores = {t.key: kept for t in finals if (kept := self.store.score(t.key)) is not None}
            notes.append(f"interrupted; go on with: cse-autoloss compare --resume {self.store.directory}")
        session, own = self.session, self.session.config.own
        data, model = (getattr(own, name, None) for name in ("data", "detector"))
        what = f"{model or session.task.name} on {data}" if data else session.task.name
        about = {"task": session.task.name, "detector": model, "data": data, "what": what}
        # The metric that decides comes first.
        metrics = sorted(session.task.metrics, key=lambda metric: metric != session.metric)
        found = compare_scores(contestants, self.plan, scores, metrics, about=about, notes=notes)
        return replace(found, spent=spent_text(spent(self.store)))

    def _untuned(self) -> list[Contestant]:
        """Everyone with the task's defaults, in the unit of their losses."""
        return [
            replace(
                one,
                losses=one.losses.with_settings(
                    {n: v * dict(one.units).get(n, 1.0) for n, v in self.session.defaults.items()}
                ),
            )
            for one in self.request.field.contestants
        ]

    def _train(
        self,
        phase: str,
        contestants: Sequence[Contestant],
        trainings: Sequence[Training],
        limit: float,
        cost: Cost,
    ) -> dict[str, Score]:
        """Scores by key, with everyone's standing shown as they come."""
        bench, watcher = self.bench, self.bench.observer
        later = (
            0
            if phase == "audit"
            else len(self.plan.seeds) * len(contestants) * cost.training(self.plan.epochs)
        )
        bench.observer = Standings(
            watcher,
            self.store,
            contestants,
            trainings,
            later / bench.executor.workers,
            bench.executor.workers,
            phase == "tune",
        )
        bench.status.phase = phase
        try:
            with bench.clock.stage(phase):
                return bench.train(trainings, limit)
        finally:
            bench.observer = watcher

    def _announce(self, contestants: Sequence[Contestant], cost: Cost) -> None:
        """How many trainings there are, and about how long they will take."""
        tuning, finals = self.plan.tries * len(contestants), len(self.plan.seeds) * len(contestants)
        done = sum(score.seed in self.plan.tune_seeds for score in self.store.scores("tune"))
        done_finals = min(finals, len(self.store.scores("audit")))
        workers = self.bench.executor.workers
        each = cost.training(self.plan.epochs)
        seconds = (tuning - done) * cost.training(self.plan.tune_epochs) + (finals - done_finals) * each
        if done + done_finals >= tuning + finals:
            self.say(f"all {tuning + finals} trainings are done")
            return
        kept = f", {done + done_finals} of them are done" if done + done_finals else ""
        self.say(
            f"{tuning} trainings to tune {len(contestants)} contestants alike and {finals} to compare them{kept}; "
            f"about {each:.0f} s each, {workers} at a time: about {_words(seconds / workers)}"
        )


def _words(seconds: float) -> str:
    """ "40 s", "13 min" or "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
