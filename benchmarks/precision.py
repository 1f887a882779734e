"""Do losses keep their ranks when the models compute in half precision?

    python benchmarks/precision.py [--precision bfloat16] [--losses 28] [--seed 91] [--epochs 6] [--device auto]

Trains losses of benchmarks/schedules.jsonl, evenly from the best to the worst, beside 1 − IoU², in float32 and in the
other precision, and prints Spearman's ρ between both APs: same task, schedule and seed. Beside it stands what another
seed does in float32, by that file: ranks that a seed changes can't be kept by a precision. Half precision pays on a
GPU; a processor without its own instructions for it is slower by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from schedules import PARTNER, lines
from scipy.stats import spearmanr

from cse_autoloss.bench.jobs import Training
from cse_autoloss.bench.session import Session
from cse_autoloss.executors import Job
from cse_autoloss.settings.load import SearchConfig, load_config

KNOWN = Path(__file__).with_name("schedules.jsonl")


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--losses", type=int, default=28)
    parser.add_argument("--seed", type=int, default=91)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    seeds: dict[int, dict[str, float]] = {}
    for one in lines(KNOWN):
        if (one["epochs"], one["until"]) == (options.epochs, None):
            seeds.setdefault(one["seed"], {})[one["cls"]] = one["ap"] or 0.0
    known = seeds.pop(options.seed)
    ranked = sorted(known, key=lambda loss: -known[loss])
    count = min(options.losses, len(ranked))
    taken = [ranked[round(i * (len(ranked) - 1) / max(count - 1, 1))] for i in range(count)]
    values = {"executor": "inprocess", "device": options.device, "detection.data": "digits"}
    found = {
        precision: trained(
            load_config("detection", {**values, "detection.precision": precision}), taken, options
        )
        for precision in ("float32", options.precision)
    }
    rho = spearmanr(*found.values()).statistic
    print(
        f"Spearman's rho, float32 and {options.precision}, {count} losses, {options.epochs:g} epochs: {rho:.3f}"
    )
    for seed, other in seeds.items():
        if all(loss in other for loss in taken):
            rho = spearmanr([known[loss] for loss in taken], [other[loss] for loss in taken]).statistic
            print(f"The same between seeds {options.seed} and {seed}, both in float32: {rho:.3f}")


def trained(config: SearchConfig, losses: list[str], options: argparse.Namespace) -> list[float]:
    """AP of each loss; 0 where it failed."""
    found: list[float] = []
    session = Session(config)
    with session.executor() as executor:
        for loss in losses:
            training = Training(
                "proxy", session.untuned({"cls": loss, "reg": PARTNER}), options.seed, options.epochs
            )
            executor.submit(Job(training.key, training.payload()))
            result = executor.next_result()
            assert result is not None
            score = training.score(result.status, result.value, result.detail, result.seconds)
            found.append(score.metrics.get("ap", 0.0))
            print(f"{found[-1]:.4f} in {config.own.precision}: {loss[:60]}", flush=True)
    return found


if __name__ == "__main__":
    main()
