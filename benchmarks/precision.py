"""Do losses keep their ranks when the models compute in half precision?

    python benchmarks/precision.py [--precision bfloat16] [--losses 28] [--seed 91] [--epochs 6] [--device auto]

Trains losses of benchmarks/schedules.jsonl, evenly from the best to the worst, beside 1 − IoU², and prints Spearman's ρ
between their AP and that of the float32 trainings in that file: same task, schedule and seed. Half precision pays on a
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
from cse_autoloss.settings.load import load_config

KNOWN = Path(__file__).with_name("schedules.jsonl")


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--losses", type=int, default=28)
    parser.add_argument("--seed", type=int, default=91)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    known = {
        one["cls"]: one["ap"] or 0.0
        for one in lines(KNOWN)
        if (one["epochs"], one["until"], one["seed"]) == (options.epochs, None, options.seed)
    }
    ranked = sorted(known, key=lambda loss: -known[loss])
    count = min(options.losses, len(ranked))
    taken = [ranked[round(i * (len(ranked) - 1) / max(count - 1, 1))] for i in range(count)]
    values = {"executor": "inprocess", "device": options.device, "detection.precision": options.precision}
    values["detection.data"] = "digits"
    session = Session(load_config("detection", values))
    found: dict[str, float] = {}
    with session.executor() as executor:
        for loss in taken:
            training = Training(
                "proxy", session.untuned({"cls": loss, "reg": PARTNER}), options.seed, options.epochs
            )
            executor.submit(Job(training.key, training.payload()))
            result = executor.next_result()
            assert result is not None
            score = training.score(result.status, result.value, result.detail, result.seconds)
            found[loss] = score.metrics.get("ap", 0.0)
            print(
                f"{known[loss]:.4f} in float32, {found[loss]:.4f} in {options.precision}: {loss[:60]}",
                flush=True,
            )
    rho = spearmanr([known[loss] for loss in taken], [found[loss] for loss in taken]).statistic
    print(f"Spearman's rho over {count} losses, {options.epochs:g} epochs, {session.device}: {rho:.3f}")


if __name__ == "__main__":
    main()
