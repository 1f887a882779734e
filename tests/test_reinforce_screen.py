"""The screen of a REINFORCE run: what it shows, in 80 columns, and the time that is left."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from cse_autoloss.reinforce.progress import ReinforceStatus, Reporter
from cse_autoloss.reinforce.report import table
from cse_autoloss.report import screen
from cse_autoloss.report.reinforce_live import line, place, render, spark, watch
from cse_autoloss.report.screen import Lines
from cse_autoloss.spaces.am_lfs import AmLfs


def _status(intervals: int = 6, **changes: Any) -> ReinforceStatus:
    space = AmLfs(intervals)
    values: dict[str, Any] = {
        "name": "am-lfs (searched)",
        "searches": True,
        "mu": tuple(value + 0.25 for value in space.start),
        "seed": 1,
        "rate": 2,
        "rates": 4,
        "epoch": 7,
        "epochs": 30,
        "rewards": (0.5, math.nan, 0.75),
        "climb": [0.1, 0.4, 0.75],
        "found": {"softmax": [0.9, 0.8], "cosface": [0.95]},
        "elapsed": 61.0,
        "left": 3700.0,
        "message": "searched:1:0.5: epoch 7/30",
    }
    return ReinforceStatus(
        "am-lfs", "faces", "tpr_at_far", space.parameters, space.start, 3, **{**values, **changes}
    )


def _drawn(status: ReinforceStatus) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(render(status))
    return [text.strip("│ ") for text in console.export_text().splitlines()]


def test_the_screen_tells_all_in_80_columns() -> None:
    shown = _drawn(_status())
    assert "am-lfs on faces, seed 2 of 3 · 1:01 gone, about 1:01:40 left" in shown
    assert "softmax                   0.9000  0.8000" in shown
    assert "cosface                   0.9500" in shown
    assert "am-lfs (searched), epoch 7 of 30, learning rate 2 of 4" in shown
    assert "rewards      least 0.5000  mean 0.6250  best 0.7500  1 diverged" in shown
    assert "μ a_t          1.25   1.25   1.25   1.25   1.25   1.25" in shown


def test_many_numbers_and_seeds_still_fit() -> None:
    found = {"softmax": [0.5 + 0.01 * seed for seed in range(9)]}
    shown = _drawn(_status(40, found=found, climb=[float(i) for i in range(500)], message="x" * 300))
    assert "μ a_t          1.25 to 1.25, 40 numbers" in shown
    assert any(text.endswith("seed 9") and "seed 4" not in text for text in shown)
    assert all(len(text) <= 80 for text in shown)


def test_blocks_rise_with_the_values() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 50) == "▁▂▃▄▅▆▇█"
    assert spark([3, 3], 50) == "▁▁"
    assert spark([9, 0, 7], 2) == "▁█"


def test_lines_come_for_each_contestant_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    lines = Lines(out, line, place)
    for seconds, name in ((0, "softmax"), (3, "softmax"), (4, "cosface"), (13, "cosface"), (14, "cosface")):
        now[0] = seconds
        lines.update(_status(name=name, epoch=seconds))
    told = out.getvalue().splitlines()
    assert [text.split(" · ")[2:5] for text in told] == [
        ["softmax", "learning rate 2/4", "epoch 0/30"],
        ["cosface", "learning rate 2/4", "epoch 4/30"],
        ["cosface", "learning rate 2/4", "epoch 14/30"],
    ]
    assert line(_status(left=None, rates=0, climb=[])) == "[1:01] · seed 2/3 · am-lfs (searched) · epoch 7/30"
    with watch(quiet=True, stream=out) as silent, watch(stream=out) as loud:
        silent.update(_status())
        assert out.getvalue().splitlines() == told
        loud.update(_status())
    assert len(out.getvalue().splitlines()) == len(told) + 1


def test_the_time_left_is_judged_by_the_epochs_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("cse_autoloss.reinforce.progress.time.monotonic", lambda: now[0])
    status = _status(left=None, mu=(), found={})

    class Nobody:
        def update(self, status: ReinforceStatus) -> None:
            """Looks away."""

    reporter = Reporter(status, Nobody(), total=100)
    reporter.skip(20)
    reporter.begin("am-lfs (searched)", 10, rate=1, rates=2, searches=True)
    assert status.mu == status.start
    now[0] = 140.0  # reading the data
    reporter.epoch(1, 10, [0.5], 0.5, "one")
    assert status.left is None
    now[0] = 142.0
    reporter.epoch(2, 10, [0.6], 0.6, "two")
    assert status.left == pytest.approx(0.2 * (100 - 20 - 20))
    assert status.climb == [0.5, 0.6]
    reporter.result("am-lfs (searched)", 0.6, "")
    assert (status.found, status.message) == ({"am-lfs (searched)": [0.6]}, "two")


def test_the_final_table_fits_80_columns() -> None:
    test = {"mean": 0.5, "low": -0.123456, "high": 1.123456}
    rows = [{"name": name, "val": 0.25, "test": test} for name in ("label-smoothing", "softmax, best of B")]
    verdict = "No better than the best baseline, softmax, best of B, on the test images: accuracy +0.01 [-1.0, +2.0]."
    summary = {
        "baselines": rows,
        "space": "random-softmax",
        "searched": {"val": 0.3, "test": {"mean": 0.5, "low": None, "high": None}},
        "metric": "tpr_at_far",
        "verdict": verdict,
    }
    lines = table(summary).splitlines()
    assert lines[1].split() == ["random-softmax", "(searched)", "0.3000", "0.5000", "-"]
    assert all(len(text) <= 80 for text in lines)
    assert " ".join(lines[4:]) == verdict
