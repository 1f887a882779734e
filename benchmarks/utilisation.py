"""What the workers of a search do with their time.

    cse-autoloss evolve --budget 4m --workers 2 --out RUN
    python benchmarks/utilisation.py runs RUN [RUN …]

All figures come from the runs' stores: seconds are those that each job took in its worker, against wall time times
workers. Runs from before the summary told this are read too.

    python benchmarks/utilisation.py asleep --seconds 120 --workers 2

A search whose workers sleep for as long as a job takes on a quiet core, and then make a score up. All else is real:
breeding, filters, store, loop. So it shows the idleness that is the loop's own fault. Nobody really sleeps: time is the
main process's processor time and what it would have waited, so that a busy machine is no matter and 1,024 workers fit.

    python benchmarks/utilisation.py pool --workers 256

What that leaves out: the pool itself, its processes and pipes. Real workers that sleep, without torch; what a job costs
the main process's processor, and what a worker holds of the memory.
"""

import argparse
import heapq
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cse_autoloss.bench import worker
from cse_autoloss.bench.budget import Cost, RunSize
from cse_autoloss.bench.progress import SEARCH_STAGES, Clock, RunStatus, Silent
from cse_autoloss.bench.schedule import Workbench
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.loop import SearchLoop
from cse_autoloss.discovery.run import SearchRun
from cse_autoloss.executors import Job, JobResult, Work
from cse_autoloss.executors.base import ExecutorBase
from cse_autoloss.executors.pool import PoolExecutor
from cse_autoloss.runs import RunStore
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


class QuietTime:
    """The main process's processor time, and what it has slept: a machine that others use too is no matter, and
    nobody waits for sleepers."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return time.process_time() + self.slept


class Asleep(ExecutorBase):
    """An executor whose workers sleep; seconds are those of a quiet core (docs/benchmarks/halving.md).

    The workers are no processes, so that a thousand of them fit: a job's result is there when its time has passed.
    """

    EPOCH, SCENE, SIMULATION = 0.5, 0.00075, 0.009

    def __init__(self, workers: int, now: QuietTime, config: SearchConfig) -> None:
        self.workers, self._now = workers, now
        self._context = worker.init({"config": config.model_dump(mode="json"), "device": "cpu"})
        self._running: list[tuple[float, str]] = []
        self._begun: dict[str, tuple[float, Job, dict[str, Any] | None]] = {}

    @property
    def pending(self) -> int:
        """Workers that sleep."""
        return len(self._running)

    @property
    def idle(self) -> int:
        """Workers that don't."""
        return self.workers - len(self._running)

    def submit(self, job: Job) -> None:
        """Send a worker to sleep, or to breed: that it does here, but its time is not the main process's."""
        now = self._now()
        begun = time.process_time()
        told = worker.run(self._context, dict(job.payload)) if job.payload["kind"] == "breed" else None
        took = time.process_time() - begun
        self._now.slept -= took
        self._begun[job.key] = now, job, told
        heapq.heappush(self._running, (now + (took if told else self._seconds(job.payload)), job.key))

    def next_result(self, timeout: float | None = None) -> JobResult | None:
        """A made-up result: half of the candidates learn, and AP is drawn from the formulas' hash."""
        if not self._running:
            return None
        rest = self._running[0][0] - self._now()
        if rest > 0:
            self._now.slept += min(rest, rest if timeout is None else timeout)
            if timeout is not None and timeout < rest:
                return None
        end, key = heapq.heappop(self._running)
        begun, job, told = self._begun.pop(key)
        return JobResult(key, "ok", told or self._told(job.payload), "", end - begun, 1)

    def cancel(self) -> list[str]:
        """Wake all."""
        dropped = sorted(self._begun)
        self._running.clear()
        self._begun.clear()
        return dropped

    def shutdown(self) -> None:
        """Wake all."""
        self.cancel()

    def _told(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        if payload["kind"] == "simulate":
            told = [
                Verdict("simulate", zlib.crc32(f.encode()) % 2 == 0, "", 0.5).to_dict()
                for f in payload["formulas"]
            ]
            return {"verdicts": told}
        ap = zlib.crc32(" ".join(payload["losses"].values()).encode()) / 2**32
        return {"status": "ok", "metrics": {"ap": ap}}

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
        run, status = SearchRun(session), RunStatus()
        run.store = store
        cost = Cost(Asleep.EPOCH, 400 * Asleep.SCENE)
        audit = session.asked_audit()
        size = RunSize(seconds, config.proxy.epochs, 1.0, offspring, config.evolution.combine, audit, ())
        now = QuietTime()
        time.monotonic = time.perf_counter = now
        clock, executor = Clock(None), Asleep(workers, now, config)
        began = time.process_time()
        try:
            bench = Workbench(executor, store, clock, status, Silent())
            state = SearchLoop(session, run._search_plan(size, cost), run.search, run.starters, bench).run()
        finally:
            executor.shutdown()
    used = bench.clock.utilisation(workers)["search"]
    processor = time.process_time() - began
    wall = {stage: round(value, 1) for stage, value in bench.clock.seconds.items()}
    return (
        f"{workers} workers asleep for {seconds:g} s, slots {', '.join(session.slots)}: "
        f"{state.generation} generations, {bench.status.funnel['trained']} whole trainings; "
        f"{used['training']:.1%} of the workers' time training, {used['simulation']:.1%} simulating. "
        f"The main process waited or worked, s: {wall}; its processor worked {processor:.0f} s"
    )


def pool(workers: int, seconds: float, jobs: int) -> str:
    """So many jobs that sleep, in a real pool that is kept full; what that costs, without the workers' start."""
    work = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")
    chance = random.Random(0)
    with PoolExecutor(work, workers) as executor:
        for number in range(workers):
            executor.submit(Job(f"warm {number}", {"do": "process"}))
        pids = {result.value["pid"] for result in executor.as_completed()}
        held = sorted(filter(None, map(_held, pids)))
        begun, worked, given, done = time.monotonic(), time.process_time(), 0, 0
        while done < jobs:
            while executor.idle and given < jobs:
                long = seconds * (0.5 + chance.random())  # so that they do not all end at once
                executor.submit(Job(str(given), {"do": "sleep", "seconds": long}, limit=600.0))
                given += 1
            done += executor.next_result() is not None
        wall, took = time.monotonic() - begun, time.process_time() - worked
    memory = f"{held[len(held) // 2] / 1e6:.1f} MB" if held else "not told"
    return (
        f"{workers} workers, {jobs} jobs that sleep {seconds:g} s in the mean: {wall:.1f} s by the clock; "
        f"{1e3 * took / jobs:.2f} ms of the main process's processor a job; a worker's own memory: {memory}"
    )


def _held(process: int) -> int:
    """Bytes that are a process's own, shared ones by their part; 0 where the system does not tell."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:")), 0)


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
    sleep.add_argument("--epoch", type=float, default=Asleep.EPOCH, help="seconds that one takes, of ten")
    sleep.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    real = commands.add_parser("pool")
    real.add_argument("--workers", type=int, default=64)
    real.add_argument("--seconds", type=float, default=1.0, help="that a job sleeps")
    real.add_argument("--jobs", type=int, help="by default four for each worker")
    arguments = parser.parse_args()
    if arguments.command == "pool":
        print(pool(arguments.workers, arguments.seconds, arguments.jobs or 4 * arguments.workers))
        return
    if arguments.command == "asleep":
        Asleep.EPOCH = arguments.epoch
        config = load_config("detection", dict(pair.split("=", 1) for pair in arguments.set))
        print(asleep(config, arguments.seconds, arguments.workers, arguments.offspring))
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for directory in arguments.runs:
        print(f"| {' | '.join(row(directory, arguments.workers))} |")


if __name__ == "__main__":
    main()
