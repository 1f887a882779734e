"""Which optimiser spends a contestant's tuning trainings best? Sobol' points, Optuna's TPE, or the Gaussian process.

    pip install optuna            # for its arm alone; left out where it is missing
    python benchmarks/tuning.py [--seeds 10] [--trainings 8 12 16 24] [--out FILE.json]

Linear classifiers of scikit-learn's digits, trained by SGD on labels of which many are wrong or missing, take some 30
ms each: the space is that of a contestant of an audit, the rate and what its loss leaves open. Each optimiser has
the same number of trainings, a quarter of them for the best points' second seed. Told is what the chosen point lacks in
accuracy, over six further seeds on data that the tuning has not seen, to the best point that any optimiser chose.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev

import torch
from sklearn.datasets import load_digits

from cse_autoloss.bench import tuning
from cse_autoloss.bench.tuning import Axis, Point, Trial
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


def sobol(case: Case, trainings: int) -> Point:
    """The default and a scrambled Sobol' sequence."""
    count = trainings - tuning.repeats(trainings)
    first = tuning.default(case.axes)
    random = torch.quasirandom.SobolEngine(len(case.axes), scramble=True, seed=case.draw)
    points = [
        tuple(a.value(s) for a, s in zip(case.axes, row.tolist(), strict=True))
        for row in random.draw(count - 1)
    ]
    return _second_seed(case, [first, *points], trainings)


def tpe(case: Case, trainings: int) -> Point:
    """Optuna's TPE, with its defaults, after the default point."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            seed=case.draw, multivariate=True, warn_independent_sampling=False
        ),
    )
    tried = []
    study.enqueue_trial({axis.name: axis.share(axis.default) for axis in case.axes})
    for _ in range(trainings - tuning.repeats(trainings)):
        trial = study.ask()
        shares = [trial.suggest_float(axis.name, 0.0, 1.0) for axis in case.axes]
        tried.append(tuple(axis.value(share) for axis, share in zip(case.axes, shares, strict=True)))
        study.tell(trial, case.score(tried[-1], 0))
    return _second_seed(case, tried, trainings)


def process(case: Case, trainings: int) -> Point:
    """The package's: Sobol' points, then a Gaussian process."""
    worths: dict[Trial, float] = {}
    while wanted := tuning.due(case.axes, trainings, worths):
        worths |= {one: case.score(one.point, one.seed) for one in wanted}
    return tuning.best(case.axes, trainings, worths)[0]


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
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, int, str], list[float]] = {}
    for name, noise in CASES:
        for draw in range(options.seeds):
            case = _case(name, noise, draw)
            for trainings in options.trainings:
                for arm, run in ARMS.items():
                    found.setdefault((name, trainings, arm), []).append(case.worth(run(case, trainings)))
        print(f"{name}: done", flush=True)
        if options.out:
            options.out.write_text(json.dumps([[*key, worths] for key, worths in found.items()]))
    print(f"| loss | trainings | {' | '.join(ARMS)} |")
    print("|" + "---|" * (2 + len(ARMS)))
    best = {
        name: [max(found[k][i] for k in found if k[0] == name) for i in range(options.seeds)]
        for name, _ in CASES
    }
    for trainings in options.trainings:
        totals: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for name, _ in CASES:
            cells = []
            for arm in ARMS:
                regret = [b - w for b, w in zip(best[name], found[name, trainings, arm], strict=True)]
                totals[arm] += regret
                cells.append(_cell(regret))
            print(f"| {name} | {trainings} | {' | '.join(cells)} |")
        print(f"| **all** | {trainings} | {' | '.join(_cell(totals[arm]) for arm in ARMS)} |")


def _cell(values: list[float]) -> str:
    return f"{fmean(values):.2f} ± {stdev(values) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
