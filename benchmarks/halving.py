"""What successive halving saves, and what it costs: short trainings against full ones.

    python benchmarks/halving.py --trainings halving.jsonl --seeds 0 1

Candidates are the catalogue's losses and descendants of them that pass verification and simulation. Each is trained
on the full schedule, scored at the end of every rung on the way (`continued`), and also on schedules of the rungs' own
lengths (`afresh`). Then generations are drawn at random from these candidates and sent through different rungs: what
a rung's score is worth, how much time is saved, and whether the best are still found. A candidate's worth is the mean
of its full trainings over the seeds, so that full training too is charged for its luck. The file keeps the trainings:
an interrupted run goes on, and tables of other rungs cost nothing.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from descendants import descendants, founders
from scipy.stats import spearmanr

from cse_autoloss.losses import load_loss
from cse_autoloss.settings.tasks.detection import DetectionSettings
from cse_autoloss.simulation import SimulateSettings, Simulator
from cse_autoloss.spaces import parse
from cse_autoloss.tasks.average_precision import AveragePrecisionMetric
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.one_of_each import one_of_each
from cse_autoloss.tasks.splits import Split
from cse_autoloss.training.loop import Diverged

EPOCHS = 6.0
RUNGS = (1.0, 2.0, 3.0)
AFRESH = (1.0, 2.0)
SCENES = (100, 200, 400)
FULL = "full"
SIMULATION = 0.009
"""Seconds of a simulation (docs/benchmarks/simulate.md)."""


@dataclass(frozen=True)
class Scheme:
    """Rungs in epochs before the full schedule, how they are trained, and the scenes that they are scored on.

    `keep` of the candidates go on from a rung: the best by its score, or with `blind` any, for comparison. Before that,
    those that the simulation likes best may be chosen: the share `shortlist`.
    """

    mode: str
    rungs: tuple[float, ...]
    keep: float = 1 / 3
    scenes: int = 100
    blind: bool = False
    shortlist: float = 1.0

    @property
    def name(self) -> str:
        rungs = ", ".join(f"{rung:g}/6" for rung in self.rungs)
        first = "" if self.shortlist == 1 else f"best {self.shortlist:.0%} by simulation, then "
        if not rungs:
            return first + "none: all are trained in full"
        which = "any" if self.blind else "best"
        return first + f"{rungs} {self.mode}, {self.scenes} scenes, {which} {self.keep:.0%}"


SCHEMES = (
    Scheme("continued", ()),
    Scheme("continued", (1.0,)),
    Scheme("continued", (1.0,), scenes=400),
    Scheme("continued", (1.0,), keep=0.5),
    Scheme("continued", (2.0,)),
    Scheme("continued", (3.0,)),
    Scheme("continued", (1.0, 2.0)),
    Scheme("continued", (1.0, 3.0)),
    Scheme("continued", (1.0, 3.0), keep=0.5),
    Scheme("afresh", (1.0,)),
    Scheme("afresh", (1.0, 2.0)),
    Scheme("continued", (1.0,), blind=True),
    Scheme("continued", (), shortlist=1 / 2),
    Scheme("continued", (), shortlist=1 / 3),
    Scheme("continued", (1.0,), shortlist=1 / 2),
    Scheme("continued", (1.0,), keep=0.5, shortlist=1 / 2),
)


class Scorer:
    """AP on the first so many validation scenes."""

    def __init__(self, task: DetectionTask) -> None:
        self._task = task
        whole = task.split("val")
        self._metrics = {
            n: AveragePrecisionMetric(
                Split(whole.images[:n], whole.boxes[:n], whole.labels[:n], whole.crowd[:n]), task.num_classes
            )
            for n in SCENES
        }

    def __call__(self, model: Any) -> dict[str, Any]:
        """AP and seconds of processor time for each number of scenes."""
        scores: dict[str, Any] = {}
        for n, metric in self._metrics.items():
            begun = time.process_time()
            images = torch.from_numpy(self._task.split("val").images[:n])
            found = self._task.predict(model, images)
            ap = metric(found.boxes.numpy(), found.log_scores.numpy(), found.labels.numpy()).ap
            scores[f"ap{n}"], scores[f"s{n}"] = ap, time.process_time() - begun
        return scores


def candidates(branch: str, count: int) -> list[str]:
    """Formulas of the catalogue's losses, then of verified descendants of them."""
    known = list(founders(branch).values())
    grown = descendants(branch, 4 * count - len(known), seed=2, random_share=0.35, mutated=0.4, shuffled=True)
    return [*known, *grown.values()][:count]


def train(task: DetectionTask, scorer: Scorer, branch: str, formula: str, seed: int) -> list[dict[str, Any]]:
    """Rows of one candidate: at each rung on the way to the full schedule, and of the short schedules."""
    cls = load_loss(formula if branch != "reg" else "bce", signature="cls-binary", reduction="sum")
    reg = load_loss(formula if branch == "reg" else "giou", signature="reg", reduction="sum")
    rows = []
    plan = [(EPOCHS, "continued", RUNGS), *((epochs, "afresh", ()) for epochs in AFRESH)]
    for epochs, mode, stops in plan:
        run = task.training({"cls": cls, "reg": reg}, seed=seed, epochs=epochs, settings={"box_weight": 2.0})
        seconds = 0.0
        for stop in (*stops, epochs):
            begun = time.process_time()
            row = {"branch": branch, "formula": formula, "seed": seed, "epochs": stop}
            row["mode"] = FULL if stop == EPOCHS else mode
            try:
                run.advance(round(run.steps * stop / epochs))
            except Diverged:
                rows.append({**row, "train": seconds + time.process_time() - begun, "diverged": True})
                break
            seconds += time.process_time() - begun
            rows.append({**row, "train": seconds, **scorer(run.model)})
    return rows


def read(path: Path) -> list[dict[str, Any]]:
    """The trainings so far."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def fill(path: Path, wanted: dict[str, int], seeds: Sequence[int]) -> None:
    """Train what the file lacks."""
    table = Table(read(path))
    if all(len(table.formulas[b]) >= n for b, n in wanted.items()) and set(seeds) <= set(table.seeds):
        return
    task = DetectionTask(DetectionSettings(data="digits"))
    scorer = Scorer(task)
    simulator = Simulator(SimulateSettings(), one_of_each(task.split("train"), task.num_classes))
    done = {(row["branch"], row["formula"], row["seed"]) for row in read(path)}
    train(task, scorer, "reg", "giou", 0)  # the first training of a process is slow
    for branch, count in wanted.items():
        formulas: list[str] = []
        for formula in candidates(branch, 3 * count):
            graph = parse(formula, branch)
            if simulator.run(*((None, graph) if branch == "reg" else (graph, None))).accepted:
                formulas.append(formula)
            if len(formulas) == count:
                break
        for seed in seeds:
            for formula in formulas:
                if (branch, formula, seed) in done:
                    continue
                rows = train(task, scorer, branch, formula, seed)
                with path.open("a", encoding="utf-8") as file:
                    file.write("".join(json.dumps(row) + "\n" for row in rows))


class Table:
    """The trainings by candidate, seed, mode and epochs."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = {(r["branch"], r["formula"], r["seed"], r["mode"], r["epochs"]): r for r in rows}
        self.seeds = sorted({r["seed"] for r in rows})
        self.formulas = {
            branch: list(dict.fromkeys(r["formula"] for r in rows if r["branch"] == branch))
            for branch in ("cls-binary", "reg")
        }
        # Processor time of one thread: other work on the machine does not count.
        self.cost = {
            (mode, epochs): np.median([r["train"] for r in own])
            for mode, epochs in {(r["mode"], r["epochs"]) for r in rows}
            if (own := [r for r in rows if (r["mode"], r["epochs"]) == (mode, epochs) and "ap400" in r])
        }
        self.simulated: dict[str, np.ndarray] = {}
        self.scoring = {n: np.median([r[f"s{n}"] for r in rows if f"s{n}" in r] or [0.0]) for n in SCENES}

    def simulate(self) -> None:
        """Let the simulation score all candidates."""
        task = DetectionTask(DetectionSettings(data="digits"))
        simulator = Simulator(SimulateSettings(), one_of_each(task.split("train"), task.num_classes))
        for branch, formulas in self.formulas.items():
            verdicts = simulator.run_batch([parse(formula, branch) for formula in formulas])
            self.simulated[branch] = np.array([verdict.figure or 0.0 for verdict in verdicts])

    def ap(self, branch: str, seed: int, mode: str, epochs: float, scenes: int = 400) -> np.ndarray:
        """AP of all candidates of a branch; 0 for one that diverged by then."""
        rows = (self._rows.get((branch, f, seed, mode, epochs), {}) for f in self.formulas[branch])
        return np.array([row.get(f"ap{scenes}", 0.0) for row in rows])

    def worth(self, branch: str) -> np.ndarray:
        """Mean AP of the full trainings over the seeds."""
        return np.mean([self.ap(branch, seed, FULL, EPOCHS) for seed in self.seeds], axis=0)


def halve(
    table: Table, scheme: Scheme, branch: str, seed: int, members: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Who of a generation finishes, and the seconds that it took."""
    seconds, before = 0.0, 0.0
    if scheme.shortlist < 1:
        seconds = SIMULATION * len(members)
        liked = np.argsort(-table.simulated[branch][members], kind="stable")
        members = members[liked[: math.ceil(scheme.shortlist * len(members))]]
    for epochs in scheme.rungs:
        cost = table.cost[scheme.mode, epochs]
        seconds += len(members) * (cost - before + table.scoring[scheme.scenes])
        before = cost if scheme.mode == "continued" else 0.0
        ap = table.ap(branch, seed, scheme.mode, epochs, scheme.scenes)[members]
        ap = rng.random(len(ap)) if scheme.blind else ap
        members = members[np.argsort(-ap, kind="stable")[: max(1, math.ceil(scheme.keep * len(members)))]]
    seconds += len(members) * (table.cost[FULL, EPOCHS] - before + table.scoring[400])
    return members, seconds


def compare(table: Table, scheme: Scheme, branch: str, size: int, draws: int) -> dict[str, float]:
    """Means over generations drawn at random: share of full training's time, who is kept, AP lost, AP of the choice.

    `same` is the worth of what is chosen when the scheme may take more candidates, for the time of `size` / 2.
    """
    rng = np.random.default_rng(0)
    worth, count = table.worth(branch), len(table.formulas[branch])
    whole = table.cost[FULL, EPOCHS] + table.scoring[400]
    sums: dict[str, list[float]] = {"time": [], "best": [], "three": [], "lost": [], "same": []}

    def draw(number: int) -> tuple[np.ndarray, np.ndarray, float, int]:
        members, seed = rng.choice(count, number, replace=False), int(rng.choice(table.seeds))
        last, seconds = halve(table, scheme, branch, seed, members, rng)
        return members, last, seconds, int(last[np.argmax(table.ap(branch, seed, FULL, EPOCHS)[last])])

    for _ in range(draws):
        members, last, seconds, choice = draw(size)
        order = members[np.argsort(-worth[members])]
        sums["time"].append(seconds / (size * whole))
        sums["best"].append(float(order[0] in last))
        sums["three"].append(float(np.isin(order[:3], last).mean()))
        sums["lost"].append(worth[order[0]] - worth[choice])
    more = min(count, round(size / 2 / float(np.mean(sums["time"]))))
    sums["same"] = [worth[draw(more)[3]] for _ in range(draws)]
    return {name: float(np.mean(values)) for name, values in sums.items()} | {"more": more}


def report(table: Table, size: int, draws: int) -> str:
    """The tables."""
    counts = ", ".join(f"{len(formulas)} {branch}" for branch, formulas in table.formulas.items())
    lines = [
        f"{counts}; seeds {table.seeds}. Full training: {table.cost[FULL, EPOCHS]:.2f} s, scoring "
        + ", ".join(f"{n} scenes {table.scoring[n]:.2f} s" for n in SCENES)
        + " (processor time).",
        "",
        "| rung's score | seconds | ρ cls | ρ reg | ρ cls, better half | ρ reg, better half |",
        "|---|---|---|---|---|---|",
    ]
    for mode, epochs in sorted(table.cost, key=lambda key: (key[0] == FULL, key[0], key[1])):
        for scenes in SCENES if mode != FULL else (400,):
            cells = [
                f"{_agreement(table, branch, mode, epochs, scenes, half):.2f}"
                for half in (False, True)
                for branch in table.formulas
            ]
            cost = table.cost[mode, epochs] + table.scoring[scenes]
            name = (
                f"{mode}, {epochs:g} of 6 epochs, {scenes} scenes" if mode != FULL else "full, another seed"
            )
            lines.append(f"| {name} | {cost:.2f} | {' | '.join(cells)} |")
    for branch in table.formulas:
        lines += [
            "",
            f"{branch}, generations of {size}, {draws} draws:",
            "",
            f"| rungs | time | best finishes | best three finish | AP lost | in the time of {size // 2} full: |",
            "|---|---|---|---|---|---|",
        ]
        for scheme in SCHEMES:
            got = compare(table, scheme, branch, size, draws)
            lines.append(
                f"| {scheme.name} | {got['time']:.0%} | {got['best']:.0%} | {got['three']:.0%} "
                f"| {100 * got['lost']:.2f} | AP {100 * got['same']:.2f}, best of {got['more']:.0f} |"
            )
    return "\n".join(lines)


def _agreement(table: Table, branch: str, mode: str, epochs: float, scenes: int, half: bool) -> float:
    """Mean over seeds of ρ between a rung's score and the full score with the same seed (another, for the full)."""
    found = []
    for seed in table.seeds:
        others = [s for s in table.seeds if s != seed]
        final = table.ap(branch, others[0] if mode == FULL and others else seed, FULL, EPOCHS)
        rung = table.ap(branch, seed, mode, epochs, scenes)
        chosen = final >= np.median(final) if half else np.ones(len(final), dtype=bool)
        found.append(float(spearmanr(rung[chosen], final[chosen])[0]))
    return float(np.mean(found))


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=Path, required=True)
    parser.add_argument("--cls", type=int, default=27)
    parser.add_argument("--reg", type=int, default=21)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--generation", type=int, default=12)
    parser.add_argument("--draws", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fill(arguments.trainings, {"cls-binary": arguments.cls, "reg": arguments.reg}, arguments.seeds)
    table = Table(read(arguments.trainings))
    table.simulate()
    print(report(table, arguments.generation, arguments.draws))


if __name__ == "__main__":
    main()
