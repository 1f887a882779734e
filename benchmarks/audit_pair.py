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
from cse_autoloss.bench.session import SEEDS_OF_AUDIT, SEEDS_OF_TUNING, settings_of
from cse_autoloss.bench.statistics import mean_interval, paired_difference
from cse_autoloss.bench.worker import slot_loss
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import parse_config
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import Schedule, SplitName


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
        size = store.typed_meta("size", RunSize)
    settings = config.own
    audit, scenes = size.audit, settings.scenes.counts[0]
    limit = None if size.share >= 1 else max(settings.batch, round(size.share * scenes))
    best = summary["best"]
    won = next(w for w in summary["winners"] if w["losses"] == best["losses"])["test"]["seeds"]

    task = DetectionTask(settings)
    texts = {"cls": options.cls, "reg": options.reg}
    losses = {slot: slot_loss(text, task.slots[slot], None) for slot, text in texts.items()}
    base = config.seed * 10_000

    def scored(
        seed: int, epochs: float, tunables: dict[str, float], split: SplitName, most: int | None
    ) -> float:
        """AP of one training; 0 where it diverged."""
        schedule = Schedule(epochs, most)
        score = task.train(losses, seed=base + seed, schedule=schedule, settings=tunables, split=split)
        return score.metrics.get("ap", 0.0)

    tried = [
        (scored(SEEDS_OF_TUNING, audit.tune_epochs, one, "val", limit), one)
        for one in settings_of(audit.grid)
    ]
    val, chosen = max(tried, key=lambda pair: pair[0])
    words = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in chosen.items())
    print(f"{options.cls} + {options.reg}: {words}, AP on val {val:.4f}")
    scores = [scored(SEEDS_OF_AUDIT + i, audit.epochs, chosen, "test", limit) for i in range(len(won))]
    own, gain = mean_interval(scores), paired_difference(won, scores)
    print(f"AP on test {own.mean:.4f} [{own.low:.4f}, {own.high:.4f}], {len(won)} seeds")
    print(f"the run's winner over it {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


if __name__ == "__main__":
    main()
