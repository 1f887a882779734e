"""REINFORCE as its papers run it: B models trained side by side, an epoch a generation, beside baselines tuned alike.

Each search (of a seed, at a learning rate) is a process of the workbench, and so is each baseline: several go on at a
time, on any executor, and what they find does not depend on how many.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cse_autoloss.bench.audit import AuditResult, Contestant, noise_floor
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.progress import Clock, Observer, RunStatus
from cse_autoloss.bench.schedule import Pending, Process, Workbench
from cse_autoloss.bench.session import Session, states_folder
from cse_autoloss.bench.stacked import StackTraining
from cse_autoloss.bench.statistics import paired_difference
from cse_autoloss.discovery.stacks import Stacks
from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.losses.parametric import ParametricLoss, known_here, make_space
from cse_autoloss.report.plots import plot_gradient, plot_mu
from cse_autoloss.report.write import write_report
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.searches.parametric import softmax_slot, space_of
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.spaces.parametric import ParametricSpace

CONTROL = "softmax, best of B"
"""Softmax trained as the search trains: B copies with orders of their own, the best copied each epoch."""

_OWN_SPACE = "own space"


@dataclass(frozen=True)
class Tried:
    """A contestant's trainings with one seed: a search at each learning rate, or a baseline at all of them."""

    title: str
    trainings: tuple[tuple[StackTraining, Pending[Score]], ...]

    def best(self) -> tuple[StackTraining, Score]:
        """The one that is best on validation, and its score; DivergedError where all models of all diverged."""
        ended = [(training, pending.value) for training, pending in self.trainings]
        sound = [(training, score) for training, score in ended if score.metrics]
        if not sound:
            raise DivergedError(f"{self.title}: {ended[0][1].detail}")
        return max(sound, key=lambda item: item[1].extra["worth"])


class SideBySideRun:
    """Baselines, searches and their control, with each seed; then what validation chose on test, and the report."""

    def __init__(self, session: Session, space: ParametricSpace | None = None) -> None:
        """
        Args:
            session: of the run.
            space: one of the user's, in place of the configured one; known in this process alone.

        Raises:
            ConfigError: the task can not train models side by side, or has no softmax slot.
        """
        config = session.config
        if not session.task.stacks:
            raise ConfigError(f"reinforce.side_by_side: {config.task} can not train models side by side")
        self.session, self.config, self.search, self.own = session, config, config.reinforce, space
        session.slots = tuple(softmax_slot(config, session.task.slots))
        self.space = space or space_of(config)
        self.title = f"{self.space.name} (searched)"
        self.epochs = int(config.own.epochs)
        self.seeds = range(config.seed, config.seed + self.search.seeds)
        self._random = space is None and self.search.space == "random-softmax"
        self._policy(config.seed)  # says what is wrong with the settings

    def complete(self, store: RunStore, observer: Observer) -> dict[str, Any]:
        """Run to the end, from wherever the store stands; the summary."""
        self._check_space(store)
        self.store = store
        self.clock = Clock.of(store, None)
        self.status = RunStatus(metric=self.session.metric, slot=self.session.slots[0])
        with known_here(self.own), self.session.executor(states_folder(store)) as executor:
            self.bench = Workbench(executor, store, self.clock, self.status, observer)
            self.stacks = Stacks(self.session, self.bench, self.space)
            audit: AuditResult | None = None
            extra: dict[str, Any] = {}
            store.status = "running"
            try:
                chosen = self._chosen()
                tests = self._tested(chosen)
                audit, extra = self._compared(chosen, tests)
                store.status = "finished"
            except KeyboardInterrupt:
                self.bench.cancel()
                store.status = "interrupted"
            finally:
                self.bench.keep_clock()
            return self._report(audit, extra, executor.workers)

    def _check_space(self, store: RunStore) -> None:
        given = None if self.own is None else json.loads(json.dumps(self.own.to_dict()))
        if not store.scores() and store.meta(_OWN_SPACE) is None:
            store.set_meta(_OWN_SPACE, given)
        kept = store.meta(_OWN_SPACE)
        if kept != given:
            theirs = "a space of the package" if kept is None else f"a space of your own, {json.dumps(kept)}"
            raise RunError(
                f"{store.directory}: this run searches {theirs}; go on with it from Python by "
                f"reinforce_loss(resume=…{'' if kept is None else ', space=…'})"
            )

    # -- trainings ------------------------------------------------------------------------------------

    def _chosen(self) -> dict[str, list[tuple[StackTraining, Score]]]:
        """Title -> what validation chose, for each seed."""
        tuned = [self._baseline(name, seed) for seed in self.seeds for name in self.search.baselines]
        searched = [self._searches(seed) for seed in self.seeds]
        if self.search.selection_control and not self._random:
            searched += [self._controls(seed) for seed in self.seeds]
        found: dict[str, list[tuple[StackTraining, Score]]] = {}
        for phase, stage, group in (("tune", "tune", tuned), ("search", "proxy", searched)):
            self.status.phase = phase
            with self.clock.stage(stage):
                for tried in group:
                    for _, pending in tried.trainings:
                        self.bench.finish(pending)
                    found.setdefault(tried.title, []).append(tried.best())
        return found

    def _baseline(self, name: str, seed: int) -> Tried:
        """All settings and learning rates of a baseline in one stack."""
        baseline = BASELINES[name]
        grid = [(value, factor) for value in baseline.grid for factor in self.search.lr_factors]
        space = baseline.space(self.config.own.scale)
        scale = self.config.own.scale if baseline.cosine else self.config.own.cosine_scale
        training = self._training(
            f"{name}-{seed}", space, seed, tuple(factor for _, factor in grid), scale=scale
        )
        process = self.stacks.tuning(name, training, space, [[value] for value, _ in grid])
        return Tried(name, ((training, self._start(process, len(grid), "tune")),))

    def _searches(self, seed: int) -> Tried:
        copies = self.search.copy_best and not self._random
        return self._at_each_rate("searched", self.title, self._policy(seed), seed, copy_best=copies)

    def _controls(self, seed: int) -> Tried:
        softmax = make_space("am-lfs", intervals=1, scale=self.config.own.scale)
        still = Reinforce(softmax, samples=self.search.samples, sigma=1e-9, seed=seed, update=False)
        return self._at_each_rate("control", CONTROL, still, seed, own_orders=True)

    def _at_each_rate(self, name: str, title: str, policy: Reinforce, seed: int, **options: Any) -> Tried:
        scale = self.config.own.cosine_scale
        trainings = [
            self._training(f"{name}-{seed}-{factor:g}", policy.space, seed, factor, scale=scale, **options)
            for factor in self.search.lr_factors
        ]
        return Tried(
            title,
            tuple(
                (one, self._start(self.stacks.searching(title, one, policy), policy.samples, "proxy"))
                for one in trainings
            ),
        )

    def _training(
        self, name: str, space: ParametricSpace, seed: int, factor: float | tuple[float, ...], **options: Any
    ) -> StackTraining:
        session = self.session
        return StackTraining(
            name,
            space.to_dict(),
            seed,
            factor,
            epochs=self.epochs,
            metric=session.metric.name,
            task=session.digest,
            **options,
        )

    def _policy(self, seed: int) -> Reinforce:
        search, uniform = self.search, self._random
        return Reinforce(
            self.space,
            samples=1 if uniform else search.samples,
            sigma=search.sigma,
            lr=search.lr,
            seed=seed,
            update=search.update and not uniform,
            draw="uniform" if uniform else "gaussian",
        )

    def _start(self, process: Process[Score], models: int, stage: str) -> Pending[Score]:
        """Set a process going, after those that were started before it."""
        self.status.total += models
        return self.bench.start(process, stage, rank=self.status.total)

    # -- results --------------------------------------------------------------------------------------

    def _tested(self, chosen: Mapping[str, list[tuple[StackTraining, Score]]]) -> dict[str, list[Score]]:
        self.status.phase = "audit"
        with self.clock.stage("audit"):
            pending = {
                title: [
                    self.bench.start(self.stacks.testing(*one), "audit", rank=one[0].seed) for one in rows
                ]
                for title, rows in chosen.items()
            }
            return {title: [self.bench.finish(one) for one in row] for title, row in pending.items()}

    def _compared(
        self, chosen: Mapping[str, list[tuple[StackTraining, Score]]], tests: Mapping[str, list[Score]]
    ) -> tuple[AuditResult, dict[str, Any]]:
        """The audit, and what the summary holds beside it. Rivals, too, are chosen on validation, never on test."""
        session, metric, confidence = self.session, self.session.metric, self.config.audit.confidence
        contestants: dict[str, Contestant] = {}
        best: dict[str, int] = {}
        for title, rows in chosen.items():
            worths = [score.extra["worth"] for _, score in rows]
            best[title] = max(range(len(rows)), key=worths.__getitem__)
            training, score = rows[best[title]]
            settings = dict(training.space)
            space = self.space if title == self.title else make_space(settings.pop("name"), **settings)
            losses = {session.slots[0]: ParametricLoss(space, score.extra["found"]).text}
            contestants[title] = Contestant(
                title,
                LossSet.of(losses, settings=score.settings),
                title == self.title,
                metric.figure(sum(worths) / len(worths)),
                tuple(metric.figure(metric.worth(test.metrics)) for test in tests[title]),
            )
        own = contestants[self.title]

        def gain(over: str) -> Any:
            pairs = [[metric.figure(value) for value in one.test] for one in (own, contestants[over])]
            return paired_difference(*pairs, confidence=confidence)

        rivals = [one for one in contestants.values() if not one.discovered]
        rival = max(rivals, key=lambda one: metric.figure(one.val), default=None)
        over = list(
            dict.fromkeys([*([rival.name] if rival else []), *(["softmax"] if "softmax" in chosen else [])])
        )
        gains = {name: gain(name) for name in over}
        audit = AuditResult(
            metric,
            (own, *rivals),
            own,
            rival,
            gains[rival.name] if rival else None,
            noise_floor(tuple(contestants.values())),
            len(self.seeds),
            confidence,
        )
        ends = [list(score.extra["found"]) for _, score in chosen[self.title]]
        return audit, {
            "space": self.space.name,
            "mu": {
                "seed": self.seeds[best[self.title]],
                "parameters": list(self.space.parameters),
                "start": list(self.space.start),
                "end": ends[best[self.title]],
                "ends": ends,
            },
            "gains": [{"over": name, **found.to_dict()} for name, found in gains.items()],
            "by_seed": {
                title: [
                    {
                        "seed": val.seed,
                        "training": val.extra["training"],
                        "lr": val.settings["lr"],
                        "found": val.extra["found"],
                        "val": dict(val.metrics),
                        "test": dict(test.metrics),
                    }
                    for (_, val), test in zip(rows, tests[title], strict=True)
                ]
                for title, rows in chosen.items()
            },
        }

    def _report(self, audit: AuditResult | None, extra: Mapping[str, Any], workers: int) -> dict[str, Any]:
        """summary.json, best/ and plots/."""
        store, status = self.store, self.status
        status.phase, notes = "report", self.session.task.notes
        self.bench.show()
        if len(self.seeds) > 1:
            notes = (
                *notes,
                "learning rates are tuned with each seed; told are those of the best on validation",
            )
        with self.clock.stage("report"):
            summary = write_report(
                store,
                status,
                self.clock,
                SearchState(self.epochs),
                (),
                audit,
                notes,
                self.session,
                workers,
                extra,
            )
            if audit is None:
                return summary
            mu = summary["mu"]
            (name,) = (one["training"] for one in extra["by_seed"][self.title] if one["seed"] == mu["seed"])
            weights = states_folder(store) / f"{name}.best.pt"
            if weights.is_file():
                shutil.copyfile(weights, store.directory / "best" / "model.pt")
            path = sorted(
                (score.epochs, score.extra["found"])
                for score in store.scores("epoch")
                if score.extra["training"] == name
            )
            plots = store.directory / "plots"
            plots.mkdir(exist_ok=True)
            plot_mu(self.space, [mu["start"], *(found for _, found in path)], plots / "mu.png")
            plot_gradient(self.space, mu["start"], mu["end"], plots / "gradient.png")
        return summary
