"""Searched losses against tuned baselines, on one task, over several seeds; a table with intervals.

    python benchmarks/reinforce_compare.py digits --out FILE.jsonl --noise 0 0.2 0.4 --seeds 5
    python benchmarks/reinforce_compare.py cifar10 --data cifar10:DIR --out FILE.jsonl --noise 0 0.1 0.2 \\
        --tune-seed 1000
    python benchmarks/reinforce_compare.py faces --out FILE.jsonl        # ORL, verification
    python benchmarks/reinforce_compare.py reid --out FILE.jsonl         # ORL in the re-identification protocol

A seed decides split, subset, label noise, weights and order of batches. All contestants are tuned on validation over
the same learning rates, the baselines over values of their own setting besides: for each seed anew, or, with
--tune-seed, once for each noise on a seed of its own that no table counts. Test is read once for each line of the
table and seed, by the setting that won on validation.

"softmax, best of B" trains as the searches do, with softmax for all B models, each with its own order of batches: what
a search gains over it is the loss's doing, not that of keeping the best of B.

Each result is a line of JSON, written as soon as it is there; what FILE holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from cse_autoloss.bench.stacked import StackTraining, best_on_test, train
from cse_autoloss.bench.statistics import mean_interval, paired_difference
from cse_autoloss.classifiers import ModelStack
from cse_autoloss.executors import Job
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce, best_of
from cse_autoloss.settings.load import SearchConfig, load_config
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.spaces.parametric import ParametricSpace
from cse_autoloss.tasks.registry import TASKS as KINDS

TASKS: dict[str, dict[str, Any]] = {
    "digits": {"own.epochs": 30, "reinforce.samples": 16},
    "cifar10": {
        "own.model": "small",
        "own.epochs": 15,
        "reinforce.samples": 8,
        "own.train_limit": 2000,
        "own.val_share": 0.02,
        "own.shrink": 2,
        "reinforce.lr_factors": [0.3, 1.0, 3.0],
    },
    "faces": {"task": "faces"},
    "reid": {"task": "reid"},
}

RAW = "raw pixels"

# name -> space, its settings, the policy's settings, the training's
SEARCHES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "am-lfs": ("am-lfs", {}, {}, {"copy_best": True}),
    "am-lfs, mu not updated": ("am-lfs", {}, {"update": False}, {"copy_best": True}),
    "search-softmax": ("search-softmax", {}, {}, {"copy_best": True}),
    "random-softmax": (
        "random-softmax",
        {},
        {"samples": 1, "update": False, "draw": "uniform"},
        {"copy_best": False},
    ),
    "softmax, best of B": (
        "am-lfs",
        {"intervals": 1},
        {"update": False, "sigma": 1e-9},
        {"copy_best": True, "own_orders": True},
    ),
}


class Pixels:
    """Stands for a stack of one model whose embedding is the image itself; nothing is learnt."""

    copies = 1
    failed = torch.tensor([False])

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (1, N, D), and no logits."""
        return images.flatten(1).unsqueeze(0), images.new_empty(0)


class Contest:
    """One task, noise and seed."""

    def __init__(self, config: SearchConfig, seed: int, folder: Path) -> None:
        """`folder` is for checkpoints."""
        self.config, self.seed, self.folder = config, seed, folder
        self.scale, self.head = config.own.scale, config.own.cosine_scale
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.task: Any = KINDS.get(config.task)(config.own.model_copy(update={"seed": seed}), device)
        name = config.metric or self.task.metrics[0].name
        (self.metric,) = (metric for metric in self.task.metrics if metric.name == name)

    def run(self, name: str, tuned: dict[str, Any] | None, test: bool) -> dict[str, Any]:
        """A contestant's result.

        Args:
            name: of the contestant.
            tuned: an earlier result whose setting and learning rate are taken; None tunes them here.
            test: read the test split.
        """
        start = time.process_time()
        if name == RAW:
            scores = self.task.scores(cast(ModelStack, Pixels()), "test")[0] if test else None
            return {"val": None, "test": scores, "seconds": 0.0}
        factors = self.config.reinforce.lr_factors if tuned is None else (tuned["lr_factor"],)
        work = self._search if name in SEARCHES else self._baseline
        best, result = work(name, factors, tuned)
        result["test"] = self._done(best.test())["scores"][0] if test else None
        return {**result, "seconds": round(time.process_time() - start, 1)}

    def _training(
        self, name: str, space: ParametricSpace, factor: Any, scale: Any, **options: Any
    ) -> StackTraining:
        epochs, metric = self.config.own.epochs, self.metric.name
        return StackTraining(name, space.to_dict(), self.seed, factor, scale, epochs, metric, **options)

    def _done(self, job: Job) -> dict[str, Any]:
        payload = json.loads(json.dumps(job.payload))
        return (train if payload["kind"] == "stack" else best_on_test)(self.task, self.folder, payload)

    def _rewards(self, job: Job) -> list[float]:
        return [self.metric.worth(own) for own in self._done(job)["scores"]]

    def _baseline(
        self, name: str, factors: tuple[float, ...], tuned: dict[str, Any] | None
    ) -> tuple[StackTraining, dict[str, Any]]:
        baseline = BASELINES[name.partition(",")[0]]
        settings = baseline.grid if tuned is None or not baseline.setting else (tuned["setting"],)
        grid = [(value, factor) for value in settings for factor in factors]
        theta = [[value] for value, _ in grid]
        head = self.scale if baseline.cosine else self.head
        rates = tuple(factor for _, factor in grid)
        training = self._training("baseline", baseline.space(self.scale), rates, head, copy_best=False)
        if "best epoch" in name:
            best = [max(self._rewards(training.job(theta, e, e + 1))) for e in range(training.epochs)]
            training = replace(training, epochs=best.index(max(best)) + 1)
        rewards = self._rewards(training.job(theta, 0, training.epochs))
        value, factor = grid[best_of(rewards)]
        setting = value if baseline.setting else None
        return training, {"setting": setting, "lr_factor": factor, "val": max(rewards)}

    def _search(
        self, name: str, factors: tuple[float, ...], tuned: dict[str, Any] | None
    ) -> tuple[StackTraining, dict[str, Any]]:
        space_name, settings, policy, options = SEARCHES[name]
        if space_name == "am-lfs":
            settings = {"intervals": self.config.reinforce.intervals, **settings}
        chosen = self.config.reinforce
        policy = {"samples": chosen.samples, "sigma": chosen.sigma, "lr": chosen.lr, **policy}
        search = Reinforce(make_space(space_name, scale=self.scale, **settings), seed=self.seed, **policy)
        tried = []
        for factor in factors:
            training = self._training(f"search-{factor:g}", search.space, factor, self.head, **options)
            state, rewards = search.init(), [0.0]
            try:
                while state.epoch < training.epochs:
                    drawn = search.ask(state).tolist()
                    rewards = self._rewards(training.job(drawn, state.epoch, state.epoch + 1))
                    state = search.tell(state, rewards)
            except DivergedError:
                continue
            tried.append(
                (training, {"lr_factor": factor, "mu": list(state.mu), "val": rewards[best_of(rewards)]})
            )
        return max(tried, key=lambda item: float(item[1]["val"]))


def main() -> None:
    """Runs what is missing and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, required=True, help="file of results, JSON lines")
    parser.add_argument("--data", help="as of `cse-autoloss reinforce --data`")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0], help="shares of wrong train labels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--tune-seed", type=int, help="tune once on this seed; it must not be one of the seeds"
    )
    parser.add_argument("--only", nargs="+", help="these contestants alone")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=JSON", help="other settings")
    parser.add_argument("--table", action="store_true", help="print what FILE holds, run nothing")
    options = parser.parse_args()
    if options.tune_seed is not None and options.tune_seed < options.seeds:
        parser.error(f"--tune-seed {options.tune_seed} is one of the seeds 0 to {options.seeds - 1}")
    overrides = dict(TASKS[options.task])
    if options.data:
        overrides["own.data"] = options.data
    overrides.update(
        (key, json.loads(value)) for key, _, value in (text.partition("=") for text in options.set)
    )
    open_set = options.task in ("faces", "reid")
    extra, searches = (["softmax, best epoch"], list(SEARCHES))
    if open_set:
        extra, searches = [RAW], [name for name in SEARCHES if name != "am-lfs, mu not updated"]
    names = options.only or [*extra, *BASELINES, *searches]
    found = _read(options.out)
    for noise in options.noise:
        config = load_config(
            None, {"task": "classification", **overrides, **({"own.label_noise": noise} if noise else {})}
        )
        if not options.table:
            _fill(found, options.out, config, noise, names, options.seeds, options.tune_seed)
        _table(found, config, noise, names, options.seeds)


def _fill(
    found: dict[tuple[Any, ...], dict[str, Any]],
    path: Path,
    config: SearchConfig,
    noise: float,
    names: list[str],
    seeds: int,
    tune_seed: int | None,
) -> None:
    for seed in ([] if tune_seed is None else [tune_seed]) + list(range(seeds)):
        with tempfile.TemporaryDirectory() as folder:
            contest = Contest(config, seed, Path(folder))
            for name in [name for name in names if (noise, seed, name) not in found]:
                key, counted = (noise, seed, name), seed != tune_seed
                tuned = None if tune_seed is None or not counted else found[(noise, tune_seed, name)]
                found[key] = {"noise": noise, "seed": seed, "name": name, **contest.run(name, tuned, counted)}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[key]) + "\n")


def _read(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return {(row["noise"], row["seed"], row["name"]): row for row in rows}


def _table(
    found: dict[tuple[Any, ...], dict[str, Any]],
    config: SearchConfig,
    noise: float,
    names: list[str],
    seeds: int,
) -> None:
    rows = {
        name: [found[key] for seed in range(seeds) if (key := (noise, seed, name)) in found] for name in names
    }
    rows = {name: own for name, own in rows.items() if len(own) == seeds}
    if "softmax" not in rows:
        return
    used = sum(row["seconds"] for key, row in found.items() if key[0] == noise)
    print(f"\nlabel noise {noise:.0%}, {seeds} seeds, test in %, {used / 60:.1f} minutes of processor time\n")
    metrics = [name for name in rows["softmax"][0]["test"] if name not in ("rank5", "rank10")]
    if metrics == ["accuracy"]:
        metrics = ["error"]
    first = metrics[0] if config.metric is None else config.metric
    print(f"| loss | {' | '.join(metrics)} | gain in {first} over softmax |")
    print("|---|" + "---|" * (len(metrics) + 1))

    def values(name: str, metric: str) -> list[float]:
        if metric == "error":
            return [100 - 100 * row["test"]["accuracy"] for row in rows[name]]
        return [100 * row["test"][metric] for row in rows[name]]

    sign = -1 if first in ("error", "eer") else 1
    for name in rows:
        cells = []
        for metric in metrics:
            span = mean_interval(values(name, metric))
            cells.append(f"{span.mean:.1f} [{span.low:.1f}, {span.high:.1f}]")
        gain = paired_difference(values(name, first), values("softmax", first))
        low, high = sorted((sign * gain.low, sign * gain.high))
        # Adding 0.0 takes the sign off a zero.
        spans = [f"{round(value, 1) + 0.0:+.1f}" for value in (sign * gain.mean, low, high)]
        cells.append("" if name == "softmax" else f"{spans[0]} [{spans[1]}, {spans[2]}]")
        print(f"| {name} | {' | '.join(cells)} |")
    moved, drawn = (name for name in SEARCHES if name.startswith("am-lfs"))
    if {moved, drawn} <= set(rows):
        own, other = ([sign * value for value in values(name, first)] for name in (moved, drawn))
        told = paired_difference(own, other)
        print(f"\nMoving mu less drawing alone: {told.mean:+.2f} [{told.low:+.2f}, {told.high:+.2f}]")


if __name__ == "__main__":
    main()
