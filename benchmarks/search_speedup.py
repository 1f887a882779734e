"""What the funnel is worth: plain evolution, random search with the funnel, and the full search, to the same score.

    python benchmarks/search_speedup.py targets --seeds 0 1 2 --out speedup.jsonl
    python benchmarks/search_speedup.py run plain --seed 0 --cap 900 --out speedup.jsonl
    python benchmarks/search_speedup.py run random --seed 0 --cap 600 --out speedup.jsonl
    python benchmarks/search_speedup.py run full --seed 0 --cap 600 --out speedup.jsonl
    python benchmarks/search_speedup.py table --out speedup.jsonl

All search a classification loss beside GIoU, from random losses, with the population and the rates of the default
configuration and a proxy of 6 epochs, in one process. Plain evolution trains every distinct candidate: nothing is
verified or simulated. A target is what a handcrafted loss scores on the validation scenes with the same seed, box
weight and learning rate; an arm has reached it when a candidate's first training, on the whole schedule, scores as
much. Time starts when the process does; processor time is that of the process and its children. Every training is a
line in the file as soon as it ends, so that arms can run one at a time and be cut short.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

TARGETS = ("bce", "focal", "best", "beyond")
"""Names of handcrafted losses; "best" is whichever of the catalogue's scores highest, "beyond" is 2 AP more."""
LABELS = {"best": "the catalogue's best", "beyond": "2 AP above the catalogue's best"}
PARTNER = "giou"
BRANCH = "cls-binary"
EPOCHS = 6.0
"""Of a whole proxy training: shorter than the default, which makes plain evolution cheaper."""
LIMIT = 60.0
"""Wall seconds after which a training of plain evolution is ended: one takes about 6."""
ARMS = {
    "plain": "plain evolution",
    "random": "random search with the funnel",
    "full": "full search",
}
FUNNEL: dict[str, dict[str, Any]] = {
    "random": {
        "evolution__random_fraction": 1.0,
        "evolution__scouts": 1_000_000,
        "evolution__attempts": 1,
        "evolution__elite": 0,
    },
    "full": {
        "evolution__random_fraction": 0.3,
        "evolution__scouts": 1_000_000,
        "evolution__offspring": 8,
        "evolution__choose_from": 4.0,
    },
}
"""How the arms with a funnel differ from the default configuration."""


class Log:
    """Lines of one arm's run, with wall and processor seconds since the process began."""

    def __init__(self, path: Path, arm: str, seed: int, before: Mapping[str, float] | None = None) -> None:
        """`before`: wall and processor seconds that an earlier process of the same run took."""
        self._path = path
        self._facts = {"arm": arm, "seed": seed}
        self._before = before or {"wall": 0.0, "cpu": 0.0}
        self._born = time.time() - time.process_time() - self._before["wall"]

    @property
    def wall(self) -> float:
        return time.time() - self._born

    def cpu(self) -> float:
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return own + self._before["cpu"]

    def write(self, kind: str, **values: Any) -> None:
        line = {
            **self._facts,
            "kind": kind,
            "wall": round(self.wall, 2),
            "cpu": round(self.cpu(), 2),
            **values,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def settings(seed: int) -> Any:
    """The configuration that all arms share."""
    from cse_autoloss.settings.load import load_config

    options = {
        "slot": "cls",
        "seed": seed,
        "device": "cpu",
        "detection.data": "digits",
        "executor": "inprocess",
        "generations": 100_000,
        "proxy.epochs": EPOCHS,
    }
    # The rung that the tables were measured with: the best third goes on.
    options |= {"evolution.handcrafted_seeds": False, "proxy.keep": 0.3333, "proxy.floor": 0.0}
    return load_config("detection", options)


def first_seed(seed: int) -> int:
    """The seed of every candidate's first training."""
    from cse_autoloss.bench.session import SEEDS_OF_SEARCH

    return seed * 10_000 + SEEDS_OF_SEARCH


@contextlib.contextmanager
def trainer(config: Any, seed: int) -> Iterator[Callable[[str], tuple[str, float]]]:
    """A function from a formula or name to status and AP of its training; it ends those that take too long."""
    from cse_autoloss.bench.jobs import Training
    from cse_autoloss.bench.session import Session
    from cse_autoloss.executors import Job

    session = Session(config)
    with session.executor() as executor:

        def train(cls: str) -> tuple[str, float]:
            losses = session.untuned({"cls": cls, "reg": PARTNER})
            training = Training("proxy", losses, first_seed(seed), config.proxy.epochs)
            executor.submit(Job(training.key, training.payload(), LIMIT))
            result = executor.next_result()
            assert result is not None
            score = training.score(result.status, result.value, result.detail, result.seconds)
            return score.status, score.metrics.get("ap", 0.0)

        yield train


def targets(seeds: list[int], path: Path) -> None:
    """Train the catalogue's losses, which set the marks."""
    from cse_autoloss.losses import list_losses

    for seed in seeds:
        with trainer(settings(seed), seed) as train:
            for entry in list_losses(BRANCH):
                log = Log(path, "target", seed)
                status, ap = train(entry.name)
                log.write("target", formula=entry.name, status=status, ap=ap)
                print(f"seed {seed}: {entry.name} + {PARTNER}: AP {ap * 100:.2f} ({status})", flush=True)


def known_targets(path: Path, seed: int) -> dict[str, float]:
    """Target -> AP for the training seed of that run."""
    found = {
        line["formula"]: line["ap"]
        for line in lines(path)
        if line["kind"] == "target" and line["seed"] == seed
    }
    if not {"bce", "focal"} <= set(found):
        raise SystemExit(f"{path} has no targets for seed {seed}: run `targets --seeds {seed}` first")
    best = max(found.values())
    return {"bce": found["bce"], "focal": found["focal"], "best": best, "beyond": best + 0.02}


def run_plain(seed: int, cap: float, path: Path) -> None:
    """Evolution that trains every candidate that it has not trained before.

    A run that is in the file is gone on with: what it trained is not trained again, and its clocks run on.
    """
    from cse_autoloss.searches.evolution import Evolution
    from cse_autoloss.searches.protocol import Member
    from cse_autoloss.spaces import SIGNATURES

    goal = max(known_targets(path, seed).values())
    own = [line for line in lines(path) if (line["arm"], line["seed"]) == ("plain", seed)]
    past = {line["formula"]: (line["status"], line["ap"]) for line in own if line["kind"] == "training"}
    log, config = Log(path, "plain", seed, own[-1] if own else None), settings(seed)
    with trainer(config, seed) as train:
        evolution = Evolution(config.evolution, {"cls": SIGNATURES[BRANCH]}, seed)
        state, known = evolution.init(), set[str]()
        log.write("start", cap=cap)
        while True:
            members, attempt = [], 0
            while len(members) < config.evolution.offspring:
                for proposal in evolution.ask(state, attempt, config.evolution.batch):
                    graph = proposal.graph
                    if graph.digest in known or len(members) >= config.evolution.offspring:
                        continue
                    known.add(graph.digest)
                    if graph.formula in past:
                        status, ap = past[graph.formula]
                    else:
                        status, ap = train(graph.formula)
                        log.write(
                            "training",
                            formula=graph.formula,
                            status=status,
                            ap=ap,
                            epochs=config.proxy.epochs,
                        )
                    # One that failed takes its place in the generation, but never becomes a parent.
                    scores = (ap,) if status == "ok" else ()
                    members.append(
                        Member(graph.formula, graph.digest, proposal.origin, state.generation, scores)
                    )
                    if ap >= goal or log.wall > cap:
                        log.write("end", reason="goal" if ap >= goal else "cap")
                        return
                attempt += 1
            state = evolution.tell(state, tuple(members))


class Watch:
    """Follows a run by its store, and ends it when the goal or the cap is reached."""

    def __init__(self, directory: Path, log: Log, goal: float, cap: float, seed: int, epochs: float) -> None:
        self._file, self._log, self._goal, self._cap = directory / "run.sqlite", log, goal, cap
        self._seed, self._epochs = seed, epochs
        self._seen: set[str] = set()
        self.reason = "cap"
        self.counts: dict[str, int] = {}

    def update(self, status: Any) -> None:
        """Called after every training, and a few times a second."""
        if self.reason == "goal" or not self._file.exists():
            return
        self.counts = dict(status.funnel)
        for key, formula, state, ap, epochs, seed, extra in self._new():
            self._seen.add(key)
            first = seed == self._seed and epochs == self._epochs
            # A training that was paused on the way is scored at every pause: each line counts what it added.
            epochs = json.loads(extra).get("epochs_trained", epochs)
            self._log.write(
                "training", formula=formula, status=state, ap=ap or 0.0, epochs=epochs, first=first
            )
            if first and (ap or 0.0) >= self._goal:
                self.reason = "goal"
        if self.reason == "goal" or self._log.wall > self._cap:
            raise KeyboardInterrupt

    def _new(self) -> Iterator[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self._file}?mode=ro", uri=True) as store:
            rows = store.execute(
                "SELECT key, losses ->> '$.cls', status, metrics ->> '$.ap', epochs, seed, extra FROM scores"
                " WHERE seed >= 0 AND split = 'val'"
                " ORDER BY created"
            ).fetchall()
        store.close()
        return iter([row for row in rows if row[0] not in self._seen])


def run_funnel(arm: str, seed: int, cap: float, path: Path) -> None:
    """A search of this package, ended at the goal."""
    import cse_autoloss

    goal = max(known_targets(path, seed).values())
    log = Log(path, arm, seed)
    log.write("start", cap=cap)
    config = settings(seed)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(Path(folder) / "run", log, goal, cap, first_seed(seed), config.proxy.epochs)
        cse_autoloss.evolve(
            out=Path(folder) / "run",
            detection__data="digits",
            executor="inprocess",
            device="cpu",
            slot="cls",
            seed=seed,
            generations=100_000,
            budget=None,
            observer=watch,
            evolution__handcrafted_seeds=False,
            proxy__epochs=EPOCHS,
            **FUNNEL[arm],
        )
        log.write("end", reason=watch.reason, funnel=watch.counts)


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def reached(arm: str, seed: int, target: float, found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Where an arm first scored as much: wall, cpu, proxies and whole trainings' worth; None where there is no run."""
    own = [line for line in found if line["arm"] == arm and line["seed"] == seed]
    if not own:
        return None
    trainings = [line for line in own if line["kind"] == "training"]
    for place, line in enumerate(trainings):
        if line.get("first", True) and line["ap"] >= target:
            worth = sum(t["epochs"] for t in trainings[: place + 1]) / EPOCHS
            return {
                "done": True,
                "wall": line["wall"],
                "cpu": line["cpu"],
                "proxies": place + 1,
                "worth": worth,
            }
    worth = sum(t["epochs"] for t in trainings) / EPOCHS
    last = own[-1]
    return {
        "done": False,
        "wall": last["wall"],
        "cpu": last["cpu"],
        "proxies": len(trainings),
        "worth": worth,
    }


def table(path: Path) -> str:
    """The comparison as markdown: one line for each target and arm."""
    found = lines(path)
    seeds = sorted({line["seed"] for line in found if line["kind"] == "target"})
    text = []
    for name in TARGETS:
        marks = {s: known_targets(path, s)[name] for s in seeds}
        values = ", ".join(f"{100 * mark:.2f}" for mark in marks.values())
        text += [f"### To {LABELS.get(name, name)} + {PARTNER} (AP {values})", ""]
        text += [
            "| arm | wall s, seed by seed | CPU s | proxies | whole proxies' worth | plain ÷ this: wall | CPU |"
        ]
        text += ["|---|---|---|---|---|---:|---:|"]
        runs = {arm: {s: reached(arm, s, marks[s], found) for s in seeds} for arm in ARMS}
        for arm, label in ARMS.items():
            own = {s: run for s, run in runs[arm].items() if run is not None}
            if not own:
                continue
            cells = [
                ", ".join(("" if run["done"] else "> ") + format(run[what], ".0f") for run in own.values())
                for what in ("wall", "cpu", "proxies", "worth")
            ]
            ratios = [_ratio(runs["plain"], own, what) if arm != "plain" else "1" for what in ("wall", "cpu")]
            text.append(f"| {label} | {' | '.join(cells)} | {' | '.join(ratios)} |")
        text.append("")
    text += [
        "`>`: not reached by then. `≥`: a lower bound, because plain evolution did not get there in its cap.",
        "",
    ]
    text += _best(found, seeds)
    return "\n".join(text)


def _ratio(plain: dict[int, Any], own: dict[int, Any], what: str) -> str:
    """Geometric mean over the seeds of plain ÷ own."""
    both = [(plain[s], own[s]) for s in own if plain.get(s) is not None]
    if not both or not all(mine["done"] for _, mine in both):
        return "–"
    mean = statistics.geometric_mean([theirs[what] / mine[what] for theirs, mine in both])
    return ("" if all(theirs["done"] for theirs, _ in both) else "≥ ") + f"{mean:.1f}"


def _best(found: list[dict[str, Any]], seeds: list[int]) -> list[str]:
    """What each run trained; `verified`: of these, how many have the convergence properties."""
    from cse_autoloss.spaces import parse
    from cse_autoloss.verification import verify_population

    text = ["| arm | seed | trained | verified | failed | above 10 AP | best AP | best formula |"]
    text += ["|---|---:|---:|---:|---:|---:|---:|---|"]
    for arm, label in ARMS.items():
        for seed in seeds:
            own = [t for t in found if (t["arm"], t["seed"], t["kind"]) == (arm, seed, "training")]
            if not own:
                continue
            formulas = sorted({t["formula"] for t in own})
            right = sum(v.accepted for v in verify_population([parse(f, BRANCH) for f in formulas]))
            best = max(own, key=lambda t: t["ap"])
            failed = len({t["formula"] for t in own if t["status"] != "ok"})
            learnt = len({t["formula"] for t in own if t["ap"] > 0.1})
            text.append(
                f"| {label} | {seed} | {len(formulas)} | {right} | {failed} | {learnt} | {100 * best['ap']:.2f} |"
                f" `{best['formula']}` |"
            )
    return text


def main() -> None:
    """Parse and do one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("targets", "run", "table"):
        one = steps.add_parser(step)
        one.add_argument("--out", type=Path, required=True, help="JSON lines of all arms")
        if step == "targets":
            one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        if step == "run":
            one.add_argument("arm", choices=list(ARMS))
            one.add_argument("--seed", type=int, default=0)
            one.add_argument("--cap", type=float, default=900.0, help="wall seconds")
    arguments = parser.parse_args()
    if arguments.step == "targets":
        targets(arguments.seeds, arguments.out)
    elif arguments.step == "table":
        print(table(arguments.out))
    elif arguments.arm == "plain":
        run_plain(arguments.seed, arguments.cap, arguments.out)
    else:
        run_funnel(arguments.arm, arguments.seed, arguments.cap, arguments.out)


if __name__ == "__main__":
    main()
