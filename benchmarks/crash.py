"""Kills at random moments: after each the run is gone on with, and ends as the one that nobody disturbed.

    python benchmarks/crash.py [--what evolve reinforce study] [--kills 300] [--seed 0] [--write FILE.md]

Each series starts a run, kills something of it at a random moment (the whole group, the main process, a worker, or
both), goes on with it by --resume, and so on until it ends by itself; then its formulas, scores and summary, all but
times, are compared with the undisturbed run's. A series has six kills at most, so that each ends. Ten seconds after a
kill of the main process no process of the run may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cse_autoloss.runs import RunStore

VICTIMS = ("group", "main", "worker", "both")
KILLS_OF_SERIES, PATIENCE = 6, 10.0
TIMES = ("seconds", "overhead", "utilisation", "notes")
"""Keys of a summary that tell of time; among the notes is how often workers were lost."""
COMMANDS = {
    "evolve": ("evolve", "--config", "smoke", "--workers", "2", "--set", "evolution.random_fraction=0.5"),
    "reinforce": (
        *("reinforce", "--space", "search-softmax", "--data", "digits", "--model", "mlp", "--epochs", "3"),
        *("--samples", "2", "--seeds", "1", "--workers", "2", "--set", "reinforce.baselines=[softmax]"),
    ),
}
STUDY = """
import sys
import torch
from cse_autoloss import Study

def fit(loss):
    x = torch.linspace(-1, 1, 9).unsqueeze(1).requires_grad_()
    return float(loss(torch.cat([x, -x], 1), torch.arange(9) % 2).detach())

if __name__ == "__main__":
    with Study("cls-multiclass", directory=sys.argv[1], settings={"evolution.scouts": 200}) as study:
        if len(study) < 40:  # else it was killed after its last trial
            study.optimize(fit, trials=40 - len(study), workers=2)
"""


@dataclass
class Tally:
    """What came of one kind of run."""

    what: str
    series: int = 0
    kills: int = 0
    equal: int = 0
    orphans: int = 0
    stuck: int = 0

    def row(self) -> str:
        """Of the table."""
        return (
            f"| {self.what} | {self.kills} | {self.series} | {self.equal} | {self.orphans} | {self.stuck} |"
        )


def command(what: str, directory: Path, begun: bool) -> list[str]:
    """That starts the run, or goes on with it."""
    if what == "study":
        script = directory.with_suffix(".py")
        script.write_text(STUDY, encoding="utf-8")
        return [sys.executable, str(script), str(directory)]
    program = [sys.executable, "-m", "cse_autoloss.cli.app"]
    if begun:
        return [*program, COMMANDS[what][0], "--resume", str(directory), "--quiet"]
    return [*program, *COMMANDS[what], "--out", str(directory), "--quiet"]


def outcome(directory: Path) -> dict[str, Any]:
    """All that a run holds, less times and ids."""
    summary = directory / "summary.json"
    told = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
    with RunStore.read(directory) as store:
        candidates = [
            (
                c.slot,
                c.generation,
                c.place,
                c.formula,
                {s: v.accepted for s, v in store.verdicts(c.id).items()},
            )
            for c in store.candidates()
        ]
        # Probes that measure the machine are no result, nor is which score came first.
        scores = {s.key: (s.purpose, s.status, dict(s.metrics)) for s in store.scores() if s.seed >= 0}
    facts = {key: value for key, value in told.items() if key not in TIMES}
    return {"candidates": sorted(candidates, key=repr), "scores": scores, "summary": _timeless(facts)}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if not key.startswith("seconds")}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def children(parent: int) -> list[int]:
    """Processes whose parent it is."""
    try:
        return [int(text) for text in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def alive(process: int) -> bool:
    """Whether it is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def strike(process: subprocess.Popen[bytes], victim: str, rng: random.Random) -> list[int]:
    """Kills; the processes that have to be gone soon."""
    workers = children(process.pid)
    if victim in ("worker", "both") and workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim in ("main", "both"):
        process.kill()
    return [process.pid, *workers] if victim != "worker" else []


def orphans(processes: list[int]) -> int:
    """How many of them are there after `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return sum(map(alive, processes))


def whole(what: str, directory: Path) -> tuple[dict[str, Any], float]:
    """The undisturbed run's outcome, and its seconds."""
    begun = time.monotonic()
    subprocess.run(command(what, directory, False), check=True, stdout=subprocess.DEVNULL)
    return outcome(directory), time.monotonic() - begun


def series(what: str, directory: Path, seconds: float, kills: int, rng: random.Random, tally: Tally) -> float:
    """One run, killed so many times, to its end; the outcome stays in the directory.

    Returns:
        `seconds`, or those of a run that ended by itself before, where the machine is less busy by now.
    """
    from cse_autoloss.runs import holds_run

    tally.series += 1
    for turn in range(kills + 1):
        order, begun = command(what, directory, holds_run(directory)), time.monotonic()
        process = subprocess.Popen(
            order, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if turn < kills:
            try:
                process.wait(timeout=rng.uniform(0.0, seconds))
            except subprocess.TimeoutExpired:
                left = strike(process, rng.choice(VICTIMS), rng)
                tally.kills += 1
                if left:
                    process.wait()
                    tally.orphans += orphans(left)
                    continue
        # It went on after a worker's death, or nobody disturbs it any more.
        code = process.wait()
        if code == 0 and turn < kills:
            seconds = min(seconds, time.monotonic() - begun)
        if code == 0 and what != "study":
            return seconds
    tally.stuck += what != "study" or code != 0
    return seconds


def table(tallies: list[Tally]) -> str:
    """Of what came of each kind."""
    head = (
        "| run | kills | series | equal to the unbroken | orphans | ended badly |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(tally.row() for tally in tallies)])


def page(options: argparse.Namespace, tallies: list[Tally]) -> str:
    """The table under the command that prints it."""
    line = f"python benchmarks/crash.py --what {' '.join(options.what)}"
    line += f" --kills {options.kills} --seed {options.seed}"
    return f"# Kills at random moments\n\n`{line}`\n\n{table(tallies)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=[*COMMANDS, "study"], default=[*COMMANDS, "study"])
    parser.add_argument("--kills", type=int, default=300, help="in all of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    tallies = []
    for what in options.what:
        rng, tally = random.Random(f"{options.seed} {what}"), Tally(what)
        tallies.append(tally)
        with tempfile.TemporaryDirectory() as folder:
            expected, seconds = whole(what, Path(folder) / "whole")
            while tally.kills < options.kills:
                directory = Path(folder) / f"run-{tally.series}"
                most = min(KILLS_OF_SERIES, options.kills - tally.kills)
                seconds = series(what, directory, seconds, most, rng, tally)
                found = outcome(directory)
                tally.equal += found == expected
                for part in found:
                    if found[part] != expected[part]:
                        print(f"{what}, series {tally.series}: {part} differ", file=sys.stderr)
                # Hours of kills are kept, whatever ends them.
                print(tally.row(), file=sys.stderr, flush=True)
                if options.write:
                    options.write.write_text(page(options, tallies), encoding="utf-8")
    print(table(tallies))
    sys.exit(any(tally.equal < tally.series or tally.orphans or tally.stuck for tally in tallies))


if __name__ == "__main__":
    main()
