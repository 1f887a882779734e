import math

import numpy as np
import pytest

from cse_autoloss.bench.statistics import bootstrap_interval, paired_difference


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """The plain percentile interval holds it in about 82 % of cases at n = 5, which this test would notice."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        interval = bootstrap_interval(rng.normal(1.0, 2.0, size=n).tolist(), resamples=2000, seed=trial)
        held += interval.low <= 1.0 <= interval.high
    assert 0.90 <= held / 300 <= 0.99


def test_mean_lies_inside_and_more_values_narrow_it() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=5).tolist(), rng.normal(size=50).tolist()
    wide, narrow = bootstrap_interval(few), bootstrap_interval(many)
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < wide.high - wide.low


def test_nothing_is_claimed_from_one_value() -> None:
    interval = bootstrap_interval([0.3])
    assert (interval.mean, interval.low, interval.high) == (0.3, -math.inf, math.inf)
    assert math.isnan(bootstrap_interval([]).mean)


def test_pairing_removes_what_seeds_share() -> None:
    luck = [0.1, -0.2, 0.3, 0.0, -0.1]
    gain = paired_difference([0.5 + x + 0.01 for x in luck], [0.5 + x for x in luck])
    assert gain.mean == pytest.approx(0.01)
    assert gain.low == pytest.approx(0.01)
    with pytest.raises(ValueError, match="equally many"):
        paired_difference([1.0], [1.0, 2.0])


def test_same_seed_same_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
