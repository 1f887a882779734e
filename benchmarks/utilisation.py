"""What the workers of a search do with their time.

    cse-autoloss evolve --budget 4m --workers 2 --out RUN
    python benchmarks/utilisation.py runs RUN [RUN …]

All figures come from the runs' stores: seconds are those that each job took in its worker, against wall time times
workers. Runs from before the summary told this are read too.

    python benchmarks/utilisation.py asleep --seconds 120 --workers 2

A search whose workers sleep for as long as a job takes on a quiet core, and then make a score up. All else is real:
breeding, filters, store, loop. So it shows the idleness that is the loop's own fault, also on a machine that is busy.
"""

import argparse
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cse_autoloss.bench.budget import Cost, RunSize
from cse_autoloss.bench.progress import SEARCH_STAGES, Clock, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.loop import SearchLoop
from cse_autoloss.discovery.run import _Run, _starters
from cse_autoloss.executors import Job, JobResult, Work
from cse_autoloss.executors.pool import PoolExecutor
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.registry import make_search
from cse_autoloss.settings.load import SearchConfig, load_config
from cse_autoloss.verdict import Verdict

COLUMNS = (
    "run", "search, s", "candidates tried", "whole trainings", "training", "simulation", "best on val, by slot",
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
    tried = {tuple(s.losses.values()) for s in scores if s.purpose in ("rung", "proxy") and s.seed >= 0}
    whole = sum(s.purpose == "proxy" and s.seed >= 0 for s in scores)
    factor, toward = summary["metric"]["factor"], max if summary["metric"]["higher"] else min
    best = ", ".join(
        f"{slot} {toward(m['val'] for m in members) * factor:.1f}"
        for slot, members in sorted(summary["hall_of_fame"].items())
        if members
    )
    return [
        directory.name,
        f"{wall['proxy']:.0f}",
        str(len(tried)),
        str(whole),
        f"{share['proxy']:.0%}",
        "not told" if simulation is None else f"{simulation:.0%}",
        best,
        f"{share['tune']:.0%}",
        f"{share['audit']:.0%}",
    ]


class Asleep:
    """An executor whose workers sleep; seconds are those of a quiet core (docs/benchmarks/halving.md)."""

    EPOCH, SCENE, SIMULATION = 0.5, 0.00075, 0.009

    def __init__(self, workers: int) -> None:
        self._pool = PoolExecutor(
            Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act", {}), workers
        )
        self._jobs: dict[str, Job] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def submit(self, job: Job) -> None:
        """Send the worker to sleep."""
        self._jobs[job.key] = job
        self._pool.submit(Job(job.key, {"do": "sleep", "seconds": self._seconds(job.payload)}))

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        """A made-up result: half of the candidates learn, and AP is drawn from the formulas' hash."""
        result = self._pool.next_result(timeout)
        if result is None:
            return None
        payload = self._jobs.pop(result.key).payload
        if payload["kind"] == "simulate":
            told = [
                Verdict("simulate", zlib.crc32(f.encode()) % 2 == 0, "", 0.5).to_dict()
                for f in payload["formulas"]
            ]
            return replace(result, value={"verdicts": told})
        ap = zlib.crc32(" ".join(payload["losses"].values()).encode()) / 2**32
        return replace(result, value={"status": "ok", "metrics": {"ap": ap}})

    def _seconds(self, payload: Mapping[str, Any]) -> float:
        if payload["kind"] == "simulate":
            return self.SIMULATION * len(payload["formulas"])
        schedule, paused = payload["schedule"], payload["state"] is not None
        until = schedule["until"]
        # What goes on after a pause has a sixth of the schedule behind it.
        epochs = until if until is not None else schedule["epochs"] * (5 / 6 if paused else 1)
        return self.EPOCH * epochs + self.SCENE * (schedule["score_limit"] or 400)


def asleep(config: SearchConfig, seconds: float, workers: int, offspring: int) -> str:
    """Search for so long; what the workers did."""
    with tempfile.TemporaryDirectory() as folder, RunStore.create(Path(folder) / "run", {}) as store:
        session = Session(config)
        run = _Run(session, store, Silent(), _starters(session))
        cost = Cost(Asleep.EPOCH, 400 * Asleep.SCENE)
        audit = session.asked_audit()
        size = RunSize(seconds, config.proxy.epochs, 1.0, offspring, config.evolution.combine, audit, ())
        executor: Any = Asleep(workers)
        try:
            bench = Workbench(executor, store, run.clock, run.status, Silent())
            bench.run([Job(f"warm {i}", {"kind": "simulate", "formulas": []}) for i in range(workers)])
            search = make_search(
                config,
                {slot: session.task.slots[slot] for slot in session.slots},
                {slot: [e.proposal.graph for e in own] for slot, own in run.starters.items()},
            )
            run.clock = Clock(None)
            bench.clock = run.clock
            state = SearchLoop(session, run._search_plan(size, cost), search, run.starters, bench).run()
        finally:
            executor.shutdown()
    used = bench.clock.utilisation(workers)["search"]
    wall = {stage: round(value, 1) for stage, value in bench.clock.seconds.items()}
    return (
        f"{workers} workers asleep for {seconds:g} s, slots {', '.join(session.slots)}: "
        f"{state.generation} generations, {bench.status.funnel['trained']} whole trainings; "
        f"{used['training']:.1%} of the workers' time training, {used['simulation']:.1%} simulating. "
        f"The main process waited or worked, s: {wall}"
    )


def main() -> None:
    """Print the table, or search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("runs")
    runs.add_argument("runs", type=Path, nargs="+")
    runs.add_argument("--workers", type=int, default=2, help="of runs that do not tell")
    sleep = commands.add_parser("asleep")
    sleep.add_argument("--seconds", type=float, default=120)
    sleep.add_argument("--workers", type=int, default=2)
    sleep.add_argument("--offspring", type=int, default=8)
    sleep.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.command == "asleep":
        config = load_config("detection", dict(pair.split("=", 1) for pair in arguments.set))
        print(asleep(config, arguments.seconds, arguments.workers, arguments.offspring))
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for directory in arguments.runs:
        print(f"| {' | '.join(row(directory, arguments.workers))} |")


if __name__ == "__main__":
    main()
