"""Which finalist should the audit bet on: the best after tuning, the pairing's first, or the mean of both?

    python benchmarks/finalist.py [--repeats 400]

The real pairing and the real tuning, on pairs whose worth is drawn: effects of six classification and four box losses,
of each pair, and an optimum of rate and box weight of each pair, around which the worth falls with the square of the
logarithm. A training gives that plus a seed's noise of 1 AP. Told is how many AP the chosen one lies behind the best
finalist, each at the settings that its tuning chose, ± standard error.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from cse_autoloss.bench import tuning
from cse_autoloss.bench.audit import AuditPlan, Contestant, tune
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.session import Session
from cse_autoloss.discovery.pairing import Pairing, believed, choose
from cse_autoloss.runs import Score
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.registry import section_of

TODAY = "best after tuning (today)"
FINALISTS, TRIES = 3, 16
SPREADS = ((0.3, 0.2), (0.6, 0.4), (1.2, 0.8))
"""Deviations of a loss's and of a pair's effect, AP points; a seed's is 1."""
CURVATURE = 0.6
"""AP points lost at a factor e from the best rate or weight; the optimum is drawn with a deviation of ln 1.5."""


class World:
    """What pairs are worth."""

    def __init__(self, rng: np.random.Generator, loss: float, pair: float, session: Session) -> None:
        self.space = session.space()
        cls, reg = [f"c{i}" for i in range(6)], [f"r{i}" for i in range(4)]
        self.pairs = tuple(LossSet.of({"cls": c, "reg": r}) for c in cls for r in reg)
        own = {name: rng.normal() * loss for name in (*cls, *reg)}
        self._worth = {
            (p["cls"], p["reg"]): own[p["cls"]] + own[p["reg"]] + rng.normal() * pair for p in self.pairs
        }
        self._best = {key: rng.normal(size=len(self.space)) * math.log(1.5) for key in self._worth}
        self._salt = int(rng.integers(1 << 30))

    def worth(self, losses: LossSet) -> float:
        """AP points of a pair at its settings."""
        key, settings = (losses["cls"], losses["reg"]), losses.tuned
        away = [math.log(settings.get(axis.name, axis.default) / axis.default) for axis in self.space]
        return float(self._worth[key] - CURVATURE * ((np.array(away) - self._best[key]) ** 2).sum())

    def train(self, trainings: Sequence[Training]) -> dict[str, Score]:
        """Scores by key."""
        found = {}
        for one in trainings:
            rng = np.random.default_rng(zlib.crc32(f"{self._salt}:{one.key}".encode()))
            ap = 0.5 + (self.worth(one.losses) + rng.normal()) / 100
            found[one.key] = one.score("ok", {"status": "ok", "metrics": {"ap": ap}}, "", 1.0)
        return found


def once(
    rng: np.random.Generator, loss: float, pair: float, session: Session, tries: int = TRIES
) -> dict[str, float]:
    """Regret of each rule, AP points."""
    world = World(rng, loss, pair, session)
    pairing = Pairing(world.pairs, (500, 501), 15.0, None, "", session.metric)
    scores: dict[str, Score] = {}

    def train(trainings: Sequence[Training]):  # type: ignore[no-untyped-def]
        found = world.train(trainings)
        scores.update(found)
        return found
        yield

    process = choose(pairing, train)
    try:
        next(process)
    except StopIteration as end:
        ranking = end.value
    plan = AuditPlan(session.metric, "", (0, 1), world.space, tries, 15.0, session.tune_seeds, 15.0)
    asked = [Contestant(f"{i}", losses, True) for i, (losses, _) in enumerate(ranking[:FINALISTS])]
    tuned = tune(asked, plan, lambda wanted: world.train(wanted))
    belief = _belief(pairing, scores)
    truth = [world.worth(one.losses) for one in tuned]
    val = [100 * one.val for one in tuned]
    mean = [100 * score for _, score in ranking[:FINALISTS]]
    held = [100 * belief[losses] for losses, _ in ranking[:FINALISTS]]
    rules = {
        TODAY: val,
        "first of the pairing": [-float(i) for i in range(len(asked))],
        "mean of tuning and pairing's scores": [(a + b) / 2 for a, b in zip(val, mean, strict=True)],
        "mean of tuning and pairing's belief": [(a + b) / 2 for a, b in zip(val, held, strict=True)],
        "by chance": list(rng.permutation(len(asked))),
    }
    return {name: max(truth) - truth[int(np.argmax(said))] for name, said in rules.items()}


def _belief(pairing: Pairing, scores: Mapping[str, Score]) -> dict[LossSet, float]:
    own = [
        [scores[k].metrics["ap"] for s in pairing.seeds if (k := pairing.training(p, s).key) in scores]
        for p in pairing.pairs
    ]
    told = believed(pairing, range(len(own)), [float(np.mean(one)) for one in own], list(map(len, own)))
    return dict(zip(pairing.pairs, told, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--tries", type=int, default=TRIES, help="trainings of each finalist's tuning")
    parser.add_argument(
        "--second-seed-from", type=int, help="trainings from which on the best have a second seed"
    )
    asked = parser.parse_args()
    if asked.second_seed_from is not None:
        tuning.FEWEST_TO_REPEAT = asked.second_seed_from
    repeats = asked.repeats
    session = Session(load_config("detection", {}, section_of))
    columns = []
    for loss, pair in SPREADS:
        rows = [
            once(np.random.default_rng(seed), loss, pair, session, asked.tries) for seed in range(repeats)
        ]
        columns.append({name: np.array([row[name] for row in rows]) for name in rows[0]})
    heads = " | ".join(f"losses ±{loss:g}, pairs ±{pair:g}" for loss, pair in SPREADS)
    print(f"| the audit bets on | {heads} |\n|---|{'---:|' * len(SPREADS)}")
    for name in columns[0]:
        cells = [_mean(c[name]) for c in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nless today's regret, world by world:")
    for name in list(columns[0])[1:4]:
        print(f"  {name}: {', '.join(_mean(c[name] - c[TODAY], '+') for c in columns)}")


def _mean(values: np.ndarray, sign: str = "") -> str:
    return f"{values.mean():{sign}.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f}"


if __name__ == "__main__":
    main()
