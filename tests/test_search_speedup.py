"""The benchmark of the funnel's worth: its table from a file of lines, and its statistics."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "search_speedup.py"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("search_speedup", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _line(arm: str, seed: int, kind: str, cpu: float, **values: Any) -> str:
    return json.dumps({"arm": arm, "seed": seed, "kind": kind, "cpu": cpu, **values})


def _training(arm: str, seed: int, cpu: float, ap: float, epochs: float = 6.0, **values: Any) -> str:
    return _line(arm, seed, "training", cpu, formula="X", status="ok", ap=ap, epochs=epochs, **values)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path, told = tmp_path / "lines", []
    for seed in (0, 1):
        told += [
            _line("target", seed, "target", 5, formula="bce", status="ok", ap=0.5),
            _line("target", seed, "target", 9, formula="focal", status="ok", ap=0.6),
            _line("target", seed, "best", 9, formula="focal", tuned={}, ap=0.62),
            _training("plain", seed, 400, 0.06),
            _training("plain", seed, 900, 0.07),
            _line("plain", seed, "end", 900, reason="cap"),
            _training("full", seed, 10, 0.7, 1.0, first=False),
            _training("full", seed, 20 + 4 * seed, 0.55, 5.0, first=True),
            _training("full", seed, 30, 0.61, first=True),
            _line(
                "full", seed, "end", 40, reason="cap", funnel={"generated": 10, "verified": 4, "simulated": 2}
            ),
        ]
    # One that was cut short has no end, and is done again.
    told.append(_training("random", 0, 10, 0.9))
    path.write_text("\n".join(told))
    return path


def test_the_table(benchmark: ModuleType, lines: Path) -> None:
    bce, focal, best = benchmark.table(lines).split("### To ")[1:]
    # Half-way scores, and further seeds, do not count; what a paused training costs does.
    assert "| full search | 2 of 2 | 20 | 1 |  |  |" in bce
    assert "| plain evolution | 0 of 2 | > 900 | > 2 | [" in bce
    assert "| full search | 2 of 2 | 30 | 2 |  |  |" in focal
    assert "(AP 62.0, 62.0)" in best
    assert "| full search | 0 of 2 | > 40 | > 2 |  |  |" in best
    assert "| plain evolution | 0 of 2 | > 900 | > 2 | [0, ∞] | 1 |" in best
    assert "random search" not in bce
    assert "| full search | 61.0 [61.0, 61.0] | 3 | 10 | 4 | 2 |" in best
    assert "| plain evolution | 7.0 [7.0, 7.0] | 2 |  |  |  |" in best


def test_an_arm_needs_its_targets_first(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="targets"):
        benchmark.marks_of(tmp_path / "nothing", 0)


def test_the_interval_of_the_rates_is_that_of_a_binomial_share(benchmark: ModuleType) -> None:
    full = [benchmark.Reach(place < 9, 25.0, 4.0) for place in range(10)]
    other = [benchmark.Reach(place < 2, 90.0, 26.0) for place in range(10)]
    ratio, low, high = benchmark.quicker(full, other)
    assert ratio == pytest.approx((9 / 250) / (2 / 900))
    share = binomtest(9, 11).proportion_ci(0.95, method="exact")
    assert [low, high] == pytest.approx([odds / (1 - odds) * 900 / 250 for odds in (share.low, share.high)])
    nobody = [benchmark.Reach(False, 90.0, 26.0) for _ in range(10)]
    share = binomtest(9, 9).proportion_ci(0.95, method="exact")
    assert benchmark.quicker(full, nobody)[1] == pytest.approx(share.low / (1 - share.low) * 900 / 250)
    assert benchmark.quicker(full, nobody)[2] == np.inf


def test_the_interval_holds_the_truth_as_often_as_it_says(benchmark: ModuleType) -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        arms = []
        for rate in (1 / 40, 1 / 200):
            times = rng.exponential(1 / rate, 10)
            arms.append([benchmark.Reach(bool(one < 90), float(min(one, 90.0)), 1.0) for one in times])
        _, low, high = benchmark.quicker(*arms)
        held += low <= 5 <= high
    assert held / 400 >= 0.93


def test_a_median_is_known_where_half_got_there(benchmark: ModuleType) -> None:
    runs = [benchmark.Reach(True, cpu, 1.0) for cpu in (10.0, 20.0, 30.0)]
    assert benchmark.median(runs, "cpu") == "20"
    # One that was watched for 15 s only leaves the middle to those that were watched for longer.
    assert benchmark.median([*runs, benchmark.Reach(False, 15.0, 1.0)], "cpu") == "20"
    assert benchmark.median([benchmark.Reach(False, 90.0, 1.0)] * 2 + runs[:1], "cpu") == "> 90"
    chances = benchmark._holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert chances == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
