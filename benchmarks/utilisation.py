"""What the workers of finished runs did with their time, and what came of it.

    cse-autoloss evolve --budget 4m --workers 2 --out RUN
    python benchmarks/utilisation.py RUN [RUN …]

All figures come from the runs' stores: seconds are those that each job took in its worker, against wall time times
workers. Runs from before the summary told this are read too.
"""

import argparse
from collections import Counter
from pathlib import Path

from cse_autoloss.progress import SEARCH_STAGES
from cse_autoloss.runs import RunStore

COLUMNS = (
    "run", "search, s", "candidates tried", "whole trainings", "training", "simulation", "best val AP cls", "reg",
    "tuning busy", "audit busy",
)  # fmt: skip


def row(directory: Path, workers: int) -> list[str]:
    """One run's figures."""
    with RunStore.read(directory) as store:
        clock, summary = store.meta("clock"), store.meta("summary")
        scores = store.scores()
    busy: Counter[str] = Counter()
    for score in scores:
        if score.seed >= 0:  # below 0: how fast the machine is was measured
            busy["proxy" if score.purpose == "rung" else score.purpose] += score.seconds
    told = summary.get("utilisation", {})
    workers = told.get("workers", workers)
    wall = {"proxy": sum(clock["seconds"].get(stage, 0.0) for stage in SEARCH_STAGES), **{
        stage: clock["seconds"].get(stage, 0.0) for stage in ("tune", "audit")
    }}  # fmt: skip
    share = {stage: busy[stage] / (seconds * workers) if seconds else 0.0 for stage, seconds in wall.items()}
    simulation = told.get("search", {}).get("simulation")
    tried = {(s.cls, s.reg) for s in scores if s.purpose in ("rung", "proxy") and s.seed >= 0}
    whole = sum(s.purpose == "proxy" and s.seed >= 0 for s in scores)
    best = [
        f"{max(m['val_ap'] for m in members) * 100:.1f}"
        for _, members in sorted(summary["hall_of_fame"].items())
    ]
    return [
        directory.name,
        f"{wall['proxy']:.0f}",
        str(len(tried)),
        str(whole),
        f"{share['proxy']:.0%}",
        "not told" if simulation is None else f"{simulation:.0%}",
        *best,
        f"{share['tune']:.0%}",
        f"{share['audit']:.0%}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=2, help="of runs that do not tell")
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for directory in arguments.runs:
        print(f"| {' | '.join(row(directory, arguments.workers))} |")


if __name__ == "__main__":
    main()
