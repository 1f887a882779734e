"""Error on digits under label noise: AM-LFS, Search- and Random-Softmax against what people use.

    python benchmarks/reinforce_digits.py --out FOLDER [--noise 0 0.2 0.4] [--seeds 3] [--epochs 30]

Each seed has its own split (800/400/597), noise and weights. All contestants are tuned on validation over the same
learning rates, the baselines also over their own setting. "softmax, best of B" trains
as the searches do, with softmax for all B models, each with its own order of batches; "softmax, best epoch" is
softmax stopped where validation is best, which the searches are not. Results are kept in FOLDER,
a file for each noise and seed: what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.reinforce.baselines import BASELINES
from cse_autoloss.reinforce.loss import make_space
from cse_autoloss.reinforce.search import Reinforce
from cse_autoloss.reinforce.settings import load_reinforce_config
from cse_autoloss.reinforce.tasks import make_task
from cse_autoloss.reinforce.trainings import search_epochs, tuned_baseline
from cse_autoloss.runs import RunStore
from cse_autoloss.statistics import bootstrap_interval, paired_difference


def contest(noise: float, seed: int, epochs: int, samples: int, folder: Path) -> dict[str, Any]:
    """Every contestant's settings, validation and test accuracy for one seed."""
    config = load_reinforce_config(None, {"data.label_noise": noise, "training.epochs": epochs})
    task = make_task(config, seed, "cpu")
    scale = config.training.scale
    factors = config.comparison.lr_factors
    results: dict[str, Any] = {}
    for name, baseline in BASELINES.items():
        head = scale if baseline.cosine else None
        results[name] = tuned_baseline(baseline, task, scale=scale, head=head, lr_factors=factors)
    results["softmax, best epoch"] = tuned_baseline(
        BASELINES["softmax"], task, scale=scale, head=None, lr_factors=factors, best_epoch=True
    )
    random = {"samples": 1, "update": False, "draw": "uniform"}
    still = {"samples": samples, "update": False, "sigma": 1e-9}
    searches: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
        "am-lfs": ("am-lfs", {}, {"samples": samples}, {"copy_best": True}),
        "am-lfs, mu not updated": ("am-lfs", {}, {"samples": samples, "update": False}, {"copy_best": True}),
        "search-softmax": ("search-softmax", {}, {"samples": samples}, {"copy_best": True}),
        "random-softmax": ("random-softmax", {}, random, {"copy_best": False}),
        "softmax, best of B": ("am-lfs", {"intervals": 1}, still, {"copy_best": True, "own_orders": True}),
    }
    with RunStore.create(folder / f"run-{noise:g}-{seed}", {}) as store:
        for name, (space, settings, policy, options) in searches.items():
            search = Reinforce(make_space(space, scale=scale, **settings), seed=seed, **policy)
            tried = []
            for factor in factors:
                key = f"{name}-{factor:g}"
                tried.append(search_epochs(search, task, store, key, scale=None, lr_factor=factor, **options))
            results[name] = max(tried, key=lambda result: result["val"])
    return results


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--samples", type=int, default=16)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, {options.epochs} epochs, B = {options.samples}, {options.seeds} seeds")
    for noise in options.noise:
        found = []
        for seed in range(options.seeds):
            path = options.out / f"{noise:g}-{seed}.json"
            if not path.is_file():
                result = contest(noise, seed, options.epochs, options.samples, options.out)
                path.write_text(json.dumps(result))
            found.append(json.loads(path.read_text()))
        print(f"\nlabel noise {noise:.0%}: test error in %, gain over softmax in points")
        plain = [100 * row["softmax"]["test"]["accuracy"] for row in found]
        for name in found[0]:
            right = [100 * row[name]["test"]["accuracy"] for row in found]
            error = bootstrap_interval([100 - value for value in right])
            gain = paired_difference(right, plain)
            print(
                f"{name:24} {error.mean:6.2f} [{error.low:6.2f}, {error.high:6.2f}]"
                f"   {gain.mean:+5.2f} [{gain.low:+5.2f}, {gain.high:+5.2f}]"
            )


if __name__ == "__main__":
    main()
