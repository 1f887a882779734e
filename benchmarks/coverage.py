"""How often intervals of a mean hold the truth, of few values: Student's t, BCa and two bootstraps.

    python benchmarks/coverage.py [--trials 4000] [--write docs/benchmarks/coverage.md]

Values are normal; or exponential, of skewness 2; or the difference of two of unlike skewness, as paired AP can be; or
normal with one training in ten that fails and counts as 0.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, t

Values = NDArray[np.float64]
Bounds = tuple[Values, Values]
CONFIDENCE = 0.95


def _failing(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    return np.where(rng.random(shape) < 0.1, 0.0, rng.normal(1.0, 0.1, shape))


LAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Values], float]] = {
    "normal": (lambda rng, shape: rng.normal(0.0, 1.0, shape), 0.0),
    "skewed": (lambda rng, shape: rng.exponential(1.0, shape), 1.0),
    "paired, skewed": (
        lambda rng, shape: rng.exponential(1.0, shape) - rng.lognormal(-0.5, 1.0, shape),
        0.0,
    ),
    "one in ten fails": (_failing, 0.9),
}
"""Law of the values, and its mean."""


def student(values: Values) -> Bounds:
    """Mean ± t·s/√n."""
    n, mean = values.shape[1], values.mean(1)
    reach = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values.std(1, ddof=1) / math.sqrt(n)
    return mean - reach, mean + reach


def bca(values: Values) -> Bounds:
    """Bias-corrected and accelerated bootstrap, as SciPy has it; where all values are alike, their mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rng = np.random.default_rng(0)
        found = bootstrap(
            (values,), np.mean, axis=1, n_resamples=1000, method="BCa", rng=rng, confidence_level=CONFIDENCE
        )
    low, high = found.confidence_interval.low, found.confidence_interval.high
    mean = values.mean(1)
    return np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)


def _percentile(values: Values, tail: float) -> Bounds:
    draws = np.random.default_rng(0).integers(0, values.shape[1], (1000, values.shape[1]))
    means = values[:, draws].mean(2)
    low, high = np.quantile(means, [tail, 1 - tail], axis=1)
    return low, high


def percentile(values: Values) -> Bounds:
    """The plain bootstrap."""
    return _percentile(values, (1 - CONFIDENCE) / 2)


def expanded(values: Values) -> Bounds:
    """The bootstrap with Hesterberg's wider quantiles."""
    n = values.shape[1]
    quantile = math.sqrt(n / (n - 1)) * t.ppf(0.5 + CONFIDENCE / 2, n - 1)
    return _percentile(values, float(norm.cdf(-quantile)))


METHODS = {"Student's t": student, "BCa": bca, "expanded percentile": expanded, "percentile": percentile}


def coverage(law: str, n: int, trials: int, seed: int = 0) -> dict[str, float]:
    """Share of intervals that hold the mean, by method."""
    draw, mean = LAWS[law]
    values = draw(np.random.default_rng([seed, n]), (trials, n))
    found = {}
    for name, method in METHODS.items():
        bounds = [method(block) for block in np.array_split(values, max(1, trials // 500))]
        low, high = (np.concatenate(part) for part in zip(*bounds, strict=True))
        found[name] = float(((low <= mean) & (mean <= high)).mean())
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Coverage of intervals of a mean",
        "",
        f"`python benchmarks/coverage.py --trials {arguments.trials}`: share of 95 % intervals that hold the "
        "true mean, of n values.",
        "",
        f"| values | n | {' | '.join(METHODS)} |",
        f"|---|---|{'---|' * len(METHODS)}",
    ]
    for law in LAWS:
        for n in (3, 5, 10, 20):
            found = coverage(law, n, arguments.trials)
            lines.append(
                f"| {law} | {n} | {' | '.join(f'{100 * share:.1f} %' for share in found.values())} |"
            )
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        arguments.write.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
