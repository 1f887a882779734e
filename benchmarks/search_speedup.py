"""What the funnel and each of its parts are worth: searches to the same score, with one part left out at a time.

    python benchmarks/search_speedup.py targets --seeds 0 1 2 3 4 5 6 7 8 9 --out speedup.jsonl
    python benchmarks/search_speedup.py run --cap 90 --plain-cap 360 --lanes 2 --out speedup.jsonl
    python benchmarks/search_speedup.py table --out speedup.jsonl

All search a classification loss beside GIoU on the clean scenes, from random losses: no handcrafted ones, no points of
known families, nothing remembered. A training has 6 epochs. Every arm has the package's defaults but for what its name
says: none was tuned for this measure. Plain evolution trains every distinct candidate, with nothing in front of it.

A target is what a handcrafted loss scores on the validation scenes with the same seed; an arm has reached it when a
candidate's first training, on the whole schedule, scores as much. Caps and times are seconds of one core, of the
search's process from its start, data and imports included. Every training is a line in the file as soon as it ends; a
run that is in the file is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

PARTNER, BRANCH = "giou", "cls-binary"
EPOCHS = 6.0
"""Of a training: shorter than a search's, so that ten seeds of all arms can be paid for."""
LIMIT = 60.0
"""Wall seconds after which a training of plain evolution is ended: one takes about 4."""
TRIES = 16
"""Trainings that tune the catalogue's best."""
TARGETS = {"bce": "bce", "focal": "focal", "best": "the catalogue's best, tuned"}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full search", {}),
    "plain": ("plain evolution", {}),
    "random": (
        "random search with the funnel",
        {"evolution.random_fraction": 1.0, "evolution.elite": 0, "surrogate.pool": 0},
    ),
    "no-scouts": ("full, no scouts", {"evolution.scouts": 0}),
    "no-verification": ("full, no verification", {"evolution.scouts": 0}),
    "no-simulation": ("full, no simulation", {"simulate.share": 0.0, "evolution.choose_from": 1.0}),
    "no-halving": ("full, no rung", {"proxy.halving": []}),
    "no-surrogate": ("full, no surrogate", {"surrogate.pool": 0}),
    "generation-8": ("full, generations of 8", {"evolution.offspring": 8}),
    "generation-32": ("full, generations of 32", {"evolution.offspring": 32}),
}
"""Name -> label, and how the arm differs from the package's defaults. Without verification scouts are pointless."""


class Log:
    """Lines of one arm's run, with processor seconds since the process began."""

    def __init__(self, path: Path, arm: str, seed: int) -> None:
        self._path, self._facts = path, {"arm": arm, "seed": seed}

    def cpu(self) -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def write(self, kind: str, **values: Any) -> None:
        line = {**self._facts, "kind": kind, "cpu": round(self.cpu(), 2), **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def options(arm: str, seed: int) -> dict[str, Any]:
    """What a run is told."""
    return {
        "slot": "cls",
        "seed": seed,
        "device": "cpu",
        "detection.data": "digits",
        "executor": "inprocess",
        "generations": 100_000,
        "budget": None,
        "proxy.epochs": EPOCHS,
        "surrogate.memory": False,
        "evolution.handcrafted_seeds": False,
        "evolution.families": 0.0,
        **ARMS[arm][1],
    }


def config_of(arm: str, seed: int) -> Any:
    """The same, checked."""
    from cse_autoloss.settings.load import load_config
    from cse_autoloss.tasks.registry import section_of

    return load_config("detection", options(arm, seed), section_of)


@contextlib.contextmanager
def trainer(seed: int) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
    """The session, and a function from a training to its score; it ends those that take too long."""
    from cse_autoloss.bench.session import Session
    from cse_autoloss.executors import Job

    session = Session(config_of("full", seed))
    with session.executor() as executor:

        def train(training: Any) -> Any:
            quick = replace(training, precision=session.quick[1])
            executor.submit(Job(quick.key, quick.payload(), LIMIT))
            result = executor.next_result()
            assert result is not None
            return quick.score(result.status, result.value, result.detail, result.seconds)

        yield session, train


def first_training(session: Any, losses: Any) -> Any:
    """A candidate's first in a search of that seed."""
    from cse_autoloss.bench.jobs import Training
    from cse_autoloss.bench.session import SEEDS_OF_SEARCH

    return Training("proxy", losses, session.first_seed(SEEDS_OF_SEARCH), EPOCHS)


def targets(seeds: Sequence[int], path: Path, tuned: bool = True) -> None:
    """Train BCE, focal and all of the catalogue with each seed; tune the one of the best mean, and train it so."""
    from cse_autoloss.losses import list_losses

    names = [entry.name for entry in list_losses(BRANCH)]
    known = {(line["seed"], line["formula"]) for line in lines(path) if line["kind"] == "target"}
    for seed in seeds:
        with trainer(seed) as (session, train):
            for name in names:
                if (seed, name) in known:
                    continue
                score = train(first_training(session, session.untuned({"cls": name, "reg": PARTNER})))
                ap = score.metrics.get("ap", 0.0)
                Log(path, "target", seed).write("target", formula=name, status=score.status, ap=ap)
                print(f"seed {seed}: {name} + {PARTNER}: AP {ap * 100:.2f} ({score.status})", flush=True)
    if not tuned:
        return
    found: dict[str, list[float]] = defaultdict(list)
    for line in lines(path):
        if line["kind"] == "target" and line["seed"] in seeds:
            found[line["formula"]].append(line["ap"])
    best = max(found, key=lambda name: float(np.mean(found[name])))
    losses = _tuned(best)
    print(f"best of {len(found)}: {best}, tuned to {losses}", flush=True)
    for seed in seeds:
        with trainer(seed) as (session, train):
            ap = train(first_training(session, losses)).metrics.get("ap", 0.0)
            told = {"cls": losses["cls"], **losses.tuned}
            Log(path, "target", seed).write("best", formula=best, tuned=told, ap=ap)
            print(f"seed {seed}: AP {ap * 100:.2f}", flush=True)


def _tuned(name: str) -> Any:
    """The catalogue's loss beside the partner at the best of `TRIES` trainings, as an audit would tune it."""
    from cse_autoloss.bench.audit import AuditPlan, Contestant, tune

    with trainer(0) as (session, train):
        seeds = session.tune_seeds
        plan = AuditPlan(session.metric, "", (0, 1), session.space(), TRIES, EPOCHS, seeds, EPOCHS)
        one = Contestant(name, session.untuned({"cls": name, "reg": PARTNER}), False)
        return tune([one], plan, lambda wanted: {t.key: train(t) for t in wanted})[0].losses


def marks_of(path: Path, seed: int) -> dict[str, float]:
    """Target -> AP for the training seed of that run."""
    own = [line for line in lines(path) if line["seed"] == seed and line["arm"] == "target"]
    found = {line["formula"]: line["ap"] for line in own if line["kind"] == "target"}
    best = [line["ap"] for line in own if line["kind"] == "best"]
    if not {"bce", "focal"} <= set(found) or not best:
        raise SystemExit(f"{path} has no targets for seed {seed}: run `targets --seeds {seed}` first")
    return {"bce": found["bce"], "focal": found["focal"], "best": best[-1]}


def run_plain(seed: int, cap: float, path: Path) -> None:
    """Evolution that trains every candidate that it has not trained before."""
    from cse_autoloss.searches.evolution import Evolution
    from cse_autoloss.searches.protocol import Member
    from cse_autoloss.spaces import SIGNATURES

    goal, log = max(marks_of(path, seed).values()), Log(path, "plain", seed)
    with trainer(seed) as (session, train):
        evolution = Evolution(session.config.evolution, {"cls": SIGNATURES[BRANCH]}, seed)
        state, known, size = evolution.init(), set[str](), session.config.evolution.offspring
        while True:
            members, attempt = [], 0
            while len(members) < size:
                for proposal in evolution.ask(state, attempt, session.config.evolution.batch):
                    graph = proposal.graph
                    if graph is None or graph.digest in known or len(members) >= size:
                        continue
                    known.add(graph.digest)
                    losses = session.untuned({"cls": graph.formula, "reg": PARTNER})
                    score = train(first_training(session, losses))
                    ap = score.metrics.get("ap", 0.0)
                    log.write("training", formula=graph.formula, status=score.status, ap=ap, epochs=EPOCHS)
                    # One that failed takes its place in the generation, but never becomes a parent.
                    own = (ap,) if score.status == "ok" else ()
                    members.append(
                        Member(graph.formula, graph.digest, proposal.origin, state.generation, own)
                    )
                    if ap >= goal or log.cpu() > cap:
                        log.write("end", reason="goal" if ap >= goal else "cap")
                        return
                attempt += 1
            state = evolution.tell(state, tuple(members))


class Watch:
    """Follows a run by its store, and ends it when the goal or the cap is reached."""

    def __init__(self, directory: Path, log: Log, goal: float, cap: float, seed: int) -> None:
        self._file, self._log, self._goal, self._cap = directory / "run.sqlite", log, goal, cap
        self._seed = seed
        self._seen: set[str] = set()
        self.reason, self.counts = "cap", dict[str, int]()

    def update(self, status: Any) -> None:
        """Called after every training, and a few times a second."""
        if self.reason == "goal" or not self._file.exists():
            return
        self.counts = dict(status.funnel)
        for key, formula, state, ap, epochs, seed, extra in self._new():
            self._seen.add(key)
            first = seed == self._seed and epochs == EPOCHS
            # A training that was paused on the way is scored at every pause: each line counts what it added.
            epochs = json.loads(extra).get("epochs_trained", epochs)
            told = {"formula": formula, "status": state, "ap": ap or 0.0, "epochs": epochs, "first": first}
            self._log.write("training", **told)
            if first and (ap or 0.0) >= self._goal:
                self.reason = "goal"
        if self.reason == "goal" or self._log.cpu() > self._cap:
            raise KeyboardInterrupt

    def _new(self) -> Iterator[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self._file}?mode=ro", uri=True) as store:
            rows = store.execute(
                "SELECT key, losses ->> '$.cls', status, metrics ->> '$.ap', epochs, seed, extra FROM scores"
                " WHERE seed >= 0 AND split = 'val' ORDER BY created"
            ).fetchall()
        store.close()
        return iter([row for row in rows if row[0] not in self._seen])


def run_funnel(arm: str, seed: int, cap: float, path: Path) -> None:
    """A search of this package, ended at the goal."""
    import cse_autoloss
    from cse_autoloss.bench.session import SEEDS_OF_SEARCH, Session

    goal, log = max(marks_of(path, seed).values()), Log(path, arm, seed)
    with tempfile.TemporaryDirectory() as folder, _unverified() if arm == "no-verification" else _as_it_is():
        first = Session(config_of(arm, seed)).first_seed(SEEDS_OF_SEARCH)
        watch = Watch(Path(folder) / "run", log, goal, cap, first)
        told = {name.replace(".", "__"): value for name, value in options(arm, seed).items()}
        cse_autoloss.evolve("detection", out=Path(folder) / "run", observer=watch, **told)
        log.write("end", reason=watch.reason, funnel=watch.counts)


_as_it_is = contextlib.nullcontext


@contextlib.contextmanager
def _unverified() -> Iterator[None]:
    """A funnel that lets everything through to the simulation; duplicates are those of the same graph."""
    from cse_autoloss.discovery.funnel import Funnel

    verified = Funnel.look
    Funnel.look = lambda self, entrants: [  # type: ignore[method-assign]
        (replace(entrant, fingerprint=entrant.proposal.digest), None) for entrant in entrants
    ]
    try:
        yield
    finally:
        Funnel.look = verified  # type: ignore[method-assign]


def run(arms: Sequence[str], seeds: Sequence[int], caps: tuple[float, float], lanes: int, path: Path) -> None:
    """All that is not in the file, seed by seed, each in a process of its own with one thread."""
    done = {(line["arm"], line["seed"]) for line in lines(path) if line["kind"] == "end"}
    rng = np.random.default_rng(0)
    orders = [(seed, arms[i]) for seed in seeds for i in rng.permutation(len(arms))]

    def one(order: tuple[int, str]) -> None:
        seed, arm = order
        if (arm, seed) in done:
            return
        cap = caps[1] if arm == "plain" else caps[0]
        command = [sys.executable, __file__, "one", arm, "--seed", str(seed), "--cap", str(cap)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        subprocess.run(
            [*command, "--out", str(path)],
            env={**os.environ, **threads},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        print(f"{arm}, seed {seed}: done", flush=True)

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(one, orders))


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


@dataclass(frozen=True)
class Reach:
    """How long one run took to a target, or how long it was watched without reaching it."""

    done: bool
    cpu: float
    worth: float
    """Trainings, as whole ones' worth of epochs."""


def reach(own: Sequence[Mapping[str, Any]], target: float) -> Reach:
    """Where a run, whose lines these are, first scored as much."""
    trainings = [line for line in own if line["kind"] == "training"]
    for place, line in enumerate(trainings):
        if line.get("first", True) and line["ap"] >= target:
            worth = sum(t["epochs"] for t in trainings[: place + 1]) / EPOCHS
            return Reach(True, line["cpu"], worth)
    return Reach(False, own[-1]["cpu"], sum(t["epochs"] for t in trainings) / EPOCHS)


def median(runs: Sequence[Reach], what: str) -> str:
    """Kaplan–Meier's: where half have got there; how long runs were watched where fewer have."""
    from scipy.stats import CensoredData, ecdf

    times = np.array([getattr(one, what) for one in runs])
    done = np.array([one.done for one in runs])
    curve = ecdf(CensoredData(uncensored=times[done], right=times[~done])).sf if done.any() else None
    below = (
        []
        if curve is None
        else [q for q, p in zip(curve.quantiles, curve.probabilities, strict=True) if p <= 0.5]
    )
    return f"{below[0]:.0f}" if below else f"> {np.median(times):.0f}"


def quicker(full: Sequence[Reach], other: Sequence[Reach]) -> tuple[float, float, float]:
    """How many times as often `full` gets there in the same processor time, with the exact 95 % interval of a quotient
    of two Poisson rates: chances are taken as the same at every second."""
    from scipy.stats import f

    (d, t), (e, u) = ((sum(r.done for r in runs), sum(r.cpu for r in runs)) for runs in (full, other))
    low = d / (e + 1) / f.ppf(0.975, 2 * (e + 1), 2 * d) * u / t if d else 0.0
    high = (d + 1) / e * f.ppf(0.975, 2 * (d + 1), 2 * e) * u / t if e else math.inf
    return (d / t) / (e / u) if e else math.inf, float(low), float(high)


def differ(full: Sequence[Reach], other: Sequence[Reach]) -> float:
    """p of the log-rank test."""
    from scipy.stats import CensoredData, logrank

    if not any(r.done for r in (*full, *other)):
        return 1.0
    told = [
        CensoredData(uncensored=[r.cpu for r in runs if r.done], right=[r.cpu for r in runs if not r.done])
        for runs in (full, other)
    ]
    return float(logrank(*told).pvalue)


def table(path: Path) -> str:
    """The comparison as markdown: a line for each target and arm."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines(path):
        found[line["arm"], line["seed"]].append(line)
    # A run that was cut short, and is done again, counts from its last beginning.
    whole = {key: own for key, own in found.items() if own[-1]["kind"] == "end"}
    arms = [arm for arm in ARMS if any(arm == name for name, _ in whole)]
    text = []
    for target, label in TARGETS.items():
        runs = {
            arm: [
                reach(own, marks_of(path, seed)[target])
                for (name, seed), own in sorted(whole.items())
                if name == arm
            ]
            for arm in arms
        }
        seeds = sorted({seed for _, seed in whole})
        values = ", ".join(f"{100 * marks_of(path, seed)[target]:.1f}" for seed in seeds)
        text += [f"### To {label} + {PARTNER} (AP {values})", ""]
        text += [
            "| arm | got there | median, CPU s | median, trainings | the full search is so many times quicker | p |"
        ]
        text += ["|---|---:|---:|---:|---:|---:|"]
        chances = {arm: differ(runs["full"], own) for arm, own in runs.items() if arm != "full"}
        adjusted = _holm(chances)
        for arm, own in runs.items():
            cells = [f"{sum(r.done for r in own)} of {len(own)}", median(own, "cpu"), median(own, "worth")]
            if arm == "full":
                cells += ["", ""]
            else:
                ratio, low, high = quicker(runs["full"], own)
                middle = f"{_times(ratio)} " if math.isfinite(ratio) else ""
                cells += [f"{middle}[{_times(low)}, {_times(high)}]", f"{adjusted[arm]:.2g}"]
            text.append(f"| {ARMS[arm][0]} | {' | '.join(cells)} |")
        text.append("")
    text += [
        "| arm | best AP at its end, mean [least, greatest] | trainings | generated | verified | simulated |"
    ]
    text += ["|---|---:|---:|---:|---:|---:|"]
    for arm in arms:
        text.append(_ends(arm, [own for (name, _), own in whole.items() if name == arm]))
    return "\n".join(text)


def _times(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def _ends(arm: str, runs: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """What an arm's runs came to: the best first training, and the mean of what the funnel counted."""
    firsts = [[t["ap"] for t in own if t["kind"] == "training" and t.get("first", True)] for own in runs]
    best = [100 * max(own, default=0.0) for own in firsts]
    cells = [f"{np.mean(best):.1f} [{min(best):.1f}, {max(best):.1f}]"]
    cells.append(f"{np.mean([sum(t['kind'] == 'training' for t in own) for own in runs]):.0f}")
    funnels = [own[-1].get("funnel", {}) for own in runs]
    cells += [
        f"{np.mean([one[name] for one in funnels]):,.0f}" if all(funnels) else ""
        for name in ("generated", "verified", "simulated")
    ]
    return f"| {ARMS[arm][0]} | {' | '.join(cells)} |"


def _holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p of each, corrected for their number."""
    adjusted, most = {}, 0.0
    for place, arm in enumerate(sorted(chances, key=chances.__getitem__)):
        most = max(most, min(1.0, (len(chances) - place) * chances[arm]))
        adjusted[arm] = most
    return adjusted


def main() -> None:
    """Parse and do one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("targets", "run", "one", "table"):
        own = steps.add_parser(step)
        own.add_argument("--out", type=Path, required=True, help="JSON lines of all arms")
        if step in ("targets", "run"):
            own.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
        if step == "targets":
            own.add_argument(
                "--untuned", action="store_true", help="the catalogue alone, for a part of the seeds"
            )
        if step == "run":
            own.add_argument("arms", nargs="*", default=list(ARMS), help="all, unless named")
            own.add_argument("--cap", type=float, default=120.0, help="seconds of one core")
            own.add_argument("--plain-cap", type=float, default=600.0, help="of plain evolution")
            own.add_argument("--lanes", type=int, default=2, help="runs side by side")
        if step == "one":
            own.add_argument("arm", choices=list(ARMS))
            own.add_argument("--seed", type=int, required=True)
            own.add_argument("--cap", type=float, required=True)
    asked = parser.parse_args()
    if asked.step == "targets":
        targets(asked.seeds, asked.out, not asked.untuned)
    elif asked.step == "table":
        print(table(asked.out))
    elif asked.step == "run":
        run(asked.arms, asked.seeds, (asked.cap, asked.plain_cap), asked.lanes, asked.out)
    elif asked.arm == "plain":
        run_plain(asked.seed, asked.cap, asked.out)
    else:
        run_funnel(asked.arm, asked.seed, asked.cap, asked.out)


if __name__ == "__main__":
    main()
