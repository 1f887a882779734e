"""Studies: what is asked, told, driven, resumed and audited, and what a training function may do to them."""

import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cse_autoloss as cal
from cse_autoloss.errors import AutoLossError, ConfigError, RunError
from cse_autoloss.study import asking, functions
from cse_autoloss.study.functions import judged

SMALL = {"evolution.scouts": 200, "evolution.batch": 30, "evolution.offspring": 4, "evolution.population": 6}
RESIDUAL = cal.Signature(
    "residual",
    inputs=[cal.Input("R", meaning="prediction - target")],
    walks=[cal.Walk("R", start=-10, end=0), cal.Walk("R", start=10, end=0)],
    default="Mul(R,R)",
)
POINTS = torch.linspace(-3, 3, 41)


def study(directory: Path | None = None, **options: Any) -> cal.Study:
    return cal.Study(
        RESIDUAL, **{"direction": "minimize", "directory": directory, "settings": SMALL, **options}
    )


def size(loss: Any) -> float:
    """Lower for losses that are flat far out."""
    return float(loss(POINTS)) + 0.01 * float(loss(3 * POINTS))


def noisy(loss: Any, seed: int, lr: float = 1.0) -> float:
    return size(loss) * lr + 0.01 * ((seed * 7919) % 13)


def odd(loss: Any) -> Any:
    """Misbehaves in a way that the loss decides, so that it is the same in every process."""
    kind = int(1000 * size(loss)) % 5
    if kind == 0:
        raise ValueError("does not fit")
    if kind == 1:
        return math.nan
    if kind == 2:
        return "0.5"
    if kind == 3:
        sys.exit(3)
    return size(loss)


def deadly(loss: Any) -> float:
    """Takes its process along, prints without end, or hangs."""
    kind = int(1000 * size(loss)) % 3
    if kind == 0:
        os._exit(1)
    if kind == 1:
        time.sleep(600)
    for _ in range(100):
        print("x" * 100_000)
    return size(loss)


def test_candidates_are_verified_unlike_and_modules() -> None:
    with study() as one:
        candidates = one.ask(10)
        assert len({c.formula for c in candidates}) == 10
        for candidate in candidates:
            assert cal.verify(candidate.formula, RESIDUAL).accepted
            assert candidate.loss(torch.ones(3, requires_grad=True)).requires_grad


def test_it_learns_and_the_best_can_be_taken_away(tmp_path: Path) -> None:
    with study() as one:
        for _ in range(6):
            for candidate in one.ask(4):
                one.tell(candidate, size(candidate.loss))
        assert len(one) == 24
        assert one.best.value == min(s.metrics["value"] for s in one.scores)
        one.best.export(tmp_path / "loss.py")
        spec = importlib.util.spec_from_file_location("found", tmp_path / "loss.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        torch.testing.assert_close(module.DiscoveredLoss()(POINTS), one.best.loss(POINTS))


def test_a_kill_in_the_middle_of_asking_loses_no_candidate(tmp_path: Path, monkeypatch: Any) -> None:
    with study(tmp_path / "whole") as whole:
        expected = [c.formula for c in whole.ask(4)]
    issue = asking.issue
    issued: list[Any] = []

    def killed(parts: Any, entrant: Any) -> Any:
        if len(issued) == 2:
            raise KeyboardInterrupt
        issued.append(issue(parts, entrant))
        return issued[-1]

    with study(tmp_path / "broken") as broken:
        monkeypatch.setattr(asking, "issue", killed)
        with pytest.raises(KeyboardInterrupt):
            broken.ask(4)
        monkeypatch.undo()
    with study(tmp_path / "broken") as again:
        assert [c.formula for c in again.ask(4)] == expected


def told(one: cal.Study) -> list[tuple[str, str, float | None]]:
    return [(s.losses["loss"], s.status, s.metrics.get("value")) for s in one.scores]


def test_a_study_that_was_left_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    with study(tmp_path / "whole") as whole:
        whole.optimize(size, trials=14)
        expected = told(whole)
    with study(tmp_path / "broken") as broken:
        broken.optimize(size, trials=5)
        left = broken.ask(2)
    with study(tmp_path / "broken") as again:
        assert [c.formula for c in again.ask(2)] == [c.formula for c in left]
    with study(tmp_path / "broken") as again:
        again.optimize(size, trials=9)
        assert told(again) == expected


def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    with study(tmp_path / "a") as here, study(tmp_path / "b") as apart:
        here.optimize(size, trials=9)
        apart.optimize(size, trials=9, workers=2)
        assert told(apart) == told(here)


def test_whatever_a_function_does_the_study_goes_on() -> None:
    with study() as one:
        one.optimize(odd, trials=25)
        found = {s.detail.partition(":")[0] for s in one.scores if s.status != "ok"}
        assert len(one) == 25
        assert {"ValueError", "SystemExit", "not finite", "expected a number, got '0.5'"} <= found
        assert all(s.metrics for s in one.scores if s.status == "ok")


def test_a_function_that_dies_or_hangs_harms_itself_alone() -> None:
    with study() as one:
        one.optimize(deadly, trials=4, workers=2, limit=2.0)
        assert len(one) == 4
        assert {s.status for s in one.scores} <= {"ok", "crashed", "timeout"}
        assert any(s.status != "ok" for s in one.scores)


def hangs(loss: Any) -> float:
    """At all but the first, which is the signature's default."""
    if abs(float(loss(POINTS)) - float(POINTS.square().mean())) > 1e-6:
        time.sleep(600)
    return 1.0


def test_without_a_limit_a_call_hangs_that_takes_far_longer_than_others(monkeypatch: Any) -> None:
    monkeypatch.setattr(functions, "QUICK", 3.0)
    caller = functions.Apart(hangs, {"loss": RESIDUAL}, workers=1, limit=None)
    assert caller.limit is None
    try:
        losses = {"first": "Mul(R,R)", "second": "Abs(R)"}
        found = dict(caller.run([functions.Request(key, {"loss": text}) for key, text in losses.items()]))
    finally:
        caller.close()
    assert [found[key].status for key in losses] == ["ok", "timeout"]
    assert "its limit of 3 s" in found["second"].detail


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"limit": 5.0, "longest": 900.0}, 5.0),
        ({"budget": 1200.0}, 600.0),
        ({"longest": 1.0}, 60.0),
        ({"longest": 1.0, "budget": 200.0}, 20.0),
        ({"longest": 900.0, "budget": 1200.0}, 9000.0),
    ],
)
def test_how_long_a_call_may_take(given: dict[str, float], limit: float) -> None:
    caller = functions.Apart(hangs, {"loss": RESIDUAL}, workers=1, **{"limit": None, **given})
    caller.close()
    assert caller.limit == limit


def interrupted_after(count: int) -> Any:
    calls = []

    def fit(loss: Any) -> float:
        calls.append(loss)
        if len(calls) > count:
            raise KeyboardInterrupt
        return size(loss)

    return fit


def test_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    with study(tmp_path / "run") as one:
        one.optimize(interrupted_after(6), trials=20)
        assert len(one) == 6
        one.optimize(size, trials=3)
        assert len(one) == 9


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), float("inf"), b"1", [1.0, 2.0], 10**400])
def test_what_is_no_number_is_a_failure_with_a_reason(value: Any) -> None:
    outcome = judged(value)
    assert outcome.value is None
    assert outcome.detail
    assert judged(torch.tensor(0.5)).value == 0.5


def test_failing_and_telling_twice() -> None:
    with study() as one:
        first, second = one.ask(2)
        first.fail("out of memory")
        assert one.scores[0].detail == "out of memory"
        one.tell(second, 1.0)
        with pytest.raises(ConfigError, match="told already"):
            one.tell(second, 1.0)


@pytest.mark.parametrize(
    ("why", "detail"),
    [
        (ValueError("out of\nmemory"), "ValueError: out of memory"),
        (None, "None"),
        ("a\nb" * 1000, "a ba b"),
    ],
)
def test_a_failure_may_be_told_by_the_error_itself(why: object, detail: str) -> None:
    with study() as one:
        (candidate,) = one.ask(1)
        candidate.report(1, None)  # type: ignore[arg-type]
        candidate.fail(why)
        assert one.scores[0].detail.startswith(detail)
        assert len(one.scores[0].detail) <= 310
        assert one.ask(1)[0].number != candidate.number


@pytest.mark.parametrize("workers", [-1, "2", 1.5])
def test_a_number_of_workers_that_cannot_be_is_told(workers: Any) -> None:
    with study() as one, pytest.raises(ConfigError, match="workers: expected a whole number of 0 or more"):
        one.optimize(size, trials=1, workers=workers)


def test_the_slow_half_is_stopped_early() -> None:
    with study() as one:
        for candidate in one.ask(5):
            candidate.report(1, 1.0)
            assert not candidate.should_stop
            one.tell(candidate, 1.0)
        (late,) = one.ask(1)
        late.report(1, 2.0)
        assert late.should_stop
        late.report(1, 0.5)
        assert not late.should_stop


def test_audit_is_paired_tuned_alike_and_printed() -> None:
    with study() as one:
        one.optimize(size, trials=12)
        audit = one.audit(
            noisy, against=["Abs(R)"], seeds=4, ranges={"lr": (0.5, 1.0)}, tuning=5, validate=noisy
        )
        names = {c.name for c in audit.result.contestants}
        assert names == {"discovered", "default", "Abs(R)"}
        assert all(0.5 <= dict(c.losses.settings)["lr"] < 0.71 for c in audit.result.contestants)
        assert "tuned alike, 5 trainings each" in audit.verdict
        assert "paired seeds" in audit.verdict
        assert "Abs(R)" in str(audit)
        with pytest.raises(ConfigError, match="go together"):
            one.audit(noisy, ranges={"lr": (1.0, 1.0)})


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with study(tmp_path / "a") as one:
        with pytest.raises(RunError, match="nothing was told yet"):
            _ = one.best
        with pytest.raises(ConfigError, match="a budget"):
            one.optimize(size)
        with pytest.raises(ConfigError, match="top of a file"):
            one.optimize(lambda loss: 1.0, trials=1, workers=1)
    with pytest.raises(RunError, match=r"another seed"):
        study(tmp_path / "a", seed=3)
    with pytest.raises(Exception, match="did you mean 'evolution'"):
        study(search="evolutoin")


def test_a_study_needs_no_search_of_expressions() -> None:
    options = {"reinforce.samples": 4, "evolution.scouts": 20_000}
    for search in ("random", "reinforce", "cma"):
        with cal.Study("cls-multiclass", search=search, settings=SMALL | options) as one:
            one.optimize(lambda loss: -float(loss(torch.eye(3), torch.arange(3))), trials=9)
            assert len(one) == 9
            assert math.isfinite(one.best.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda study: study.ask("3"), "ask: expected a whole number of 1 or more, got '3'"),
        (lambda study: study.ask(1.5), "ask: expected a whole number of 1 or more, got 1.5"),
        (lambda study: study.tell(3, 1.0), "tell: expected a candidate that `ask` gave, got 3"),
        (lambda study: study.optimize(3, trials=1), "optimize: expected a training function, got 3"),
        (lambda study: study.optimize(print, trials=-1), "optimize: trials: expected a whole number of 1"),
        (
            lambda study: study.audit(print, seeds=1),
            "audit: seeds, for an interval: expected a whole number of 2",
        ),
        (lambda study: study.audit(print, tuning=None), "audit: tuning: expected a whole number of 1"),
        (lambda study: study.audit(3), "audit: fit: expected a training function, got 3"),
    ],
)
def test_wrong_arguments_are_one_line(wrong: Callable[[cal.Study], Any], words: str) -> None:
    with study() as one, pytest.raises(ConfigError) as caught:
        wrong(one)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": 3}, "settings: expected a dictionary, got 3"),
        ({"directory": 3}, "directory: expected a path, got 3"),
        ({"seed": "a"}, "seed: expected a whole number, got 'a'"),
        ({"defaults": {"los": "Mul(R,R)"}}, "unknown slot 'los'; did you mean 'loss'"),
        ({"defaults": {"loss": "Mul(Q,R)"}}, "unknown name 'Q'"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(AutoLossError, match=words):
        study(**options)
    with pytest.raises(ConfigError, match="expected at least one slot"):
        cal.Study({})
