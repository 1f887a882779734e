"""Does a short schedule rank losses as the audit's does? The losses that matter are those that a search likes.

    python benchmarks/schedules.py train --losses RUN --out FILE [--seeds 91 92] [--epochs 6 10 15]
    python benchmarks/schedules.py table --out benchmarks/schedules.jsonl

`train` takes handcrafted classification losses, the best fourteen that the run discovered, and eight of the next
forty-six, and trains each beside 1 − IoU² on the default task, by each schedule and with each seed; and the first seed
of the ten epochs also up to pauses, on the same schedule, as a rung of successive halving does. Every training is a
line in the file; what is there is not trained again. `table` prints Spearman's ρ between the scores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

HANDCRAFTED = ("bce", "focal", "focal-1", "quality-focal", "varifocal", "cse-autoloss-b-cls")
PARTNER = "square-iou"
PAUSED = 10.0
PAUSES = ((1.667, 100), (3.333, 100), (5.0, 200))
"""Epochs of the ten, and validation scenes that are scored there."""
Key = tuple[float, float | None, int]
"""Schedule, pause, seed."""


def chosen(run: Path) -> list[str]:
    """Handcrafted losses, the best that the run discovered, and some that are less good."""
    with sqlite3.connect(f"file:{run / 'run.sqlite'}?mode=ro", uri=True) as store:
        rows = store.execute(
            "SELECT losses ->> '$.cls', avg(metrics ->> '$.ap') FROM scores WHERE purpose = 'proxy'"
            " AND status = 'ok' AND split = 'val' AND losses ->> '$.reg' = 'giou' GROUP BY 1 ORDER BY 2 DESC"
        ).fetchall()
    found = [row[0] for row in rows]
    return [*HANDCRAFTED, *found[:14], *random.Random(0).sample(found[14:60], min(8, len(found[14:60])))]


def train(losses: list[str], seeds: list[int], schedules: list[float], path: Path) -> None:
    """Do every training that the file lacks."""
    from cse_autoloss.bench.jobs import Training
    from cse_autoloss.bench.session import Session
    from cse_autoloss.executors import Job
    from cse_autoloss.settings.load import load_config

    session = Session(
        load_config("detection", {"detection.data": "digits", "executor": "inprocess", "device": "cpu"})
    )
    done = {(line["cls"], line["epochs"], line["until"], line["seed"]) for line in lines(path)}
    wanted: list[tuple[float, float | None, int | None, int]] = [
        (epochs, None, None, seed) for seed in seeds for epochs in schedules
    ]
    wanted += [(PAUSED, until, scenes, seeds[0]) for until, scenes in PAUSES]
    with session.executor() as executor:
        for epochs, until, scenes, seed in wanted:
            for cls in losses:
                if (cls, epochs, until, seed) in done:
                    continue
                training = Training("proxy", session.untuned({"cls": cls, "reg": PARTNER}), seed, epochs)
                if until is not None:
                    training = training.rung(until, scenes)
                executor.submit(Job(training.key, training.payload(), 600.0))
                result = executor.next_result()
                assert result is not None
                score = training.score(result.status, result.value, result.detail, result.seconds)
                line = {
                    "cls": cls,
                    "epochs": epochs,
                    "until": until,
                    "seed": seed,
                    "ap": score.metrics.get("ap"),
                    "seconds": round(score.seconds, 2),
                }
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def table(path: Path) -> str:
    """ρ between each two schedules and seeds, as Markdown."""
    found: dict[Key, dict[str, float]] = {}
    for line in lines(path):
        found.setdefault((line["epochs"], line["until"], line["seed"]), {})[line["cls"]] = line["ap"] or 0.0
    whole = [key for key in sorted(found, key=str) if key[1] is None]
    schedules = sorted({key[0] for key in whole})
    text = ["| ranked after | with the ranks after | ρ, seed by seed | mean |", "|---|---|---|---:|"]
    for one, two in itertools.combinations_with_replacement(schedules, 2):
        rhos = [
            _rho(found[a], found[b])
            for a in whole
            for b in whole
            if a[0] == one and b[0] == two and (a < b if one == two else True)
        ]
        if rhos:
            text.append(_row(f"{one:g} epochs", f"{two:g} epochs", rhos))
    for key in sorted((key for key in found if key[1] is not None), key=str):
        for schedule in schedules:
            rhos = [_rho(found[key], found[other]) for other in whole if other[0] == schedule]
            text.append(_row(f"{key[1]:.1f} of {key[0]:g} epochs", f"{schedule:g} epochs", rhos))
    return "\n".join(text)


def _rho(one: dict[str, float], two: dict[str, float]) -> float:
    both = sorted(set(one) & set(two))
    return float(spearmanr([one[loss] for loss in both], [two[loss] for loss in both]).statistic)


def _row(one: str, two: str, rhos: list[float]) -> str:
    values = ", ".join(f"{rho:.2f}" for rho in rhos)
    return f"| {one} | {two} | {values} | {sum(rhos) / len(rhos):.2f} |"


def main() -> None:
    """Parse and do one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("train", "table"))
    parser.add_argument("--out", type=Path, required=True, help="JSON lines of the trainings")
    parser.add_argument("--losses", type=Path, help="a search's directory; by default the losses in --out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[91, 92])
    parser.add_argument("--epochs", type=float, nargs="+", default=[6.0, 10.0, 15.0])
    options = parser.parse_args()
    if options.step == "train":
        known = list(dict.fromkeys(line["cls"] for line in lines(options.out)))
        losses = chosen(options.losses) if options.losses else known
        train(losses, options.seeds, options.epochs, options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
