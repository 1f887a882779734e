"""Is anything in the paper's inputs ahead of quality-gce? What the trainings so far say.

    python benchmarks/paper_inputs.py foretell [--all]     # the best that can be bred, by the table's Gaussian process

The process is that of replay.py, fitted to the losses of careless_trainings.jsonl beside GIoU that do not read the
progress of the training (with `--all`, to those that do as well: along a loss that stays the same they say something,
too). Candidates are the table's losses, points of the catalogue's families and what changing numbers makes of the best,
again and again; all are verified. Told is the expected AP less that of quality-gce, with the interval in which the
process has 95 % of it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import numpy as np
from replay import SIGNATURE as PROGRESS
from replay import StandIn, _scores

import cse_autoloss as cal
from cse_autoloss.graph import LossGraph
from cse_autoloss.searches.evolution import Limits, seeded
from cse_autoloss.searches.evolution.genome import PrimitiveSet
from cse_autoloss.searches.evolution.known import drawn_point, families_of
from cse_autoloss.searches.evolution.numbers import mutate_number
from cse_autoloss.spaces import parse, signature_of
from cse_autoloss.spaces.random_expressions import Forest
from cse_autoloss.surrogate import slope_features
from cse_autoloss.verification import VerifySettings, verify_forest

PLAIN = "cls-binary"
POINTS, ROUNDS, BEST, CHILDREN, TOLD = 3000, 12, 60, 12, 8


def reads_progress(formula: str) -> bool:
    """Whether T stands in it."""
    return re.search(r"\bT\b", formula) is not None


def sound(formulas: Sequence[str]) -> list[str]:
    """Those with every property, one of each kind of slopes."""
    graphs = [parse(formula, PLAIN) for formula in formulas]
    marks = verify_forest(Forest.of(graphs), VerifySettings(), marks=True).marks
    first = {mark: formulas[row] for row, mark in sorted(marks.items(), reverse=True)}
    return list(first.values())


def told(stand_in: StandIn, formulas: Sequence[str], against: str) -> tuple[np.ndarray, np.ndarray]:
    """Expected gains over a loss, in AP points, and their standard deviations."""
    graphs = [parse(formula, stand_in.signature) for formula in (*formulas, against)]
    points = (slope_features(graphs) - stand_in._middle) @ stand_in._axes
    mean, covariance = stand_in._process.predict(points, return_cov=True)
    own = np.diag(covariance)
    variance = own[:-1] + own[-1] - 2 * covariance[:-1, -1]
    return mean[:-1] - mean[-1], np.sqrt(np.maximum(variance, 0.0))


def bred(stand_in: StandIn) -> list[str]:
    """Candidates, and what hill climbing on the expectation makes of them, best first."""
    signature = signature_of(PLAIN)
    primitives, limits = PrimitiveSet.of(signature), Limits(16, 96)
    with seeded("paper inputs"):
        families = families_of(signature)
        drawn = [drawn_point(families, signature).formula for _ in range(POINTS)]
        pool = dict.fromkeys(sound([f for f in _scores() if not reads_progress(f)] + drawn))
        worth: dict[str, float] = {}
        for _ in range(ROUNDS):
            new = [formula for formula in pool if formula not in worth]
            worth |= dict(zip(new, stand_in.worth(new), strict=True)) if new else {}
            made: list[LossGraph] = []
            for formula in sorted(worth, key=lambda one: -worth[one])[:BEST]:
                tree = primitives.to_tree(parse(formula, PLAIN))
                changed = [mutate_number(tree, primitives) for _ in range(CHILDREN)]
                made += [primitives.to_graph(one) for one in changed if limits.holds(one)]
            pool |= dict.fromkeys(sound([graph.formula for graph in made]))
    return sorted(worth, key=lambda one: -worth[one])


def foretell(everything: bool) -> list[str]:
    """Print the best; their formulas."""
    scores = _scores()
    known = scores if everything else {f: own for f, own in scores.items() if not reads_progress(f)}
    stand_in = StandIn(known, PROGRESS if everything else PLAIN)
    rival = cal.load_loss("quality-gce").graph.formula  # type: ignore[attr-defined]
    print(f"fitted to {len(known)} losses, {sum(map(len, known.values()))} trainings")
    print(f"quality-gce: {stand_in.worth([rival])[0]:.2f} AP expected, {np.mean(scores[rival]):.2f} in "
          f"{len(scores[rival])} trainings")  # fmt: skip
    candidates = bred(stand_in)
    features = slope_features([parse(formula, PLAIN) for formula in candidates])
    apart: list[int] = []
    for place in range(len(candidates)):
        if all(np.abs(features[place] - features[other]).mean() > 0.05 for other in apart):
            apart.append(place)
        if len(apart) == TOLD:
            break
    chosen = [candidates[place] for place in apart]
    gain, deviation = told(stand_in, chosen, rival)
    print(f"{len(candidates)} candidates\n\n| expected gain | 95 % | formula |\n|---:|---|---|")
    for formula, mean, sd in zip(chosen, gain, deviation, strict=True):
        print(f"| {mean:+.2f} | [{mean - 1.96 * sd:+.2f}, {mean + 1.96 * sd:+.2f}] | `{formula}` |")
    return chosen


def main() -> None:
    """Parse and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("foretell",))
    parser.add_argument("--all", action="store_true")
    asked = parser.parse_args()
    foretell(asked.all)


if __name__ == "__main__":
    main()
