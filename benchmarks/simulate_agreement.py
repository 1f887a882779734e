"""Does the simulation foretell the proxy? Spearman's ρ between the two, speed, and what a threshold costs.

    python benchmarks/simulate_agreement.py FILE.jsonl ...

Each file holds proxy trainings as benchmarks/simulate_calibration.py writes them. For each file and branch the
candidates are simulated in batches of 64 on one core; the command prints ρ over all and over those that train,
how well the proxy agrees with itself on a second seed and with shorter trainings, candidates a second, and the
curve of false rejections against the proxy time that is saved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from simulate_calibration import LEARNS, Row, read

from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.simulation import SimulateSettings, Simulator
from cse_autoloss.spaces import parse
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.one_of_each import one_of_each

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
GOOD = 0.5
"""Among the candidates with a proxy AP above this only details are left to tell."""

Floats = NDArray[np.float64]


def main() -> None:
    """Simulate and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--epochs", type=float, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = DetectionTask(DetectionSettings(data="digits"))
    images = one_of_each(task.split("train"), task.num_classes)
    simulator = Simulator(SimulateSettings(), images)
    for path in arguments.files:
        rows = read(path)
        for branch in ("cls-binary", "reg"):
            print(report(path.name, branch, rows, arguments.epochs, simulator))


def report(name: str, branch: str, rows: Sequence[Row], epochs: float, simulator: Simulator) -> str:
    """The figures of one branch in one file."""
    own = [row for row in rows if row.branch == branch and row.seed == 0 and row.epochs == epochs]
    graphs = [parse(row.formula, branch) for row in own]
    simulator.run_batch(graphs[:2])
    started, cpu = time.perf_counter(), time.process_time()
    share = np.array([verdict.figure or 0.0 for verdict in simulator.run_batch(graphs)])
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    alone = time.process_time()
    for graph in graphs[:5]:
        simulator.run(*((None, graph) if branch == "reg" else (graph, None)))
    alone = (time.process_time() - alone) / len(graphs[:5])
    ap = np.array([row.ap for row in own])
    training = float(np.mean([row.seconds for row in own]))
    lines = [
        f"### {name}, {branch}: {len(ap)} candidates, {(ap > LEARNS).sum()} train, {(ap > GOOD).sum()} train well",
        "",
        f"{len(ap) / cpu:.0f} candidates/s of processor time in batches ({len(ap) / wall:.0f}/s on the clock), "
        f"{1e3 * alone:.0f} ms alone; a proxy training took {training:.1f} s.",
        "",
        f"| against the {epochs:g}-epoch AP: Spearman's ρ over | all | AP > {LEARNS} | AP > {GOOD} |",
        "|---|---|---|---|",
        _line("simulation", share, ap),
    ]
    first = {row.formula: row.ap for row in own}
    for kind, test in (
        ("proxy, another seed", lambda row: row.seed == 1 and row.epochs == epochs),
        ("proxy of 1 epoch", lambda row: row.seed == 0 and row.epochs == 1),
        ("proxy of 2 epochs", lambda row: row.seed == 0 and row.epochs == 2),
    ):
        other = [row for row in rows if row.branch == branch and row.formula in first and test(row)]
        if other:
            place = {row.formula: number for number, row in enumerate(own)}
            where = [place[row.formula] for row in other]
            again = np.array([row.ap for row in other])
            lines.append(_line(f"{kind} ({len(other)} candidates)", again, ap[where]))
            lines.append(_line("simulation on the same", share[where], ap[where]))
    return "\n".join([*lines, "", *_curve(share, ap), ""])


def _line(name: str, share: Floats, ap: Floats) -> str:
    cells = []
    for chosen in (ap >= 0, ap > LEARNS, ap > GOOD):
        enough = chosen.sum() > 9
        cells.append(f"{spearmanr(share[chosen], ap[chosen])[0]:.2f}" if enough else "")
    return f"| {name} | {' | '.join(cells)} |"


def _curve(share: Floats, ap: Floats) -> list[str]:
    """What each threshold saves and loses."""
    good, best, poor = ap >= np.median(ap), ap >= np.quantile(ap, 0.8), ap <= LEARNS
    lines = [
        "| threshold | proxies saved | of those that don't train | lost of the better half | of the best fifth |",
        "|---|---|---|---|---|",
    ]
    for threshold in SHARES:
        out = share < threshold
        lines.append(
            f"| {threshold:.1f} | {out.mean():.0%} | {(out & poor).sum()} of {poor.sum()} "
            f"| {(out & good).sum()} of {good.sum()} | {(out & best).sum()} of {best.sum()} |"
        )
    return lines


if __name__ == "__main__":
    main()
