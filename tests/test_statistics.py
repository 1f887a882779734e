import math

import numpy as np
import pytest

from cse_autoloss.bench.statistics import holm, mean_interval, noise_floor, p_value, paired_difference


@pytest.mark.parametrize(
    ("law", "n", "least"),
    [
        ("normal", 3, 0.92),
        ("normal", 5, 0.92),
        ("normal", 10, 0.92),
        ("normal", 20, 0.92),
        ("skewed", 5, 0.82),
        ("skewed", 10, 0.85),
    ],
)
def test_interval_holds_the_truth_as_often_as_it_says(law: str, n: int, least: float) -> None:
    """docs/benchmarks/coverage.md in small: at n = 5 the plain bootstrap holds a normal mean in 85 % of cases."""
    rng = np.random.default_rng(n)
    values = rng.normal(1.0, 2.0, (400, n)) if law == "normal" else rng.exponential(1.0, (400, n))
    intervals = [mean_interval(row.tolist(), resamples=1000, seed=trial) for trial, row in enumerate(values)]
    held = sum(one.low <= 1.0 <= one.high for one in intervals) / len(intervals)
    assert least <= held <= 0.985


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    assert holm([0.01]) == [0.01]
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    rng = np.random.default_rng(0)
    alone = corrected = 0
    for _ in range(200):
        chances = [p_value(rng.normal(size=5).tolist()) for _ in range(6)]
        alone += min(chances) < 0.05
        corrected += min(holm(chances)) < 0.05
    assert alone > 30
    assert corrected <= 18


def test_p_says_what_the_interval_says() -> None:
    for values in ([0.1, 0.2, 0.15], [0.1, -0.2, 0.3, 0.05], [0.02, 0.03, 0.01, 0.02]):
        interval = mean_interval(values)
        assert (p_value(values) < 0.05) == (interval.low > 0 or interval.high < 0)
    assert p_value([0.1]) == p_value([0.0, 0.0]) == 1.0
    assert p_value([0.1, 0.1]) == 0.0


def test_bounds_cut_what_can_not_be() -> None:
    wide = mean_interval([0.0, 0.3])
    assert wide.low < 0
    assert wide.within((0.0, 1.0)).low == 0.0
    assert wide.within((0.0, 1.0)).high == 1.0
    assert mean_interval([0.3]).within((0.0, 1.0)).low == -math.inf


def test_mean_lies_inside_and_more_values_narrow_it() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=5).tolist(), rng.normal(size=50).tolist()
    wide, narrow = mean_interval(few), mean_interval(many)
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < wide.high - wide.low


def test_nothing_is_claimed_from_one_value() -> None:
    interval = mean_interval([0.3])
    assert (interval.mean, interval.low, interval.high) == (0.3, -math.inf, math.inf)
    assert math.isnan(mean_interval([]).mean)


def test_pairing_removes_what_seeds_share() -> None:
    luck = [0.1, -0.2, 0.3, 0.0, -0.1]
    gain = paired_difference([0.5 + x + 0.01 for x in luck], [0.5 + x for x in luck])
    assert gain.mean == pytest.approx(0.01)
    assert gain.low == pytest.approx(0.01)
    with pytest.raises(ValueError, match="equally many"):
        paired_difference([1.0], [1.0, 2.0])


def test_the_noise_floor_is_the_spread_of_mean_paired_differences_without_the_draws() -> None:
    """Draws move all figures by 1.5, seeds each by 0.5: of ten seeds a mean difference has the sd 0.5·√(2/10)."""
    rng = np.random.default_rng(0)
    figures = rng.normal(0.0, 1.5, (300, 1, 10)) + rng.normal(0.0, 0.5, (300, 4, 10)) + np.arange(4)[:, None]
    differences = [paired_difference(one[0].tolist(), one[1].tolist()).mean for one in figures]
    told = [noise_floor(one.tolist()) for one in figures]
    assert np.mean(told) == pytest.approx(0.5 * math.sqrt(2 / 10), rel=0.03)
    assert np.mean(told) == pytest.approx(np.std(differences), rel=0.15)
    assert math.isnan(noise_floor([[0.1, 0.2]]))
    assert math.isnan(noise_floor([[0.1], [0.2]]))
    assert math.isnan(noise_floor([]))


def test_same_seed_same_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
