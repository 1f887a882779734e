"""A REINFORCE run from its first to its last second: baselines, search, control, report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.reinforce.baselines import BASELINES
from cse_autoloss.reinforce.progress import Observer, ReinforceStatus, Reporter, Silent
from cse_autoloss.reinforce.report import write_report
from cse_autoloss.reinforce.tasks import make_task, reward_of
from cse_autoloss.reinforce.trainings import EpochDone, best_on_test, search_epochs, tuned_baseline
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce
from cse_autoloss.settings.load import SearchConfig, dump, load_config, parse_config
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.stacked import StackedTask

CONTROL = "softmax, best of B"
"""Softmax trained as the search trains: B copies with orders of their own, the best copied each epoch."""


def reinforce(
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    space: ParametricSpace | None = None,
    observer: Observer | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Search a parametric loss space and write everything into a run directory.

    Args:
        config: YAML file, or the name of one that comes with the package; by default the one named as the task,
            and that is classification unless an override says otherwise.
        out: run directory; by default a new one below `runs/`.
        resume: an earlier run's directory to go on with, as it was configured.
        overrides: dotted key -> value, as of `load_config`.
        space: one of your own, searched in place of the configured one; to resume its run, give it again.
        observer: is shown the run's status after each epoch.

    Returns:
        The directory, and what its summary.json holds.

    Raises:
        AutoLossError: a user's mistake, in one line.
    """
    if resume is not None:
        if config is not None or out is not None or overrides:
            raise ConfigError(
                "--resume goes on with a run as it was configured: leave the other options away"
            )
        directory = Path(resume)
        with RunStore.open(directory) as store:
            if "space" in store.config:
                raise RunError(
                    f"{directory}: begun by an earlier version, whose settings read otherwise; begin it anew"
                )
            if store.config.get("search") != "reinforce":
                raise RunError(
                    f"{directory}: a run of `evolve`; go on with it by evolve --resume {directory}"
                )
            _check_space(store, space)
            store.add_event("resumed")
            settled = parse_config(store.config)
            return directory, _Run(settled, store, observer or Silent(), space).complete()
    chosen = {**(overrides or {}), "search": "reinforce"}
    if config is None:
        chosen.setdefault("task", "classification")
    settled = load_config(config, chosen)
    directory = (
        Path(out)
        if out is not None
        else _new_directory(settled.reinforce.space if space is None else space.name)
    )
    if (directory / "run.sqlite").exists():
        raise RunError(f"{directory} holds a run already; go on with it by --resume {directory}")
    # Before there is a directory: what is wrong with the data should not leave half a run behind.
    task = make_task(settled, settled.seed, _device(settled.device))
    reward_of(task, settled.metric)
    with RunStore.create(directory, settled.model_dump(mode="json")) as store:
        (directory / "config.yaml").write_text(dump(settled), encoding="utf-8")
        if space is not None:
            store.set_meta("own space", space.to_dict())
        return directory, _Run(settled, store, observer or Silent(), space, task).complete()


class _Run:
    """The parts of a run share its store and configuration; what the store holds already is not done
    again."""

    def __init__(
        self,
        config: SearchConfig,
        store: RunStore,
        observer: Observer,
        own: ParametricSpace | None = None,
        first: StackedTask | None = None,
    ) -> None:
        """`own` is a space of the user's, `first` the task of the first seed where it is there already."""
        self.config, self.store, self.own = config, store, own
        self.training, self.search = config.own_as(TrainingSettings), config.reinforce
        self.scale, self.head = self.training.scale, self.training.cosine_scale
        self.device = _device(config.device)
        self.first = first
        self.is_random = own is None and self.search.space == "random-softmax"
        space = self._space()
        status = ReinforceStatus(
            space.name, config.task, config.metric or "", space.parameters, space.start, self.search.seeds
        )
        self.reporter = Reporter(status, observer, self._model_epochs())

    def complete(self) -> dict[str, Any]:
        self.store.status = "running"
        results: dict[str, list[dict[str, Any]]] = {}
        for number, seed in enumerate(range(self.config.seed, self.config.seed + self.search.seeds)):
            self.reporter.status.seed = number
            task: StackedTask | None = None

            def lazy(seed: int = seed) -> StackedTask:
                nonlocal task
                if task is None:
                    task, self.first = self.first, None
                    if task is None:
                        task = make_task(self.config, seed, self.device)
                    self.reporter.status.metric = reward_of(task, self.config.metric).name
                return task

            self._seed(seed, lazy, results)
        self.store.status = "finished"
        self.reporter.told("writing the report")
        return write_report(self.store, self.config, self._space(), results)

    def _seed(
        self, seed: int, task: Callable[[], StackedTask], results: dict[str, list[dict[str, Any]]]
    ) -> None:
        search = self.search
        for name in search.baselines:
            results.setdefault(name, []).append(self._baseline(name, task, seed))
        policy = Reinforce(
            self._space(),
            samples=1 if self.is_random else search.samples,
            sigma=search.sigma,
            lr=search.lr,
            seed=seed,
            update=search.update and not self.is_random,
            draw="uniform" if self.is_random else "gaussian",
        )
        copies = search.copy_best and not self.is_random
        found = self._tuned("searched", "search", policy, task, seed, copies)
        results.setdefault("searched", []).append(found)
        if search.selection_control and not self.is_random:
            still = Reinforce(
                make_space("am-lfs", intervals=1, scale=self.scale),
                samples=search.samples,
                sigma=1e-9,
                seed=seed,
                update=False,
            )
            found = self._tuned("control", "control", still, task, seed, True, own_orders=True)
            results.setdefault(CONTROL, []).append(found)

    def _baseline(self, name: str, task: Callable[[], StackedTask], seed: int) -> dict[str, Any]:
        baseline, factors = BASELINES[name], self.search.lr_factors
        epochs, models = self.training.epochs, len(baseline.grid) * len(factors)
        key = f"{name}:{seed}"

        def told(epoch: int, rewards: Sequence[float], mu: Sequence[float]) -> None:
            self.reporter.epoch(epoch, models, rewards, None, f"{key}: epoch {epoch}/{epochs}")

        def work() -> dict[str, Any]:
            self.reporter.begin(name, epochs)
            head = self.scale if baseline.cosine else self.head
            return tuned_baseline(
                baseline,
                one := task(),
                metric=reward_of(one, self.config.metric),
                scale=self.scale,
                head=head,
                lr_factors=factors,
                told=told,
            )

        result = self._once(key, "baselines", models * epochs, work)
        self.reporter.result(name, result["val"], f"{key}: {_outcome(result)}")
        return result

    def _tuned(
        self,
        name: str,
        stage: str,
        policy: Reinforce,
        task: Callable[[], StackedTask],
        seed: int,
        copy_best: bool,
        own_orders: bool = False,
    ) -> dict[str, Any]:
        """A whole search at each learning rate; the one that ends best on validation, and its test."""
        tried = []
        epochs, factors = self.training.epochs, self.search.lr_factors
        title = CONTROL if name == "control" else f"{policy.space.name} (searched)"
        for number, factor in enumerate(factors, 1):
            key = f"{name}:{seed}:{factor:g}"

            def told(epoch: int, rewards: Sequence[float], mu: Sequence[float], key: str = key) -> None:
                if name == "searched":
                    self.reporter.status.mu = tuple(mu)
                best = max(value for value in rewards if math.isfinite(value))
                words = f"{key}: epoch {epoch}/{epochs}, best {self.reporter.status.metric} {best:.4f}"
                self.reporter.epoch(epoch, policy.samples, rewards, best, words)

            def work(
                key: str = key, factor: float = factor, number: int = number, told: EpochDone = told
            ) -> dict[str, Any]:
                self.reporter.begin(
                    title, epochs, rate=number, rates=len(factors), searches=name == "searched"
                )
                kept = self.store.load_state(key)
                self.reporter.skip(policy.samples * (kept[0] if kept else 0))
                try:
                    return search_epochs(
                        policy,
                        one := task(),
                        self.store,
                        key,
                        metric=reward_of(one, self.config.metric),
                        scale=self.head,
                        lr_factor=factor,
                        copy_best=copy_best,
                        own_orders=own_orders,
                        told=told,
                    )
                except DivergedError as error:  # this learning rate is too high; another may do
                    self.reporter.skip(policy.samples * (epochs - self.reporter.status.epoch))
                    return {"key": key, "val": None, "why": str(error), "lr_factor": factor}

            result = self._once(key, stage, policy.samples * epochs, work)
            self.reporter.told(f"{key}: {_outcome(result)}")
            tried.append(result)
        sound = [result for result in tried if result["val"] is not None]
        if not sound:
            raise DivergedError(f"{name}: {tried[0]['why']}")
        best = max(sound, key=lambda result: float(result["val"]))
        place = f"test:{best['key']}"
        test = self.store.meta(place)
        if test is None:
            with self._timed(stage):
                test = best_on_test(task(), self.store, best["key"], self.head)
            self.store.set_meta(place, test)
        self.reporter.result(title, best["val"], f"{best['key']}: {_outcome(best)}, chosen")
        return {**best, "test": test}

    def _once(
        self, key: str, stage: str, model_epochs: int, work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What the store keeps of a training, or the training itself."""
        kept: dict[str, Any] | None = self.store.meta(f"result:{key}")
        if kept is None:
            with self._timed(stage):
                kept = work()
            self.store.set_meta(f"result:{key}", kept)
        else:
            self.reporter.skip(model_epochs)
        return kept

    def _model_epochs(self) -> int:
        """Epochs of one model in all trainings of the run: what its time is judged by."""
        search = self.search
        models = sum(len(BASELINES[name].grid) for name in search.baselines)
        models += 1 if self.is_random else search.samples * (2 if search.selection_control else 1)
        return models * len(search.lr_factors) * self.training.epochs * search.seeds

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.store.add_seconds(stage, time.monotonic() - start)

    def _space(self) -> ParametricSpace:
        if self.own is not None:
            return self.own
        search, scale = self.search, self.scale
        if search.space == "am-lfs":
            return make_space(
                "am-lfs",
                intervals=search.intervals,
                scale=scale,
                form=search.form,
                least_slope=search.least_slope,
            )
        return make_space(search.space, scale=scale)


def _check_space(store: RunStore, space: ParametricSpace | None) -> None:
    kept = store.meta("own space")
    given = None if space is None else json.loads(json.dumps(space.to_dict()))
    if kept != given:
        theirs = "a space of the package" if kept is None else f"a space of your own, {json.dumps(kept)}"
        raise RunError(
            f"{store.directory}: this run searches {theirs}; go on with it from Python by "
            f"reinforce(resume=…{'' if kept is None else ', space=…'})"
        )


def _outcome(result: Mapping[str, Any]) -> str:
    return str(result["why"]) if result["val"] is None else f"validation {result['val']:.4f}"


def _device(name: str) -> str:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but torch finds none here")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _new_directory(space: str) -> Path:
    base = Path("runs") / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{space}"
    directory, number = base, 2
    while directory.exists():
        directory, number = base.with_name(f"{base.name}-{number}"), number + 1
    return directory
