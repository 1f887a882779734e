"""Searches replayed: what each part of a search is worth, where a training costs nothing.

    python benchmarks/replay.py fit                                       # how good the stand-in is
    python benchmarks/replay.py run full --seeds 0 1 2 --out replay.jsonl
    python benchmarks/replay.py table --out replay.jsonl                  # regret by trainings, with standard errors
    python benchmarks/replay.py quarter --out replay.jsonl                # a quarter of the trainings against "before"
    python benchmarks/replay.py unlike                                    # what the stand-in says of random losses

The search is the real one, with its filters, for a classification loss beside GIoU in extended spaces. What stands in
for a training is a Gaussian process, fitted once to all of `careless_trainings.jsonl` that has GIoU: it says what a
loss is worth, and a training gives that plus the noise of a seed. So the true worth of whatever a search likes best is
known at any time. Regret is the best worth that the process gives to a loss of the table, less it. The process knows
nothing of losses unlike those of the table: what it can not tell is how far a search would get beyond them.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from breeding_arms import refined

import cse_autoloss as cal
from cse_autoloss.bench.statistics import mean_interval
from cse_autoloss.discovery.choosing import Chooser
from cse_autoloss.graph import LossGraph, parse_formula
from cse_autoloss.runs import RunStore
from cse_autoloss.searches.protocol import Member, ranked
from cse_autoloss.spaces import parse, signature_of
from cse_autoloss.spaces.random_expressions import random_forest
from cse_autoloss.surrogate import slope_features
from cse_autoloss.tasks.detection import DetectionTask
from cse_autoloss.tasks.protocol import LossFunction, Schedule, SplitName, TaskScore
from cse_autoloss.verification.population import verify_forest

SIGNATURE = "cls-binary-progress"
FLOOR = 45.0
"""AP below which losses are alike: nobody wants them."""
COMPONENTS = 20
BREEDING = Path(__file__).resolve().with_name("breeding_arms.py")
REFINED = {"numbers refined twice": 2}
DRAWN = {
    "surrogate__pool": 0,
    "evolution__families": 0.0,
    "evolution__numbers": 0.0,
    "evolution__fade": 0.0,
}
"""Nothing learns, and nothing is known of families or of numbers."""
BEFORE = {**DRAWN, "evolution__elite": 4, "evolution__max_nodes": 48, "evolution__max_depth": 10}
"""The search of commit 27a6dc8, before it learnt from its trainings."""
ARMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no surrogate": {"surrogate__pool": 0},
    "no families": {"evolution__families": 0.0},
    "no numbers": {"evolution__numbers": 0.0},
    "no fading": {"evolution__fade": 0.0},
    "repeats of the best four": {"evolution__elite": 4},
    "no repeats": {"evolution__elite": 0},
    "no random ones": {"evolution__random_fraction": 0.0},
    "small generations": {"evolution__offspring": 8},
    "map-elites": {"search": f"{BREEDING}:MapElites"},
    "numbers refined twice": {},
    "before": BEFORE,
    "random": {**DRAWN, "evolution__random_fraction": 1.0, "evolution__scouts": 1_000_000},
    "before, with room": {**BEFORE, "evolution__max_nodes": 96, "evolution__max_depth": 16},
    "before, with a surrogate": {name: value for name, value in BEFORE.items() if name != "surrogate__pool"},
    "before, with families": {**BEFORE, "evolution__families": 0.3},
    "before, with numbers": {**BEFORE, "evolution__numbers": 0.15, "evolution__fade": 0.4},
}
"""How each differs from the default configuration."""


class StandIn:
    """What a loss is worth in AP points, and the standard deviation of a seed."""

    def __init__(self, scores: Mapping[str, list[float]], signature: str = SIGNATURE) -> None:
        """`scores`: AP points of each loss's seeds; `signature`: of the losses."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        self.signature = signature
        features = slope_features([parse(formula, signature) for formula in scores])
        worth = np.maximum([np.mean(own) for own in scores.values()], FLOOR)
        count = np.array([len(own) for own in scores.values()])
        spread = [np.var(own, ddof=1) for own in scores.values() if len(own) > 1 and min(own) > FLOOR]
        self.noise = float(np.sqrt(np.mean(spread)))
        self._middle = features.mean(axis=0)
        _, size, axes = np.linalg.svd(features - self._middle, full_matrices=False)
        deviation = size[:COMPONENTS] / math.sqrt(len(features))
        self._axes = axes[:COMPONENTS].T / deviation
        self.level = float(np.median(worth))
        points = (features - self._middle) @ self._axes
        tried = [
            GaussianProcessRegressor(
                ConstantKernel(amplitude) * Matern(length, nu=1.5),
                alpha=self.noise**2 / count,
                optimizer=None,
            ).fit(points, worth - self.level)
            for amplitude, length in product((2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32))
        ]
        self._process = max(tried, key=lambda one: one.log_marginal_likelihood_value_)
        self.best = float((self._process.predict(points) + self.level).max())

    def worth(self, formulas: list[str]) -> list[float]:
        """AP points of each."""
        features = slope_features([parse(formula, self.signature) for formula in formulas])
        found = self._process.predict((features - self._middle) @ self._axes) + self.level
        return [float(value) for value in found]


@cache
def stand_in() -> StandIn:
    """Fitted to the whole table."""
    return StandIn(_scores())


def _scores() -> dict[str, list[float]]:
    text = (Path(__file__).parent / "careless_trainings.jsonl").read_text(encoding="utf-8")
    scores: dict[str, list[float]] = defaultdict(list)
    for row in map(json.loads, text.splitlines()):
        if row["reg"] == "giou" and row["status"] == "ok":
            scores[row["cls"]].append(100 * row["ap"])
    return scores


class Replayed(DetectionTask):
    """Detection whose trainings are answered by the stand-in."""

    name = "replayed"
    pauses = False

    def train(
        self,
        losses: Mapping[str, LossFunction],
        *,
        seed: int,
        schedule: Schedule,
        settings: Mapping[str, float],
        split: SplitName,
    ) -> TaskScore:
        """The worth of the classification loss, and a seed's noise."""
        graph: LossGraph = losses["cls"].graph  # type: ignore[attr-defined]
        rng = np.random.default_rng(zlib.crc32(f"{graph.formula}:{seed}".encode()))
        ap = max(0.01, stand_in().worth([graph.formula])[0] + stand_in().noise * rng.normal()) / 100
        return TaskScore(
            {"ap": ap, "ap50": ap, "ap75": ap}, epochs_trained=schedule.epochs, train_samples=800
        )


def run(arm: str, seed: int, generations: int, out: Path) -> None:
    """A search; what it liked best after each generation becomes a line."""
    options = {"evolution__combine": 1, "evolution__combine_seeds": 1, **ARMS[arm]}
    options |= {"audit__finalists": 1, "audit__baselines": 1, "audit__tuning": 1, "audit__seeds": 2}
    with tempfile.TemporaryDirectory() as folder, refined(REFINED.get(arm, 0)):
        directory = Path(folder) / "run"
        task = f"{Path(__file__).resolve()}:Replayed"
        start = time.process_time()
        cal.evolve(
            task, seed=seed, slot="cls", Replayed__spaces="extended", generations=generations, budget=None,
            executor="inprocess", device="cpu", out=directory, **options,
        )  # fmt: skip
        seconds = time.process_time() - start
        with RunStore.read(directory) as store:
            told = [event.detail["worth"] for event in store.events("trained")]
    signature = signature_of(SIGNATURE)
    chooser = Chooser({"cls": signature}, seed, task)
    scores: dict[str, list[float]] = defaultdict(list)
    known = {loss.formula for name in cal.list_losses() if (loss := _expression(name.name)) is not None}
    trainings = 0
    for number, worth in enumerate(told):
        trainings += len(worth)
        chooser.note("cls", worth)
        for formula, one in worth.items():
            scores[formula] += [] if one is None else [one]
        found = [
            Member(formula, parse_formula(formula, signature).digest, "", number, tuple(own))
            for formula, own in scores.items()
            if own and formula not in known
        ]
        if not found:
            continue
        weighed = chooser.expected(found, "cls") if options.get("surrogate__pool") != 0 else tuple(found)
        best = ranked(weighed)[0]
        line = {"arm": arm, "seed": seed, "generation": number, "trainings": trainings, "formula": best.formula,
                "worth": round(stand_in().worth([best.formula])[0], 3), "best": round(stand_in().best, 3),
                "seconds": round(seconds, 1)}  # fmt: skip
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    print(f"{arm}, seed {seed}: {line['worth']} after {trainings} trainings", flush=True)


def _expression(name: str) -> Any:
    loss: Any = cal.load_loss(name)
    return loss if hasattr(loss, "graph") and loss.graph.signature.name == "cls-binary" else None


def table(out: Path, marks: tuple[int, ...] = (40, 60, 80, 100, 120)) -> None:
    """Regret of each arm at so many trainings."""
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    by: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by[row["arm"]][row["seed"]].append(row)
    print(f"| search | seeds | {' | '.join(f'{mark} trainings' for mark in marks)} |")
    print("|---|---:|" + "---:|" * len(marks))
    regrets = {arm: [_regrets(by[arm], mark) for mark in marks] for arm in ARMS if arm in by}
    for arm, own in regrets.items():
        print(f"| {arm} | {len(by[arm])} | {' | '.join(_mean(list(one.values())) for one in own)} |")
    first, *others = regrets
    print(f"\nless {first}, seed by seed:")
    for arm in others:
        pairs = [(regrets[first][place], one) for place, one in enumerate(regrets[arm])]
        gains = [_mean([two[seed] - one[seed] for seed in one if seed in two], "+") for one, two in pairs]
        print(f"| {arm} | {' | '.join(gains)} |")


def quarter(out: Path, reference: str = "before", end: int = 312) -> None:
    """Where a search stands with a quarter of the trainings, less where the reference ends: by seed, 95 %."""
    by: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in map(json.loads, out.read_text(encoding="utf-8").splitlines()):
        by[row["arm"]][row["seed"]].append(row)
    ends = _regrets(by[reference], end)
    print(f"{reference}, {end} trainings: regret {_mean(list(ends.values()))}, {len(ends)} seeds")
    for arm in (arm for arm in ARMS if arm in by):
        early = _regrets(by[arm], end // 4)
        less = [early[seed] - ends[seed] for seed in early if seed in ends]
        told = mean_interval(less)
        seconds = np.mean([own[-1]["seconds"] / own[-1]["trainings"] for own in by[arm].values()])
        gain = f"{told.mean:+.2f} [{told.low:+.2f}, {told.high:+.2f}]"
        beside = f"{seconds:.1f} s of search beside a training"
        print(f"| {arm} | {end // 4} | {_mean(list(early.values()))} | {gain} | {beside} |")


def _regrets(runs: Mapping[int, list[dict[str, Any]]], mark: int) -> dict[int, float]:
    """By seed, of the runs that came so far."""
    found = {}
    for seed, own in runs.items():
        done = [row for row in own if row["trainings"] <= mark]
        if done and own[-1]["trainings"] >= mark:
            found[seed] = done[-1]["best"] - done[-1]["worth"]
    return found


def _mean(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{np.mean(values):{sign}.2f} ± {error:.2f}"


def fit() -> None:
    """The stand-in on losses that it has not seen, tenth by tenth of the table."""
    scores = _scores()
    names = list(scores)
    said = np.empty(len(names))
    for fold in range(10):
        known = {name: scores[name] for place, name in enumerate(names) if place % 10 != fold}
        places = [place for place in range(len(names)) if place % 10 == fold]
        said[places] = StandIn(known).worth([names[place] for place in places])
    found = np.array([np.mean(scores[name]) for name in names])
    good = found > np.median(found)
    alike = np.corrcoef(said[good], found[good])[0, 1]
    print(
        f"{len(names)} losses, {sum(map(len, scores.values()))} trainings; best worth {stand_in().best:.2f} AP, "
        f"{stand_in().level:.2f} of a loss unlike all"
    )
    print(f"a seed moves a loss by {stand_in().noise:.2f} AP (1 sd)")
    print(
        f"not seen: correlation {alike:.2f} in the better half, off by {np.std(said[good] - found[good]):.2f} AP"
    )


def unlike(count: int = 200) -> None:
    """What the stand-in says of random losses, and what those of them in the table came to: who may be replayed."""
    rng, signature = np.random.default_rng(0), signature_of(SIGNATURE)
    drawn: dict[str, list[str]] = {"accepted by the filter": [], "rejected by it": []}
    while min(map(len, drawn.values())) < count:
        forest = random_forest(signature, 100_000, rng)
        sound = verify_forest(forest).fault == 0
        for kept, rows in zip(drawn.values(), (np.flatnonzero(sound), np.flatnonzero(~sound)), strict=True):
            graphs = [forest.graph(int(row)) for row in rows[: 4 * count]]
            told = np.isfinite(slope_features(graphs)).all(axis=1) if graphs else []
            kept += [graph.formula for graph, one in zip(graphs, told, strict=True) if one]
    bce = stand_in().worth(["Neg(Add(Mul(PY,Log(Sig(X))),Mul(NY,Log(Sub(1,Sig(X))))))"])[0]
    print(f"BCE: {bce:.1f} AP by the stand-in")
    rows = [
        (f"stand-in, random losses {name}", stand_in().worth(kept[:count])) for name, kept in drawn.items()
    ]
    rows.append(("trained, random losses of the table", _random_ones()))
    print(
        "| AP | losses | a quarter is below | half | three quarters | as good as BCE |\n|---|---:|---:|---:|---:|---:|"
    )
    for name, worth in rows:
        low, half, high = np.quantile(worth, (0.25, 0.5, 0.75))
        good = np.mean(np.array(worth) >= bce)
        print(f"| {name} | {len(worth)} | {low:.1f} | {half:.1f} | {high:.1f} | {good:.0%} |")


def _random_ones() -> list[float]:
    text = (Path(__file__).parent / "careless_trainings.jsonl").read_text(encoding="utf-8")
    rows = map(json.loads, text.splitlines())
    return [
        100 * row["ap"]
        for row in rows
        if (row["origin"], row["reg"], row["status"]) == ("random", "giou", "ok")
    ]


def main() -> None:
    """One of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fit", "run", "table", "quarter", "unlike"))
    parser.add_argument("arm", nargs="?", default="full", choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--reference", default="before", choices=ARMS, help="of quarter")
    parser.add_argument("--out", type=Path, default=Path("replay.jsonl"))
    asked = parser.parse_args()
    if asked.what == "fit":
        fit()
    elif asked.what == "quarter":
        quarter(asked.out, asked.reference)
    elif asked.what == "unlike":
        unlike()
    elif asked.what == "run":
        for seed in asked.seeds:
            run(asked.arm, seed, asked.generations, asked.out)
    else:
        table(asked.out)


if __name__ == "__main__":
    main()
