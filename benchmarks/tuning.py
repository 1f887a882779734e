"""Which optimiser spends a contestant's tuning trainings best? Sobol' points, Optuna's TPE, or a Gaussian process?

    pip install optuna            # for its arm alone; left out where it is missing
    python benchmarks/tuning.py [--seeds 10] [--trainings 8 12 16 24] [--out FILE.json]
    python benchmarks/tuning.py --read FILE.json    # the tables again, without the trainings

Linear classifiers of scikit-learn's digits, trained by SGD on labels of which many are wrong or missing, take some 30
ms each: the space is that of a contestant of an audit, the rate and what its loss leaves open. Each optimiser has
the same number of trainings, a quarter of them for the best points' second seed. Told is what the chosen point lacks in
accuracy, over six further seeds on data that the tuning has not seen, to the best point that any optimiser chose.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, qmc, rankdata
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from cse_autoloss.bench import tuning
from cse_autoloss.bench.statistics import mean_interval
from cse_autoloss.bench.tuning import Axis, Point
from cse_autoloss.losses import CATALOGUE, load_loss

RATE = Axis("lr", 0.1, 0.005, 5.0)
Score = Callable[[Point, int], float]
"""Of a point, trained with a seed: 0 and 1 are the tuning's."""


@dataclass
class Case:
    """One loss on one data set.

    Attributes:
        name: of the loss.
        noise: share of wrong labels, or, for losses of binary classification, of missing ones.
        axes: of its space.
        draw: of the wrong labels and of the tuning's seeds.
    """

    name: str
    noise: float
    axes: tuple[Axis, ...]
    draw: int = 0
    kept: dict[tuple[Point, int, str], float] = field(default_factory=dict)

    def score(self, point: Point, seed: int, part: str = "val") -> float:
        """Accuracy on a part, in points."""
        key = (point, seed, part)
        if key not in self.kept:
            model = self._trained(point, seed)
            for name in ("val", "test"):
                x, y = _data()[name]
                self.kept[point, seed, name] = 100 * float(((x @ model).argmax(1) == y).float().mean())
        return self.kept[key]

    def worth(self, point: Point) -> float:
        """Mean accuracy of further seeds on test."""
        return fmean(self.score(point, seed, "test") for seed in range(100, 106))

    def _trained(self, point: Point, seed: int) -> torch.Tensor:
        inner = ", ".join(f"{a.name}={v:g}" for a, v in zip(self.axes[1:], point[1:], strict=True))
        text = f"{self.name}({inner})" if inner else self.name
        loss = load_loss(text, reduction="sum")
        binary = CATALOGUE[text].signature.name == "cls-binary"
        x, y = _data()["train"]
        random = torch.Generator().manual_seed(1000 * self.draw + seed)
        spoilt = torch.rand(len(y), generator=random) < self.noise
        other = torch.full_like(y, 10) if binary else torch.randint(10, y.shape, generator=random)
        y = torch.where(spoilt, other, y)
        model = torch.zeros(x.shape[1], 10, requires_grad=True)
        optimiser = torch.optim.SGD([model], point[0], momentum=0.9)
        for _ in range(6):
            for part in torch.randperm(len(y), generator=random).split(50):
                optimiser.zero_grad()
                (loss(x[part] @ model, y[part]) / len(part)).backward()
                optimiser.step()
        return model.detach().nan_to_num()


@lru_cache
def _data() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    x, y = (torch.tensor(part) for part in load_digits(return_X_y=True))
    x = torch.cat([x.float() / 16, torch.ones(len(x), 1)], 1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    parts = zip(("train", "val", "test"), order[:1300].split([300, 300, 700]))
    return {name: (x[part], y[part]) for name, part in parts}


def _case(name: str, noise: float, draw: int = 0) -> Case:
    inner = tuple(
        Axis(one.name, one.default, *one.span, one.log, one.whole) for one in CATALOGUE.families[name].parameters
    ) if name in CATALOGUE.families else ()  # fmt: skip
    return Case(name, noise, (RATE, *inner), draw)


CASES = (
    ("cross-entropy", 0.5), ("generalised-ce", 0.5), ("symmetric-ce", 0.5),
    ("quality-square", 0.6), ("asymmetric", 0.6),
)  # fmt: skip


def _second_seed(case: Case, tried: list[Point], trainings: int) -> Point:
    """The best of the tried, the first few by two seeds."""
    ranked = sorted(tried, key=lambda point: -case.score(point, 0))[: max(1, tuning.repeats(trainings))]
    return max(ranked, key=lambda point: case.score(point, 0) + case.score(point, 1))


def _points(case: Case) -> list[Point]:
    """The default, and a scrambled Sobol' sequence of the draw's own."""
    shares = qmc.Sobol(len(case.axes), rng=case.draw).random_base2(9)
    return list(dict.fromkeys([tuning.default(case.axes), *(_at(case, row) for row in shares)]))


def _at(case: Case, shares: Iterable[float]) -> Point:
    return tuple(axis.value(share) for axis, share in zip(case.axes, shares, strict=True))


def _shares(case: Case, point: Point) -> list[float]:
    """The inverse of `_at`, but for the rounding."""
    return [
        math.log(v / a.low) / math.log(a.high / a.low) if a.log else (v - a.low) / (a.high - a.low)
        for a, v in zip(case.axes, point, strict=True)
    ]


def sobol(case: Case, trainings: int) -> Point:
    """The package's: no score decides what is tried."""
    return _second_seed(case, _points(case)[: trainings - tuning.repeats(trainings)], trainings)


def tpe(case: Case, trainings: int) -> Point:
    """Optuna's TPE, with its defaults, after the default point."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=case.draw, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    tried = []
    first = _shares(case, tuning.default(case.axes))
    study.enqueue_trial(dict(zip((axis.name for axis in case.axes), first, strict=True)))
    for _ in range(trainings - tuning.repeats(trainings)):
        trial = study.ask()
        tried.append(_at(case, [trial.suggest_float(axis.name, 0.0, 1.0) for axis in case.axes]))
        study.tell(trial, case.score(tried[-1], 0))
    return _second_seed(case, tried, trainings)


def process(case: Case, trainings: int) -> Point:
    """Half of the points as Sobol's, then rounds of three by the expected improvement of a Gaussian process.

    Scores enter by their ranks' normal scores; of 15 kernels the likeliest is taken (Matérn 5/2 and white noise).
    """
    most, tried = trainings - tuning.repeats(trainings), _points(case)
    tried = tried[: -(-most // 2)]
    while len(tried) < most:
        tried += _improving(case, tried, min(3, most - len(tried)))
    return _second_seed(case, tried, trainings)


def _improving(case: Case, tried: list[Point], count: int) -> list[Point]:
    known = np.array([_shares(case, point) for point in tried])
    scores = norm.ppf((rankdata([case.score(point, 0) for point in tried]) - 0.5) / len(tried))
    found: list[Point] = []
    random = np.random.default_rng(len(tried))
    for _ in range(count):
        steps = random.normal(size=(128, len(case.axes))) * random.choice([0.05, 0.2], size=(128, 1))
        near = [_at(case, np.clip(known[np.argmax(scores)] + step, 0, 1)) for step in steps]
        fresh = [point for point in dict.fromkeys([*_points(case), *near]) if point not in {*tried, *found}]
        shares = np.array([_shares(case, point) for point in fresh])
        fits = [
            GaussianProcessRegressor(Matern(length, nu=2.5) + WhiteKernel(noise), optimizer=None).fit(
                known, scores
            )
            for length in (0.15, 0.3, 0.6, 1.2, 2.4)
            for noise in (0.01, 0.1, 0.5)
        ]
        fit = max(fits, key=lambda one: one.log_marginal_likelihood_value_)
        mean, deviation = fit.predict(shares, return_std=True)
        gain = mean - scores.max()
        chosen = int(np.argmax(gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)))
        found.append(fresh[chosen])
        known, scores = np.vstack([known, shares[chosen]]), np.append(scores, mean[chosen])
    return found


ARMS: dict[str, Callable[[Case, int], Point]] = {
    "default": lambda case, _: tuning.default(case.axes),
    "Sobol'": sobol,
    **({"TPE": tpe} if importlib.util.find_spec("optuna") else {}),
    "Gaussian process": process,
}


def main() -> None:
    """Parse the command line, train, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trainings", type=int, nargs="+", default=[8, 12, 16, 24])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path)
    parser.add_argument("--losses", nargs="+", default=[name for name, _ in CASES])
    options = parser.parse_args()
    if options.read:
        report({(n, t, a): worths for n, t, a, worths in json.loads(options.read.read_text())})
        return
    cases = [(name, noise) for name, noise in CASES if name in options.losses]
    torch.set_num_threads(1)
    found: dict[tuple[str, int, str], list[float]] = {}
    for name, noise in cases:
        for draw in range(options.seeds):
            case = _case(name, noise, draw)
            for trainings in options.trainings:
                for arm, run in ARMS.items():
                    found.setdefault((name, trainings, arm), []).append(case.worth(run(case, trainings)))
        print(f"{name}: done", flush=True)
        if options.out:
            options.out.write_text(json.dumps([[*key, worths] for key, worths in found.items()]))
    report(found)


def report(found: Mapping[tuple[str, int, str], list[float]]) -> None:
    """What each arm lacks to the best that any chose; and what Sobol' lacks less than the others, paired by draw."""
    names, counts, arms = (list(dict.fromkeys(key[place] for key in found)) for place in range(3))
    print(f"| loss | trainings | {' | '.join(map(str, arms))} |")
    print("|" + "---|" * (2 + len(arms)))
    draws = range(len(next(iter(found.values()))))
    best = {name: [max(found[k][i] for k in found if k[0] == name) for i in draws] for name in names}
    means: dict[tuple[Any, Any], list[float]] = {}
    for trainings in counts:
        for name in names:
            cells = []
            for arm in arms:
                regret = [b - w for b, w in zip(best[name], found[name, trainings, arm], strict=True)]
                kept = means.setdefault((trainings, arm), [0.0 for _ in draws])
                means[trainings, arm] = [a + b / len(names) for a, b in zip(kept, regret, strict=True)]
                cells.append(_cell(regret))
            print(f"| {name} | {trainings} | {' | '.join(cells)} |")
        print(f"| **mean** | {trainings} | {' | '.join(_cell(means[trainings, arm]) for arm in arms)} |")
    others = [arm for arm in arms if arm not in ("default", "Sobol'")]
    print(f"\n| Sobol' lacks less than, 95 % | {' | '.join(f'{n} trainings' for n in counts)} |")
    print("|" + "---|" * (1 + len(counts)))
    for arm in others:
        gains = [
            mean_interval([a - b for a, b in zip(means[n, arm], means[n, "Sobol'"], strict=True)])
            for n in counts
        ]
        print(f"| {arm} | {' | '.join(f'{g.mean:+.2f} [{g.low:+.2f}, {g.high:+.2f}]' for g in gains)} |")


def _cell(values: list[float]) -> str:
    return f"{fmean(values):.2f} ± {stdev(values) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
