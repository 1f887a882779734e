"""Puts one more pair of losses before a finished run's audit: same grid, same schedule, same seeds as its winner.

    python benchmarks/audit_pair.py RUN --cls quality-focal --reg square-iou

Tells what of a winner's gain is the merit of a part that the run's baselines did not have. Prints the pair's test AP
and the winner's gain over it, with intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cse_autoloss.bench.budget import RunSize
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, SEEDS_OF_TUNING
from cse_autoloss.bench.statistics import bootstrap_interval, paired_difference
from cse_autoloss.losses import load_loss
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import parse_config
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.tasks.detection import DetectionTask


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--cls", required=True, help="catalogue name or formula")
    parser.add_argument("--reg", required=True, help="catalogue name or formula")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with RunStore.read(options.run) as store:
        config, summary = parse_config(store.config), store.meta("summary")
        size = RunSize.from_json(store.meta("size"))
    settings = config.own_as(DetectionSettings)
    audit, scenes = size.audit, settings.scenes.counts[0]
    limit = None if size.share >= 1 else max(settings.batch, round(size.share * scenes))
    best = summary["best"]
    won = next(w for w in summary["winners"] if (w["cls"], w["reg"]) == (best["cls"], best["reg"]))[
        "test_ap"
    ]["seeds"]

    task = DetectionTask(settings)
    cls = load_loss(options.cls, branch=task.branch, reduction="sum")
    reg = load_loss(options.reg, branch="reg", reduction="sum")
    base = config.seed * 10_000
    grid = {
        (weight, lr): task.train_and_score(
            cls,
            reg,
            seed=base + SEEDS_OF_TUNING,
            epochs=audit.tune_epochs,
            box_weight=weight,
            lr=lr,
            train_limit=limit,
        ).ap
        for weight in audit.box_weights
        for lr in audit.lrs
    }
    weight, lr = max(grid, key=lambda key: grid[key])
    print(
        f"{options.cls} + {options.reg}: box weight {weight:g}, learning rate {lr:g}, AP on val {grid[weight, lr]:.4f}"
    )
    scores = [
        task.train_and_score(
            cls,
            reg,
            seed=base + SEEDS_OF_AUDIT + i,
            epochs=audit.epochs,
            box_weight=weight,
            lr=lr,
            split="test",
        ).ap
        for i in range(len(won))
    ]
    own, gain = bootstrap_interval(scores), paired_difference(won, scores)
    print(f"AP on test {own.mean:.4f} [{own.low:.4f}, {own.high:.4f}], {len(won)} seeds")
    print(f"the run's winner over it {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


if __name__ == "__main__":
    main()
