"""REINFORCE as its papers run it: B models trained side by side, an epoch a generation, beside baselines tuned alike.

Each search (of a seed, at a learning rate) is a process of the workbench, and so is each baseline: several go on at a
time, on any executor, and what they find does not depend on how many.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cse_autoloss.bench.audit import AuditResult, Contestant, differences
from cse_autoloss.bench.jobs import LossSet
from cse_autoloss.bench.progress import Clock, Observer, RunStatus
from cse_autoloss.bench.schedule import Pending, Process, Workbench
from cse_autoloss.bench.session import Session, states_folder, still_there
from cse_autoloss.bench.statistics import gains as paired
from cse_autoloss.bench.statistics import noise_floor, p_value, paired_difference
from cse_autoloss.discovery.stacks import Stacks, Trial
from cse_autoloss.errors import ConfigError, RunError, WorkersLost
from cse_autoloss.export.parametric_source import parametric_forms
from cse_autoloss.losses.parametric import ParametricSchedule, known_here, make_space
from cse_autoloss.report.space_plots import draw_search
from cse_autoloss.report.write import provenance, write_report
from cse_autoloss.runs import RunStore, Score, write_whole
from cse_autoloss.searches.parametric import space_of, space_slot, theta_of
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.searches.reinforce.candidates import policy_of
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.target_logits import TargetLogits

CONTROL = "softmax, best of B"
"""Softmax trained as the search trains: B copies with orders of their own, the best copied each epoch."""

TUNED = "learning rates and settings are tuned with each seed; told are those of the best on validation"

Chosen = Mapping[str, Sequence[Trial]]
"""Contestant -> what validation chose, seed by seed."""


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
        self.session, self.config, self.own = session, config, space
        self.space = space or space_of(config)
        session.slots = tuple(space_slot(config, session.task.slots, self.space))
        self.title = f"{self.space.name} (searched)"
        self.exported, self.schedule = f"{self.space.name}, exported", f"{self.space.name}, schedule"
        self.seeds = range(config.seed, config.seed + config.reinforce.seeds)
        self.start = self._policy(config.seed).start  # says what is wrong with the settings, too

    def complete(self, store: RunStore, observer: Observer) -> dict[str, Any]:
        """Run to the end, from wherever the store stands; the summary."""
        self._check_space(store)
        self.status, clock = (
            RunStatus(metric=self.session.metric, slot=self.session.slots[0]),
            Clock.of(store, None),
        )
        self.data_notes = self.session.check(store, self.status, observer)
        with known_here(self.own), self.session.executor(states_folder(store)) as executor:
            self.bench = Workbench(executor, store, clock, self.status, observer)
            self.stacks, self._started = Stacks(self.session, self.bench, self.space), 0
            found: tuple[AuditResult | None, dict[str, Any]] = None, {}
            store.status, lost = "running", None
            try:
                chosen = self._alone(self._chosen())
                found = self._compared(chosen, self._tested(chosen))
                store.status = "finished"
            except (KeyboardInterrupt, WorkersLost) as end:
                self.bench.cancel()
                store.status, lost = "interrupted", end if isinstance(end, WorkersLost) else None
            finally:
                self.bench.keep_clock()
            summary = self._report(*found, executor.workers)
        if lost is not None:
            raise still_there(lost, store)
        return summary

    def _check_space(self, store: RunStore) -> None:
        given, key = self.own and json.loads(json.dumps(self.own.to_dict())), "own space"
        kept = store.meta(key, given)
        store.set_meta(key, kept)
        if kept != given:
            theirs = f"a space of your own, {json.dumps(kept)}" if kept else "a space of the package"
            how = f"reinforce_loss(resume=…{', space=…' if kept else ''})"
            raise RunError(
                f"{store.directory}: this run searches {theirs}; go on with it from Python by {how}"
            )

    # -- trainings ------------------------------------------------------------------------------------

    def _chosen(self) -> Chosen:
        """Baselines and searches at their best rates. All are trained at the same time, which is the search's."""
        search, samples = self.config.reinforce, self.config.reinforce.samples
        groups: dict[str, list[tuple[str, list[Pending[Trial]]]]] = {"tune": [], "search": []}
        for seed in self.seeds:
            for name in search.baselines:
                groups["tune"].append((name, [self._start(self.stacks.baseline(name, seed), "proxy")]))
        for seed in self.seeds:
            policy = self._policy(seed)
            copies = search.copy_best and policy.draw == "gaussian"
            groups["search"].append(
                (self.title, self._at_each_rate("searched", policy, seed, copy_best=copies))
            )
        for seed in self.seeds if search.selection_control and policy.draw == "gaussian" else ():
            softmax = make_space("am-lfs", intervals=1, scale=self.config.own.scale)
            still = Reinforce(softmax, samples=samples, sigma=1e-9, seed=seed, update=False)
            groups["search"].append((CONTROL, self._at_each_rate("control", still, seed, own_orders=True)))
        chosen: dict[str, list[Trial]] = {}
        for phase, group in groups.items():
            self.status.phase = phase
            with self.bench.clock.stage("proxy"):
                for title, pending in group:
                    chosen.setdefault(title, []).append(self._best(title, map(self.bench.finish, pending)))
        return chosen

    def _alone(self, chosen: Chosen) -> Chosen:
        """What the searches leave behind, trained from nothing with each seed: points of μ's ways, and one whole way.

        The last μ need not train: it was drawn towards what helps a model that has learnt. So each quarter of each
        search's way is tried, and validation chooses the loss that is exported; the schedule is its search's whole way.
        """
        if not self.config.reinforce.alone:
            return chosen
        epochs = int(self.config.own.epochs)
        ways = [[self.start, *self._path(training.name)] for training, _ in chosen[self.title]]
        marks = sorted({-(-epochs * quarter // 4) for quarter in range(1, 5)})
        points = {way[mark]: number for number, way in enumerate(ways) for mark in marks}
        if len(points) > 1:
            points.pop(self.start, None)  # where all began is no find
        self.tried = len(points)
        with self.bench.clock.stage("tune"):
            started = [
                [
                    self._start(self.stacks.replay(f"alone-{n}", [point] * epochs, s), "tune")
                    for s in self.seeds
                ]
                for n, point in enumerate(points)
            ]
            alone = [[self.bench.finish(one) for one in row] for row in started]
            best = max(range(len(alone)), key=lambda n: sum(self._worth(t) for t in alone[n]))
            self.number = list(points.values())[best]
            found = {**chosen, self.exported: alone[best]}
            way = ways[self.number][:epochs]
            if len(set(way)) > 1:
                name = f"schedule-{self.number}"
                row = [self._start(self.stacks.replay(name, way, s), "tune") for s in self.seeds]
                found[self.schedule] = [self.bench.finish(one) for one in row]
        return found

    def _worth(self, trial: Trial) -> float:
        return self.session.metric.worth(trial[1].metrics)

    @staticmethod
    def _end(trial: Trial) -> tuple[float, ...]:
        """θ of the last epoch: of a search, μ after it."""
        (text,) = trial[1].losses.values()
        return theta_of(text)

    def _path(self, training: str) -> list[tuple[float, ...]]:
        """μ after each epoch of a search."""
        return [theta_of(text) for score in self._epochs_of(training) for text in score.losses.values()]

    def _logits(self, training: str) -> dict[int, TargetLogits]:
        """Where the best model of each epoch of a search has its logits; runs of earlier versions do not tell."""
        with self.bench.store.understood("where a model has its logits"):
            return {
                int(score.epochs): TargetLogits.from_dict(score.extra["logits"])
                for score in self._epochs_of(training)
                if score.extra.get("logits")
            }

    def _epochs_of(self, training: str) -> list[Score]:
        epochs = [score for score in self.bench.store.scores("epoch") if score.extra["training"] == training]
        return sorted(epochs, key=lambda score: score.epochs)

    def _policy(self, seed: int) -> Reinforce:
        return policy_of(self.config, self.space, seed, side_by_side=True)

    def _at_each_rate(self, name: str, policy: Reinforce, seed: int, **options: bool) -> list[Pending[Trial]]:
        factors = self.config.reinforce.lr_factors
        return [
            self._start(self.stacks.search(name, policy, seed, one, **options), "proxy") for one in factors
        ]

    def _start(self, process: Process[Any], stage: str) -> Pending[Any]:
        """Set a process going, after those that were started before it."""
        self._started += 1
        return self.bench.start(process, stage, rank=self._started)

    def _best(self, title: str, trials: Iterable[Trial]) -> Trial:
        """The one that is best on validation; DivergedError where all models of all diverged."""
        ended = list(trials)
        sound = [trial for trial in ended if trial[1].metrics]
        if not sound:
            raise DivergedError(f"{title}: {ended[0][1].detail}")
        return max(sound, key=lambda trial: self.session.metric.worth(trial[1].metrics))

    def _tested(self, chosen: Chosen) -> dict[str, list[Score]]:
        """Seed by seed, the one look at test of each contestant."""
        self.status.phase = "audit"
        with self.bench.clock.stage("audit"):
            pending = {
                title: [self._start(self.stacks.test(*trial), "audit") for trial in trials]
                for title, trials in chosen.items()
            }
            return {title: [self.bench.finish(one) for one in row] for title, row in pending.items()}

    # -- results --------------------------------------------------------------------------------------

    def _compared(
        self, chosen: Chosen, tests: Mapping[str, Sequence[Score]]
    ) -> tuple[AuditResult, dict[str, Any]]:
        """The audit, and what the summary holds beside it. Rivals, too, are chosen on validation, never on test."""
        metric, confidence = self.session.metric, self.config.audit.confidence
        worths = {title: [metric.worth(val.metrics) for _, val in trials] for title, trials in chosen.items()}
        best = {title: max(range(len(own)), key=own.__getitem__) for title, own in worths.items()}
        leading = self.exported if self.exported in chosen else self.title
        found = {self.title, self.exported, self.schedule}
        if leading == self.exported:
            best[self.title] = self.number

        def contestant(title: str) -> Contestant:
            _, val = chosen[title][best[title]]
            losses, mean = (
                LossSet.of(val.losses, settings=val.settings),
                sum(worths[title]) / len(worths[title]),
            )
            figures = tuple(metric.figure(metric.worth(test.metrics)) for test in tests[title])
            # A search is a stack for each learning rate; of the exported, each point was a contestant.
            stacks = len(self.config.reinforce.lr_factors) if val.purpose == "epoch" else 1
            models = len(val.extra["rewards"]) * (self.tried if title == self.exported else stacks)
            return Contestant(title, losses, title in found, metric.figure(mean), figures, trainings=models)

        own, *others = map(contestant, sorted(chosen, key=lambda title: title != leading))
        known = [one for one in others if not one.discovered]
        rival = max(known, key=lambda one: metric.figure(one.val), default=None)
        gains = {}
        for mine in (own, *(one for one in others if one.discovered)):
            for one in [*([rival] if rival else []), *(one for one in known if one.name == "softmax")]:
                pairs = [[metric.figure(value) for value in each.test] for each in (mine, one)]
                gains[mine.name, one.name] = paired_difference(*pairs, confidence=confidence)
        gain = gains[own.name, rival.name] if rival else None
        noise = noise_floor([one.test for one in (own, *others)])
        apart = differences(
            own,
            (own, *others),
            lambda one, other: paired_difference(one, other, confidence=confidence),
            lambda one, other: p_value(paired(one, other)),
            confidence,
        )
        audit = AuditResult(
            metric,
            (own, *others),
            own,
            rival,
            gain,
            noise,
            len(self.seeds),
            confidence,
            differences=apart,
        )
        ends = [list(self._end(trial)) for trial in chosen[self.title]]
        return audit, {
            "space": self.space.name,
            "mu": {
                "seed": self.seeds[best[self.title]],
                "parameters": list(self.space.parameters),
                "start": list(self.start),
                "end": ends[best[self.title]],
                "exported": list(self._end(chosen[leading][best[leading]])),
                "ends": ends,
            },
            "gains": [{"of": mine, "over": name, **one.to_dict()} for (mine, name), one in gains.items()],
            "by_seed": {
                title: [
                    {
                        "seed": val.seed,
                        "training": training.name,
                        "losses": val.losses,
                        "settings": val.settings,
                        "val": val.metrics,
                        "test": test.metrics,
                    }
                    for (training, val), test in zip(trials, tests[title], strict=True)
                ]
                for title, trials in chosen.items()
            },
        }

    def _report(self, audit: AuditResult | None, extra: Mapping[str, Any], workers: int) -> dict[str, Any]:
        """summary.json, best/ and plots/."""
        bench, state = self.bench, SearchState(int(self.config.own.epochs))
        self.status.phase = "report"
        bench.show()
        notes = (*self.data_notes, *((TUNED,) if len(self.seeds) > 1 else ()))
        summary = write_report(
            bench.store, self.status, bench.clock, state, (), audit, notes, self.session, workers, extra
        )
        if audit is not None:
            mu, directory = summary["mu"], bench.store.directory
            (name,) = (one["training"] for one in extra["by_seed"][self.title] if one["seed"] == mu["seed"])
            weights = states_folder(bench.store) / f"{name}.best.pt"
            if weights.is_file():
                shutil.copyfile(weights, directory / "best" / "model.pt")
            path = self._path(name)
            if self.schedule in extra["by_seed"]:
                way = [mu["start"], *path[:-1]]
                facts = provenance(self.session, bench.store, summary)
                # Figures and verdict are the exported loss's.
                told = {
                    name: facts[name] for name in ("cse_autoloss", "run", "task", "seed", "data", "metric")
                }
                forms = parametric_forms(ParametricSchedule(self.space, way), told)
                for suffix, text in forms.items():
                    write_whole(directory / "best" / f"schedule{suffix}", text)
            draw_search(directory, self.space, [mu["start"], *path], mu["exported"], self._logits(name))
        return summary
