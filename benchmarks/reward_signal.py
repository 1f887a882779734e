"""How much does REINFORCE's reward tell of μ? Signal against noise, where AM-LFS's search begins.

    python benchmarks/reward_signal.py [--noise 0.4] [--seeds 10] [--samples 16] [--sigma 0.2] [--out FILE.jsonl]

μ stays at softmax, as in "am-lfs, mu not updated": each epoch B losses are drawn from N(μ, σ²I), B models train an
epoch, each with its own, the best is copied to all. With z = (θ − μ)/σ and r the epoch's rewards brought to mean 0
and variance 1, β = E[r·z] is the gradient in units of σ, and ‖β‖² the share of the rewards' variance that a slope in
θ explains. One epoch's estimate, the mean of r·z over B losses, has about the variance 1/B in each of K directions;
so its cosine with β is about ‖β‖ / √(‖β‖² + K/B), and that of the mean over T epochs ‖β‖ / √(‖β‖² + K/(B·T)). A step
of one σ along β changes the expected reward by ‖β‖ times the rewards' deviation.

Prints this for each third of the training; ‖β‖² is corrected for what N samples would show by chance, K/N.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
from reinforce_compare import TASKS, Contest

from cse_autoloss.losses.parametric import make_space
from cse_autoloss.searches.reinforce.policy import normalise
from cse_autoloss.searches.reinforce.search import Reinforce
from cse_autoloss.settings.load import load_config

FACTOR = 0.5
"""Of the learning rate; what tuning mostly takes in benchmarks/reinforce_compare.py."""


def sampled(noise: float, seed: int, samples: int, sigma: float) -> list[dict[str, object]]:
    """One search: the epoch, z (B, K) and rewards (B,) of each of its epochs."""
    overrides = {**TASKS["digits"], "task": "classification", "own.label_noise": noise}
    config = load_config(None, overrides)
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(config, seed, Path(folder))
        space = make_space("am-lfs", scale=contest.scale, intervals=config.reinforce.intervals)
        search = Reinforce(space, seed=seed, samples=samples, sigma=sigma, lr=0.05, update=False)
        training = contest._training("signal", search.space, FACTOR, contest.head, copy_best=True)
        state = search.init()
        while state.epoch < training.epochs:
            drawn = search.ask(state)
            rewards = contest._rewards(training.job(drawn.tolist(), state.epoch, state.epoch + 1))
            z = (np.array(drawn.tolist()) - np.array(state.mu)) / sigma
            found.append({"seed": seed, "epoch": state.epoch, "z": z.tolist(), "rewards": rewards})
            state = search.tell(state, rewards)
    return found


def table(rows: list[dict[str, object]]) -> str:
    """A line for each third of the epochs."""
    last = max(int(str(row["epoch"])) for row in rows) + 1
    text = [
        "| epochs | ‖β‖² | cosine of one epoch's estimate | of a third's | rewards' deviation, points |"
        " a step of σ gains |",
        "|---|---|---|---|---|---|",
    ]
    for third in range(3):
        begin, end = last * third // 3, last * (third + 1) // 3
        own = [row for row in rows if begin <= int(str(row["epoch"])) < end]
        z = np.concatenate([np.array(row["z"]) for row in own])
        r = np.concatenate([normalise(row["rewards"]).numpy() for row in own])  # type: ignore[arg-type]
        spread = float(np.mean([np.std(row["rewards"]) for row in own])) * 100  # type: ignore[arg-type]
        count, size = z.shape
        batch = len(own[0]["rewards"])  # type: ignore[arg-type]
        beta = (r[:, None] * z).mean(0)
        share = max(0.0, float(beta @ beta) - size / count)
        cosine = [math.sqrt(share / (share + size / (batch * epochs))) for epochs in (1, end - begin)]
        text.append(
            f"| {begin + 1} to {end} | {share:.3f} | {cosine[0]:.2f} | {cosine[1]:.2f} | {spread:.2f} |"
            f" {math.sqrt(share) * spread:.2f} |"
        )
    return "\n".join(text)


def main() -> None:
    """Train what FILE lacks, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--sigma", type=float, default=0.2)
    parser.add_argument("--out", type=Path, default=Path("reward_signal.jsonl"))
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in range(options.seeds):
        if any(row["seed"] == seed for row in rows):
            continue
        rows += (new := sampled(options.noise, seed, options.samples, options.sigma))
        with options.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in new)
    print(table(rows))


if __name__ == "__main__":
    main()
