"""Which scenes tell losses apart?

Trains the one-stage proxy with handcrafted pairs of losses on several kinds of scenes, and prints for each kind:
the AP of each pair after the short and the full schedule; how far the pairs lie apart (the spread) against the
deviation between seeds; and Spearman's rank correlation between the two schedules. Each pair's box weight is
tuned first, on seeds of its own, by the short schedule. Everything is scored on validation scenes.

    python benchmarks/scene_difficulty.py --kinds plain cluttered --workers 2

One kind takes about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from cse_autoloss.settings.tasks.detection import SceneSettings

KINDS = {
    "plain": SceneSettings(clutter=0, overlap=0.1, size=(12, 28)),
    "cluttered": SceneSettings(clutter=4, overlap=0.2, size=(12, 30)),
    "imbalanced": SceneSettings(clutter=4, overlap=0.2, size=(12, 30), class_exponent=0.7),
    "hard": SceneSettings(
        clutter=4, overlap=0.3, size=(10, 32), digits=(1, 5), contrast=(0.35, 1.0), noise=0.12
    ),
}
PAIRS = (
    ("bce", "giou"),
    ("focal", "giou"),
    ("focal-1", "giou"),
    ("poly-1", "giou"),
    ("quality-focal", "giou"),
    ("varifocal", "giou"),
    ("cse-autoloss-b-cls", "giou"),
    ("bce", "iou"),
    ("bce", "square-iou"),
    ("bce", "log-iou"),
    ("bce", "diou"),
    ("bce", "cse-autoloss-b-reg"),
    ("quality-focal", "iou"),
)
BOX_WEIGHTS = (1.0, 2.0)
TUNING_SEED = 1000


@dataclass(frozen=True)
class Job:
    """One training."""

    kind: str
    cls: str
    reg: str
    box_weight: float
    epochs: float
    seed: int


@cache
def _task(kind: str):
    from cse_autoloss.settings.tasks.detection import DetectionSettings
    from cse_autoloss.tasks.detection import DetectionTask

    return DetectionTask(DetectionSettings(data="digits", scenes=KINDS[kind]))


def run(job: Job) -> tuple[float, float]:
    """AP on the validation scenes and the processor seconds that it took."""
    import torch

    from cse_autoloss.losses import load_loss
    from cse_autoloss.tasks.protocol import Schedule

    torch.set_num_threads(1)
    cls = load_loss(job.cls, signature="cls-binary", reduction="sum")
    reg = load_loss(job.reg, signature="reg", reduction="sum")
    task = _task(job.kind)
    started = time.process_time()
    score = task.train(
        {"cls": cls, "reg": reg},
        seed=job.seed,
        schedule=Schedule(job.epochs),
        settings={"box_weight": job.box_weight},
        split="val",
    )
    return score.metrics.get("ap", 0.0), time.process_time() - started


def spearman(a: list[float], b: list[float]) -> float:
    """Rank correlation of two lists of the same length, ties ranked alike."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]

    return statistics.correlation(ranks(a), ranks(b))


class Results:
    """Trainings done so far, kept in a file of JSON lines, so that a run that was cut short goes on."""

    def __init__(self, path: Path | None, workers: int) -> None:
        self._path = path
        self._done: dict[Job, tuple[float, float]] = {}
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self._done[Job(**entry["job"])] = (entry["ap"], entry["seconds"])

    def of(self, jobs: list[Job]) -> list[tuple[float, float]]:
        """AP and seconds of each job; those not done yet are trained now."""
        missing = [job for job in jobs if job not in self._done]
        for job, (ap, seconds) in zip(missing, self._pool.map(run, missing), strict=True):
            self._done[job] = (ap, seconds)
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps({"job": asdict(job), "ap": ap, "seconds": seconds}) + "\n")
        return [self._done[job] for job in jobs]


def measure(kind: str, options: argparse.Namespace, results: Results) -> dict:
    """Tune, then train each pair with each seed by both schedules."""
    tuning = [
        Job(kind, *pair, weight, options.short, TUNING_SEED) for pair in PAIRS for weight in BOX_WEIGHTS
    ]
    tuned: dict[tuple[str, str], tuple[float, float]] = {}
    for job, (ap, _) in zip(tuning, results.of(tuning), strict=True):
        tuned[job.cls, job.reg] = max(tuned.get((job.cls, job.reg), (-1.0, 0.0)), (ap, job.box_weight))
    rows = {pair: {"cls": pair[0], "reg": pair[1], "box_weight": tuned[pair][1]} for pair in PAIRS}
    seconds = {}
    for key, epochs, seeds in (
        ("short", options.short, options.seeds),
        ("full", options.full, options.full_seeds),
    ):
        jobs = [Job(kind, *pair, tuned[pair][1], epochs, seed) for seed in range(seeds) for pair in PAIRS]
        found = results.of(jobs)
        seconds[key] = statistics.median(taken for _, taken in found)
        for job, (ap, _) in zip(jobs, found, strict=True):
            rows[job.cls, job.reg].setdefault(key, []).append(ap)
    return {"kind": kind, "rows": list(rows.values()), "seconds": seconds}


def _seed_deviation(lists: list[list[float]]) -> float:
    """Deviation between seeds, pooled over the pairs of losses."""
    if min(len(own) for own in lists) < 2:
        return float("nan")
    return statistics.fmean(statistics.variance(own) for own in lists) ** 0.5


def table(measured: dict) -> str:
    """Markdown: a row for each pair, best full schedule first, then what they say together."""
    rows = sorted(measured["rows"], key=lambda row: -statistics.fmean(row["full"]))
    lines = [
        f"### {measured['kind']}",
        "",
        "| classification | box | box weight | AP, short | AP, full |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = (
            f"{statistics.fmean(own) * 100:.1f}"
            + (f" ± {statistics.stdev(own) * 100:.1f}" if len(own) > 1 else "")
            for own in (row["short"], row["full"])
        )
        lines.append(f"| {row['cls']} | {row['reg']} | {row['box_weight']:g} | {' | '.join(cells)} |")
    lines.append("")
    means = {key: [statistics.fmean(row[key]) for row in rows] for key in ("short", "full")}
    for key, seconds in measured["seconds"].items():
        deviation = _seed_deviation([row[key] for row in rows])
        spread = statistics.stdev(means[key])
        lines.append(
            f"- {key} schedule: best − worst {100 * (max(means[key]) - min(means[key])):.1f}, deviation between "
            f"losses {100 * spread:.2f}, between seeds {100 * deviation:.2f} (ratio {spread / deviation:.1f}); "
            f"{seconds:.1f} processor seconds a training, scoring included"
        )
    lines.append(f"- Spearman's ρ between the schedules: {spearman(means['short'], means['full']):.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--short", type=float, default=6, help="epochs of the short schedule")
    parser.add_argument("--full", type=float, default=15, help="epochs of the full schedule")
    parser.add_argument("--seeds", type=int, default=3, help="seeds by the short schedule")
    parser.add_argument("--full-seeds", type=int, default=2, help="seeds by the full schedule")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--results", type=Path, help="file to keep each training's result in, and to go on from"
    )
    options = parser.parse_args()
    results = Results(options.results, options.workers)
    for kind in options.kinds:
        print(table(measure(kind, options, results)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
