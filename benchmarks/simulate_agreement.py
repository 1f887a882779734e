"""Does the simulation foretell the proxy? Spearman's ρ between the two, and false rejections against the
threshold.

    python benchmarks/simulate_agreement.py --proxies proxies.jsonl [--cls 90] [--reg 45] [--epochs 6]

Candidates are the catalogue's losses and their descendants by random variation that pass verification. Each
gets a proxy training (BCE or GIoU in the other branch) and a simulation. Trainings are kept in the JSON-lines
file as they end (about 6 seconds each on one core), and read from it when the benchmark runs again.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from cse_autoloss.convergence import SimulateSettings, Simulator, fingerprint, verify
from cse_autoloss.errors import AutoLossError
from cse_autoloss.evolution.genome import (
    Limits,
    PrimitiveSet,
    crossover,
    mutate_constant,
    mutate_point,
    mutate_subtree,
    random_tree,
    seeded,
)
from cse_autoloss.losses import load_loss
from cse_autoloss.losses.box_entries import BOX_ENTRIES
from cse_autoloss.losses.cls_entries import BINARY_ENTRIES
from cse_autoloss.spaces import BRANCHES, parse
from cse_autoloss.tasks.detection import DetectionSettings, DetectionTask
from cse_autoloss.tasks.one_of_each import one_of_each

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEARNS = 0.05
"""A proxy AP above this counts as having trained at all."""


def candidates(branch: str, count: int, seed: int) -> list[str]:
    """Formulas of the catalogue's losses and of distinct descendants that pass verification."""
    primitives, limits = PrimitiveSet.of(BRANCHES[branch]), Limits()
    entries = BINARY_ENTRIES if branch == "cls-binary" else BOX_ENTRIES
    graphs = [parse(e.formula, branch) for e in entries if e.formula is not None]
    trees = [primitives.to_tree(graph) for graph in graphs]
    founders = len(trees)
    found = {fingerprint(graph): graph.formula for graph in graphs}
    with seeded(seed):
        while len(found) < 4 * count:
            draw = random.random()
            try:
                if draw < 0.35:
                    tree = random_tree(primitives)
                elif draw < 0.75:
                    tree = random.choice(trees)
                    for _ in range(random.choice((1, 1, 2, 3))):
                        tree = random.choice((mutate_subtree, mutate_point, mutate_constant))(
                            tree, primitives
                        )
                else:
                    tree, _ = crossover(random.choice(trees), random.choice(trees))
                if not limits.holds(tree):
                    continue
                graph = primitives.to_graph(tree)
            except (AutoLossError, IndexError):
                continue
            if not verify(graph):
                continue
            mark = fingerprint(graph)
            if mark not in found:
                found[mark] = graph.formula
                trees.append(tree)
                if len(trees) > 60:
                    trees.pop(random.randrange(founders, len(trees)))
        formulas = list(found.values())
        rest = formulas[founders:]
        random.shuffle(rest)
    return [*formulas[:founders], *rest][:count]


def train_proxies(task: DetectionTask, wanted: list[tuple[str, str]], path: Path, epochs: float) -> None:
    """Train what the file lacks."""
    done = {(row["b"], row["f"]) for row in read(path)}
    with path.open("a", encoding="utf-8") as file:
        for branch, formula in wanted:
            if (branch, formula) in done:
                continue
            cls = load_loss(formula if branch != "reg" else "bce", branch="cls-binary", reduction="sum")
            reg = load_loss(formula if branch == "reg" else "giou", branch="reg", reduction="sum")
            score = task.train_and_score(cls, reg, seed=0, epochs=epochs)
            file.write(json.dumps({"b": branch, "f": formula, "ap": score.ap, "status": score.status}) + "\n")
            file.flush()


def read(path: Path) -> list[dict[str, object]]:
    """The trainings so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Train, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxies", type=Path, required=True)
    parser.add_argument("--cls", type=int, default=90)
    parser.add_argument("--reg", type=int, default=45)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--steps", type=int, default=SimulateSettings().steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = DetectionTask(DetectionSettings())
    for branch, count in (("cls-binary", arguments.cls), ("reg", arguments.reg)):
        known = sum(row["b"] == branch for row in read(arguments.proxies))
        if known < count:
            wanted = [(branch, formula) for formula in candidates(branch, count, seed=1)]
            train_proxies(task, wanted[: count - known], arguments.proxies, arguments.epochs)
    rows = read(arguments.proxies)
    simulator = Simulator(
        SimulateSettings(steps=arguments.steps), one_of_each(task.split("train"), task.num_classes)
    )
    for branch in ("cls-binary", "reg"):
        own = [row for row in rows if row["b"] == branch]
        started = time.process_time()
        shares = []
        for row in own:
            graph = parse(str(row["f"]), branch)
            pair = (None, graph) if branch == "reg" else (graph, None)
            shares.append(simulator.run(*pair).figure or 0.0)
        seconds = (time.process_time() - started) / len(own)
        print(table(branch, np.array([row["ap"] for row in own]), np.array(shares), seconds))


def table(branch: str, ap: np.ndarray, share: np.ndarray, seconds: float) -> str:
    """ρ and the curve of false rejections."""
    trains = ap > LEARNS
    good = ap >= np.median(ap)
    lines = [
        f"### {branch}: {len(ap)} candidates, {1e3 * seconds:.0f} ms of processor time a simulation",
        "",
        f"Spearman's ρ: {spearmanr(share, ap)[0]:.2f} over all, {spearmanr(share[trains], ap[trains])[0]:.2f} over "
        f"the {trains.sum()} whose proxy AP is above {LEARNS}. AP from {ap.min():.3f} to {ap.max():.3f}, median "
        f"{np.median(ap):.3f}.",
        "",
        "| threshold | rejected | of them at or above the median AP | lost of the best fifth |",
        "|---|---|---|---|",
    ]  # fmt: skip
    best = ap >= np.quantile(ap, 0.8)
    for threshold in SHARES:
        out = share < threshold
        lines.append(
            f"| {threshold:.1f} | {out.mean():.0%} | {(out & good).sum() / max(out.sum(), 1):.0%} "
            f"| {(out & best).sum()} of {best.sum()} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
