"""The clock: whose time it is."""

import pytest

from cse_autoloss.bench import progress
from cse_autoloss.bench.progress import Clock


def test_a_stage_within_another_counts_for_the_inner_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = Clock(None)
    with clock.stage("verify"):
        now[0] += 1
        with clock.stage("proxy"):
            now[0] += 10
            with clock.stage("simulate"):
                now[0] += 100
        assert clock.current == "verify"
        now[0] += 2
        with clock.stage("proxy"):
            now[0] += 20
    with clock.stage("verify"):
        now[0] += 3
    assert clock.seconds == {"verify": 6, "proxy": 30, "simulate": 100}
    assert clock.elapsed == sum(clock.seconds.values())
    assert clock.overhead == 0.0
