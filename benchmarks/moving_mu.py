"""Ways to move μ, each tried: how far it comes to a planted optimum, and what it is worth on small real tasks.

    python benchmarks/moving_mu.py --out FILE.jsonl [--seeds 10] [--first 0] [--tasks digits reid] [--only NAME ...]

Planted: AM-LFS's 24 numbers, the optimum at a distance of 2 in a direction that the seed draws, 16 draws an epoch, 30
epochs, a reward of minus the squared distance, and three kinds of noise on it:
- none;
- noise: normal, of deviation 1.2, so that the slope in θ explains about 0.3 of the rewards' variance where the search
  begins, as benchmarks/reward_signal.py measured on digits in the middle of a training;
- breaks: one draw in eight is worth 10 less, whatever it is, as where a loss breaks a model for an epoch.
Told is the share of the way that μ came, 1 − |μ − optimum|/|start − optimum|.

Real: searches of AM-LFS's space at one learning rate each (digits with 40 % wrong labels, 30 epochs, B = 16; faces and
re-identification of ORL, 20 epochs, B = 8), each with the seed's split, weights and batches. Told is the gain over
drawing alone, μ left where it starts, paired by seed, in points: of the mean reward of all models over the last five
epochs, on validation, which is what REINFORCE climbs; and of the best model at the end, on test.

Each result is a line of JSON, written as soon as it is there; what FILE holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from reinforce_compare import TASKS, Contest

from cse_autoloss.bench.statistics import Interval, mean_interval, paired_difference
from cse_autoloss.losses.parametric import make_space
from cse_autoloss.searches.evolution.strategy import Strategy
from cse_autoloss.searches.reinforce.policy import DivergedError
from cse_autoloss.searches.reinforce.search import Reinforce, best_of
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces.am_lfs import AmLfs

DRAWN = "drawn alone"
TRIES: dict[str, dict[str, Any]] = {
    "the papers'": {},
    DRAWN: {"update": False},
    "baseline: moving": {"baseline": "moving"},
    "baseline: none": {"baseline": "none"},
    "rank rewards": {"ranks": True},
    "antithetic": {"antithetic": True},
    "sigma decay 0.95": {"decay": 0.95},
    "sigma learnt, 0.05": {"sigma_lr": 0.05},
    "sigma 0.1": {"sigma": 0.1},
    "sigma 0.4": {"sigma": 0.4},
    "lr 0.02": {"lr": 0.02},
    "lr 0.1": {"lr": 0.1},
    "lr 0.2": {"lr": 0.2},
    "reuse 4": {"reuse": 4},
    "reuse 4, lr 0.02": {"reuse": 4, "lr": 0.02},
    "ranks, antithetic": {"ranks": True, "antithetic": True},
    "ranks, reuse 4, lr 0.02": {"ranks": True, "reuse": 4, "lr": 0.02},
}
"""Name -> settings of `Reinforce` beside σ = 0.2 and a rate of 0.05."""
CMA = "CMA-ES"
PLANTED_ALONE = (
    "baseline: none",
    "sigma 0.1",
    "sigma 0.4",
    "lr 0.02",
    "lr 0.1",
    "lr 0.2",
    "reuse 4",
    "ranks, antithetic",
)
"""Tries that are not made on real tasks unless they are asked for, for the time that those take."""
REAL = [name for name in TRIES if name not in PLANTED_ALONE]
KINDS = {"none": (0.0, 0.0), "noise": (1.2, 0.0), "breaks": (0.0, 10.0)}
FACTOR = {"digits": 0.5, "faces": 1.0, "reid": 1.0}
"""Of the learning rate."""
PLANTED_SEEDS = 20
LAST = 5
"""Epochs whose rewards count."""


def planted(name: str, kind: str, seed: int, epochs: int = 30, samples: int = 16) -> float:
    """Share of the way to the optimum that a try's μ comes."""
    space, source = AmLfs(6), torch.Generator().manual_seed(1000 + seed)
    start = torch.tensor(space.start, dtype=torch.float64)
    way = torch.randn(len(start), generator=source, dtype=torch.float64)
    goal = start + 2.0 * way / torch.linalg.vector_norm(way)
    deviation, loss = KINDS[kind]

    def rewards(drawn: torch.Tensor) -> list[float]:
        noise = deviation * torch.randn(len(drawn), generator=source, dtype=torch.float64)
        broken = torch.rand(len(drawn), generator=source, dtype=torch.float64) < 0.125
        return (noise - loss * broken - (drawn - goal).square().sum(1)).tolist()

    if name == CMA:
        strategy = Strategy(space.start, 0.2, samples, seed)
        for _ in range(epochs):
            asked = strategy.ask()
            strategy.tell(asked, rewards(torch.tensor(asked, dtype=torch.float64)))
        mu = strategy.mean
    else:
        search = Reinforce(space, seed=seed, **{"samples": samples, **TRIES[name]})
        state = search.init()
        for _ in range(epochs):
            state = search.tell(state, rewards(search.ask(state)))
        mu = state.mu
    left = torch.linalg.vector_norm(torch.tensor(mu, dtype=torch.float64) - goal)
    return 1 - float(left) / 2.0


def real(name: str, task: str, seed: int) -> dict[str, Any]:
    """Mean reward of the last epochs, and the first metric of the last epoch's best model on test."""
    noise = {"own.label_noise": 0.4} if task == "digits" else {}
    short = {} if task == "digits" else {"own.epochs": 20}
    config = load_config(None, {"task": "classification", **TASKS[task], **noise, **short})
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(config, seed, Path(folder))
        own = config.reinforce
        space = make_space("am-lfs", scale=contest.scale, intervals=own.intervals)
        search = Reinforce(space, seed=seed, **{"samples": own.samples, **TRIES[name]})
        training = contest._training("try", space, FACTOR[task], contest.head, copy_best=True)
        state, means = search.init(), []
        try:
            while state.epoch < training.epochs:
                drawn = search.ask(state).tolist()
                rewards = contest._rewards(training.job(drawn, state.epoch, state.epoch + 1))
                finite = [reward for reward in rewards if math.isfinite(reward)]
                means.append(sum(finite) / len(finite))
                state = search.tell(state, rewards)
        except (DivergedError, ZeroDivisionError):
            return {"reward": math.nan, "test": math.nan, "seconds": time.process_time() - start}
        test = contest._done(training.test())["scores"][best_of([0.0])]
    moved = math.dist(state.mu, search.start)
    return {
        "reward": sum(means[-LAST:]) / LAST,
        "test": contest.metric.worth(test),
        "moved": moved,
        "sigma": search.sigma_at(state),
        "seconds": round(time.process_time() - start, 1),
    }


def fill(options: argparse.Namespace, found: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """What FILE lacks."""

    def keep(where: str, name: str, seed: int, result: dict[str, Any]) -> None:
        row = {"where": where, "name": name, "seed": seed, **result}
        found[where, name, str(seed)] = row
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    for kind in KINDS:
        for name in [*TRIES, CMA]:
            for seed in range(PLANTED_SEEDS):
                if (kind, name, str(seed)) not in found:
                    keep(kind, name, seed, {"way": planted(name, kind, seed)})
    for seed in range(options.first, options.first + options.seeds):
        for task in options.tasks:
            for name in options.only or REAL:
                if (task, name, str(seed)) not in found:
                    keep(task, name, seed, real(name, task, seed))


def table(found: dict[tuple[str, ...], dict[str, Any]], seeds: range, tasks: list[str]) -> str:
    """A line for each try."""

    def told(where: str, name: str, key: str, wanted: range) -> list[float] | None:
        rows = [found.get((where, name, str(seed))) for seed in wanted]
        return None if None in rows else [row[key] for row in rows if row is not None]

    heads = ["try", *(f"way, {kind}" for kind in KINDS)]
    heads += [f"{task}, {what}" for task in tasks for what in ("reward", "test")]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name in [*TRIES, CMA]:
        cells = [name]
        for kind in KINDS:
            way = told(kind, name, "way", range(PLANTED_SEEDS))
            cells.append("" if way is None else _span(mean_interval(way), 100, ""))
        for task in tasks:
            for key in ("reward", "test"):
                mine, other = told(task, name, key, seeds), told(task, DRAWN, key, seeds)
                if mine is None or other is None:
                    cells.append("")
                elif name == DRAWN:
                    cells.append(f"({100 * sum(mine) / len(mine):.1f})")
                else:
                    cells.append(_span(paired_difference(mine, other), 100, "+"))
        lines.append("| " + " | ".join(cells) + " |")
    spent = sum(row.get("seconds", 0.0) for row in found.values())
    return "\n".join(lines) + f"\n\n{spent / 60:.1f} minutes of processor time"


def _span(told: Interval, unit: float, sign: str) -> str:
    mean, low, high = (f"{round(unit * one, 1) + 0.0:{sign}.1f}" for one in (told.mean, told.low, told.high))
    return f"{mean} [{low}, {high}]"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="of the seeds of the real tasks")
    parser.add_argument("--tasks", nargs="*", choices=list(FACTOR), default=["digits", "reid"])
    parser.add_argument("--only", nargs="+", choices=list(TRIES), help="these tries alone on the real tasks")
    parser.add_argument("--table", action="store_true", help="print what FILE holds, run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    found = {(row["where"], row["name"], str(row["seed"])): row for row in rows}
    if not options.table:
        fill(options, found)
    print(table(found, range(options.first, options.first + options.seeds), options.tasks))


if __name__ == "__main__":
    main()
