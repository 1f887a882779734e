"""Wrong labels: what a search finds on digits of which four in ten are mislabelled, against losses made for that.

For each of several draws of splits and wrong labels: a search of twenty minutes (`evolve`), whose audit trains what it
found and the catalogue's opponents, everybody's learning rate and inner parameters tuned by as many trainings; a search
of AM-LFS's space by REINFORCE; and a comparison of the two finds.

    python benchmarks/noisy_labels.py run DIR [--draws 3] [--budget 20m] [--reinforce 6m] [--workers 2]
    python benchmarks/noisy_labels.py table DIR

Validation (400 images with true labels) chooses, test (scikit-learn's digits, split by the draw) is scored once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import cse_autoloss as cal
from cse_autoloss.bench.statistics import mean_interval, paired_difference

NOISE = 0.4


def run(folder: Path, draws: int, budget: str, reinforce: str, workers: int) -> None:
    """Do what is not done yet."""
    for draw in range(draws):
        common = {"seed": draw, "workers": workers, "own__seed": draw, "own__label_noise": NOISE}
        found, parametric = folder / f"found-{draw}", folder / f"am-lfs-{draw}"
        if not (found / "summary.json").exists():
            cal.evolve("classification", out=found, budget=budget, audit__baselines=8, **common)
        if not (parametric / "summary.json").exists():
            cal.evolve(
                "classification", out=parametric, budget=reinforce, search="reinforce", audit__share=0.05,
                audit__baselines=1, reinforce__samples=8, **common,
            )  # fmt: skip
        if not (folder / f"compare-{draw}" / "comparison.json").exists():
            overrides = {name.replace("__", "."): value for name, value in common.items()}
            cal.compare_losses(
                [f"found={found}", f"am-lfs={parametric}"],
                overrides={"task": "classification", **overrides},
                out=folder / f"compare-{draw}",
            )


def table(folder: Path) -> str:
    """Accuracy on test of each draw, and the find's gain over each opponent, seed by seed, over all draws."""
    accuracy: dict[str, list[float]] = {}
    gains: dict[str, list[np.ndarray]] = {}
    formulas, directories = [], sorted(folder.glob("found-*"))
    for directory in directories:
        summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
        best = next(w for w in summary["winners"] if w["losses"] == summary["best"]["losses"])
        formulas.append(best["losses"]["loss"])
        rows: list[tuple[str, Any, Any]] = [("found by search", best["test"]["seeds"], best["test"]["seeds"])]
        rows += [(b["name"], b["test"]["seeds"], best["test"]["seeds"]) for b in summary["baselines"]]
        number = directory.name.rpartition("-")[2]
        compared = folder / f"compare-{number}" / "comparison.json"
        if compared.exists():
            first, second = json.loads(compared.read_text(encoding="utf-8"))["losses"]
            rows.append(("am-lfs", second["accuracy"]["seeds"], first["accuracy"]["seeds"]))
        for name, own, of_best in rows:
            accuracy.setdefault(name, []).append(100 * fmean(own))
            gains.setdefault(name, []).append(100 * (np.array(of_best) - np.array(own)))
    lines = [
        f"| loss | {' | '.join(f'draw {i}' for i in range(len(directories)))} | mean | gain of the find |"
    ]
    lines.append("|" + "---|" * (len(directories) + 3))
    for name in sorted(accuracy, key=lambda n: -fmean(accuracy[n])):
        pooled = paired_difference(np.concatenate(gains[name]).tolist(), [0.0] * sum(map(len, gains[name])))
        own = " | ".join(f"{value:.2f}" for value in accuracy[name])
        gain = (
            f"{pooled.mean:+.2f} [{pooled.low:+.2f}, {pooled.high:+.2f}]" if name != "found by search" else ""
        )
        lines.append(f"| {name} | {own} | {fmean(accuracy[name]):.2f} | {gain} |")
    spread = mean_interval([float(g.mean()) for g in gains["symmetric-ce"]])
    lines += ["", *(f"draw {i}: `{formula}`" for i, formula in enumerate(formulas))]
    told = f"{spread.mean:+.2f} [{spread.low:+.2f}, {spread.high:+.2f}]"
    lines.append(f"\nOver draws, not seeds: gain over symmetric-ce {told}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--reinforce", default="6m")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.action == "run":
        run(options.folder, options.draws, options.budget, options.reinforce, options.workers)
    print(table(options.folder))


if __name__ == "__main__":
    main()
