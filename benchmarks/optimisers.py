"""Would a quicker optimiser rank losses as well? Muon on kernels against SGD, on losses that searches have liked.

    python benchmarks/optimisers.py train --out FILE [--seeds 2000 2001 ...] [--arms sgd-15 muon-9 ...] [--workers 2]
    python benchmarks/optimisers.py table --out benchmarks/optimisers.jsonl

The losses are some of those of benchmarks/careless_trainings.jsonl, of searches on the default scenes, that have
several seeds and learn (AP of 0.54 and more), evenly from the best to the worst, classification and box losses alike.
`muon-9` has 9 epochs in which kernels are moved by orthogonalised momentum (Jordan et al., 2024) and all else by SGD;
`muon-9-half` has them in bfloat16, as `sgd-15-half` has those of SGD.
`table` prints Spearman's ρ of one seed with the mean of the seeds in that file, which are 15 epochs of SGD, for each
arm; and how good, by these, the five are that one seed calls best.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

KNOWN = Path(__file__).with_name("careless_trainings.jsonl")
LEAST, COUNT, BEST = 0.54, 24, 5


def known() -> dict[tuple[str, str], float]:
    """(cls, reg) -> the mean AP of those that have several seeds and learn."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines(KNOWN):
        if line["status"] == "ok":
            found.setdefault((line["cls"], line["reg"]), []).append(line["ap"])
    several = {pair: statistics.fmean(own) for pair, own in found.items() if len(own) > 1}
    return {pair: mean for pair, mean in several.items() if mean >= LEAST}


def chosen() -> list[tuple[str, str]]:
    """The losses (cls, reg)."""
    means = known()
    ranked = sorted(((mean, pair) for pair, mean in means.items()), reverse=True)
    return [ranked[round(i * (len(ranked) - 1) / (COUNT - 1))][1] for i in range(COUNT)]


def one(arm: str, seed: int, cls: str, reg: str) -> dict[str, Any]:
    """Train and score one pair."""
    from cse_autoloss.bench.jobs import Training
    from cse_autoloss.bench.session import Session
    from cse_autoloss.executors import Job
    from cse_autoloss.settings.load import load_config

    torch.set_num_threads(1)
    kind, epochs, *half = arm.split("-")
    if "one" not in _SESSIONS:
        config = {"executor": "inprocess", "device": "cpu", "detection.spaces": "extended"}
        _SESSIONS["one"] = Session(load_config("detection", config))
    session = _SESSIONS["one"]
    training = Training(
        "proxy",
        session.untuned({"cls": cls, "reg": reg}),
        seed,
        float(epochs),
        optimizer="muon" if kind == "muon" else "sgd",
        precision="bfloat16" if half else None,
    )
    begun = time.process_time()
    with session.executor() as executor:
        executor.submit(Job(training.key, training.payload(), 600.0))
        result = executor.next_result()
    assert result is not None
    score = training.score(result.status, result.value, result.detail, result.seconds)
    return {
        "arm": arm,
        "seed": seed,
        "cls": cls,
        "reg": reg,
        "status": score.status,
        "ap": round(score.metrics.get("ap", 0.0), 5),
        "seconds": round(time.process_time() - begun, 2),
    }


_SESSIONS: dict[str, Any] = {}


def train(path: Path, arms: list[str], seeds: list[int], workers: int) -> None:
    """Do what the file lacks, seed by seed."""
    done = {(line["arm"], line["seed"], line["cls"], line["reg"]) for line in lines(path)}
    wanted = [(arm, seed, *pair) for seed in seeds for pair in chosen() for arm in arms]
    wanted = [job for job in wanted if job not in done]
    with ProcessPoolExecutor(workers) as pool:
        for line in pool.map(one, *zip(*wanted, strict=True)) if wanted else ():
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def table(path: Path) -> str:
    """ρ and the best five of each arm, and its processor time; of seeds that have all losses in all arms."""
    found: dict[tuple[str, int], dict[tuple[str, str], float]] = {}
    seconds: dict[str, list[float]] = {}
    for line in lines(path):
        found.setdefault((line["arm"], line["seed"]), {})[line["cls"], line["reg"]] = line["ap"]
        seconds.setdefault(line["arm"], []).append(line["seconds"])
    arms, pairs, means = list(seconds), chosen(), known()
    seeds = sorted({seed for _, seed in found})
    whole = [seed for seed in seeds if all(set(found.get((arm, seed), ())) >= set(pairs) for arm in arms)]
    truth = np.array([means[pair] for pair in pairs])
    text = [
        f"{len(pairs)} losses, seeds {', '.join(map(str, whole))}",
        "",
        "| arm | AP | ρ, seed by seed | its best five, by the means | seconds | times the first's |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for arm in arms:
        own = [np.array([found[arm, seed][pair] for pair in pairs]) for seed in whole]
        rhos = ", ".join(f"{spearmanr(one, truth).statistic:.2f}" for one in own)
        good = 100 * statistics.fmean(float(truth[np.argsort(-one)[:BEST]].mean()) for one in own)
        took, base = statistics.median(seconds[arm]), statistics.median(seconds[arms[0]])
        mean = 100 * statistics.fmean(float(one.mean()) for one in own)
        text.append(f"| {arm} | {mean:.1f} | {rhos} | {good:.1f} | {took:.1f} | {took / base:.2f} |")
    return "\n".join(text)


def main() -> None:
    """Parse and do one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("train", "table"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(2000, 2006)))
    parser.add_argument("--arms", nargs="+", default=["sgd-15", "muon-9", "sgd-15-half", "muon-9-half"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.step == "train":
        train(options.out, options.arms, options.seeds, options.workers)
    print(table(options.out))


if __name__ == "__main__":
    main()
