"""A REINFORCE run from its first to its last second: baselines, search, control, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cse_autoloss.errors import ConfigError, RunError
from cse_autoloss.reinforce.baselines import BASELINES
from cse_autoloss.reinforce.loss import make_space
from cse_autoloss.reinforce.policy import DivergedError
from cse_autoloss.reinforce.report import write_report
from cse_autoloss.reinforce.search import Reinforce
from cse_autoloss.reinforce.settings import (
    ReinforceConfig,
    dump_reinforce_config,
    load_reinforce_config,
    parse_reinforce_config,
)
from cse_autoloss.reinforce.tasks import make_task
from cse_autoloss.reinforce.trainings import Report, best_on_test, search_epochs, tuned_baseline
from cse_autoloss.runs import RunStore
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
    report: Report = lambda line: None,
) -> tuple[Path, dict[str, Any]]:
    """Search a parametric loss space and write everything into a run directory.

    Args:
        config: YAML file, or the name of one that comes with the package; by default "classification".
        out: run directory; by default a new one below `runs/`.
        resume: an earlier run's directory to go on with, as it was configured.
        overrides: dotted key -> value, as of `load_reinforce_config`.
        report: gets a line now and then.

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
        store = RunStore.open(directory)
        store.add_event("resumed")
        with store:
            return directory, _Run(parse_reinforce_config(store.config), store, report).complete()
    settled = load_reinforce_config(config, overrides)
    directory = Path(out) if out is not None else _new_directory(settled.space)
    if (directory / "run.sqlite").exists():
        raise RunError(f"{directory} holds a run already; go on with it by --resume {directory}")
    with RunStore.create(directory, settled.model_dump(mode="json")) as store:
        (directory / "config.yaml").write_text(dump_reinforce_config(settled), encoding="utf-8")
        return directory, _Run(settled, store, report).complete()


class _Run:
    """The parts of a run share its store and configuration; what the store holds already is not done
    again."""

    def __init__(self, config: ReinforceConfig, store: RunStore, report: Report) -> None:
        self.config, self.store, self.report = config, store, report
        self.scale = config.training.scale
        self.head = self.scale if config.training.head == "cosine" else None
        self.device = _device(config.device)

    def complete(self) -> dict[str, Any]:
        self.store.status = "running"
        results: dict[str, list[dict[str, Any]]] = {}
        for seed in range(self.config.seed, self.config.seed + self.config.seeds):
            task: StackedTask | None = None

            def lazy(seed: int = seed) -> StackedTask:
                nonlocal task
                if task is None:
                    task = make_task(self.config, seed, self.device)
                return task

            self._seed(seed, lazy, results)
        self.store.status = "finished"
        return write_report(self.store, self.config, self._space(), results)

    def _seed(
        self, seed: int, task: Callable[[], StackedTask], results: dict[str, list[dict[str, Any]]]
    ) -> None:
        comparison, search = self.config.comparison, self.config.search
        for name in comparison.baselines:
            baseline = BASELINES[name]
            results.setdefault(name, []).append(
                self._once(
                    f"{name}:{seed}",
                    "baselines",
                    lambda baseline=baseline: tuned_baseline(  # type: ignore[misc]
                        baseline,
                        task(),
                        scale=self.scale,
                        head=self.scale if baseline.cosine else self.head,
                        lr_factors=comparison.lr_factors,
                    ),
                )
            )
        is_random = self.config.space == "random-softmax"
        policy = Reinforce(
            self._space(),
            samples=1 if is_random else search.samples,
            sigma=search.sigma,
            lr=search.lr,
            seed=seed,
            update=search.update and not is_random,
            draw="uniform" if is_random else "gaussian",
        )
        copies = search.copy_best and not is_random
        found = self._tuned("searched", "search", policy, task, seed, copies)
        results.setdefault("searched", []).append(found)
        if comparison.selection_control and not is_random:
            still = Reinforce(
                make_space("am-lfs", intervals=1, scale=self.scale),
                samples=search.samples,
                sigma=1e-9,
                seed=seed,
                update=False,
            )
            found = self._tuned("control", "control", still, task, seed, True, own_orders=True)
            results.setdefault(CONTROL, []).append(found)

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
        for factor in self.config.comparison.lr_factors:
            key = f"{name}:{seed}:{factor:g}"

            def work(key: str = key, factor: float = factor) -> dict[str, Any]:
                try:
                    return search_epochs(
                        policy,
                        task(),
                        self.store,
                        key,
                        scale=self.head,
                        lr_factor=factor,
                        copy_best=copy_best,
                        own_orders=own_orders,
                        report=self.report,
                    )
                except DivergedError as error:  # this learning rate is too high; another may do
                    return {"key": key, "val": None, "why": str(error), "lr_factor": factor}

            tried.append(self._once(key, stage, work))
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
        return {**best, "test": test}

    def _once(self, key: str, stage: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        kept: dict[str, Any] | None = self.store.meta(f"result:{key}")
        if kept is None:
            with self._timed(stage):
                kept = work()
            self.store.set_meta(f"result:{key}", kept)
            self.report(f"{key}: {_outcome(kept)}")
        return kept

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.store.add_seconds(stage, time.monotonic() - start)

    def _space(self) -> ParametricSpace:
        search, scale = self.config.search, self.scale
        if self.config.space == "am-lfs":
            return make_space(
                "am-lfs",
                intervals=search.intervals,
                scale=scale,
                form=search.form,
                least_slope=search.least_slope,
            )
        return make_space(self.config.space, scale=scale)


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
