"""What a run of REINFORCE shows: in 80 columns on a screen, in a line elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cse_autoloss import reinforce_loss
from cse_autoloss.bench.progress import RunStatus
from cse_autoloss.discovery.stacks import means
from cse_autoloss.report import screen
from cse_autoloss.report.live import line, place, render, watch
from cse_autoloss.report.screen import Lines
from cse_autoloss.spaces.am_lfs import AmLfs
from cse_autoloss.tasks.protocol import Metric


def _status(**changes: Any) -> RunStatus:
    values: dict[str, Any] = {
        "phase": "search",
        "generation": 7,
        "slot": "loss",
        "metric": Metric("accuracy"),
        "elapsed": 61.0,
        "remaining": 3700.0,
        "best": {"loss": ('{"space": {"name": "search-softmax"}, "theta": [0.25]}', 0.75)},
        "baseline": ("cosface", 0.95),
        "done": 40,
        "total": 90,
        "message": "searched-1-0.5: epoch 7/30",
        "details": {"rewards": "least 0.5000  mean 0.6250  best 0.7500  1 diverged", "μ u": "  0.25"},
    }
    return RunStatus(**{**values, **changes})


def _drawn(status: RunStatus) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(render(status))
    return [text.strip("│ ") for text in console.export_text().splitlines()]


def test_the_screen_tells_all_in_80_columns() -> None:
    shown = _drawn(_status(message="x" * 300))
    assert "best loss        accuracy 75.0  search-softmax(0.25)" in shown
    assert "best handcrafted accuracy 95.0  cosface" in shown
    assert "rewards          least 0.5000  mean 0.6250  best 0.7500  1 diverged" in shown
    assert "μ u                0.25" in shown
    # What does not fit is on a line of its own.
    words = " ".join(shown)
    assert "searching, generation 7 (loss), 40 of 90 trainings" in words
    assert "1:01 gone, about 1:01:40 left" in words
    assert not any("verified" in text for text in shown)
    assert all(len(text) <= 80 for text in shown)


def test_of_many_numbers_the_least_and_the_greatest_are_told() -> None:
    few, many = (means(space, space.start) for space in (AmLfs(6), AmLfs(40)))
    assert few["μ a_t"] == "  1.00   1.00   1.00   1.00   1.00   1.00"
    assert many["μ a_t"] == "  1.00 to 1.00, 40 numbers"


def test_lines_come_for_each_phase_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    lines = Lines(out, line, place)
    for seconds, phase in ((0, "tune"), (3, "tune"), (4, "search"), (13, "search"), (14, "search")):
        now[0] = seconds
        lines.update(_status(phase=phase, generation=seconds))
    told = out.getvalue().splitlines()
    assert [text.split(" · ")[1:3] for text in told] == [
        ["tuning winners and baselines alike", "40/90 done"],
        ["searching", "generation 4 (loss)"],
        ["searching", "generation 14 (loss)"],
    ]
    assert told[0].endswith("best loss accuracy 75.0 · baseline cosface accuracy 95.0 · about 1:01:40 left")
    with watch(quiet=True, stream=out) as silent, watch(stream=out) as loud:
        silent.update(_status())
        assert out.getvalue().splitlines() == told
        loud.update(_status())
    assert len(out.getvalue().splitlines()) == len(told) + 1


def test_a_run_tells_how_far_it_is(tmp_path: Any) -> None:
    seen: list[tuple[str, int, int, float | None]] = []

    class Watch:
        def update(self, status: RunStatus) -> None:
            seen.append((status.phase, status.done, status.total, status.remaining))

    options = {
        "device": "cpu",
        "executor": "inprocess",
        "own.train_limit": 100,
        "own.epochs": 2,
        "reinforce.seeds": 1,
        "reinforce.samples": 3,
        "reinforce.baselines": ["cosface"],
        "reinforce.lr_factors": [1.0, 1e30],
    }
    reinforce_loss(out=tmp_path / "run", observer=Watch(), **options)
    phases = list(dict.fromkeys(phase for phase, *_ in seen))
    assert phases == ["tune", "search", "audit", "report"]
    counts = [(done, total) for _, done, total, _ in seen]
    assert counts == sorted(counts)
    # four margins at two rates; three models at two rates, twice; two points of the way and all of it, at two rates
    assert counts[-1] == (26, 26)
    assert seen[-1][3] == 0.0


def test_lines_leave_out_what_a_task_has_not() -> None:
    status = RunStatus(phase="search", generation=2)
    assert "generation 2 ()" not in line(status)
    assert "generation 2" in line(status)
    status.slot = "loss"
    status.funnel.update(generated=9, verified=3, trained=1)
    assert "generation 2 (loss) · generated 9 · verified 3 · trained 1" in line(status)
    status.funnel["simulated"] = 2
    assert "verified 3 · simulated 2 · trained 1" in line(status)
