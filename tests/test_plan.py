import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from cse_autoloss.bench.budget import (
    MIN_PROXIES,
    AuditSize,
    Cost,
    RunSize,
    fit,
    train_limit,
)
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.bench.measure import measured
from cse_autoloss.bench.progress import Clock, RunStatus
from cse_autoloss.bench.session import NothingDone, Session
from cse_autoloss.discovery.finals import Finals
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.searches.protocol import SearchState
from cse_autoloss.settings.load import load_config
from cse_autoloss.tasks.registry import section_of

ASKED = AuditSize(
    winners=3,
    baselines=7,
    tuning=4,
    tune_epochs=6,
    seeds=5,
    epochs=15,
)
COST = Cost(epoch=0.7, score=0.5)


def sized(budget: float, workers: int = 2, cost: Cost = COST) -> RunSize:
    return fit(budget, 5.0, workers, cost, 0.5, 6, 16, ASKED)


@pytest.mark.parametrize("budget", [60, 120, 300, 1200, 3600, 36000])
def test_search_and_audit_fit_into_the_budget(budget: float) -> None:
    size = sized(budget)
    audit = size.audit.seconds(COST, size.share) / 2
    assert size.search_seconds + audit <= budget
    assert size.search_seconds > 0.3 * budget


def test_an_hour_needs_no_shrinking_and_seeds_grow() -> None:
    size = sized(3600)
    assert (size.epochs, size.share, size.offspring) == (6, 1.0, 16)
    assert 5 < size.audit.seeds <= 10
    assert any("seeds" in note for note in size.notes)


def test_a_minute_shrinks_everything_and_says_so() -> None:
    size = sized(60)
    assert size.share < 1 or size.epochs < 6
    assert size.offspring < 16
    assert size.audit.seeds >= 2
    text = " ".join(size.notes)
    assert all(word in text for word in ("proxy training", "offspring", "audit"))


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("epoch", [0.2, 0.7, 2.5, 30.0])
def test_a_budget_too_short_for_a_search_is_told_with_one_that_does(epoch: float, workers: int) -> None:
    cost = Cost(epoch, 1.0)
    told = sized(20, workers, cost).too_short
    assert told.startswith("Too short for a search: trainings of 3 epochs on ")
    least = float(re.search(r"at least (\d+)m", told)[1]) * 60
    assert sized(least, workers, cost).too_short == ""
    assert least <= 120 or sized(least - 120, workers, cost).too_short


def test_enough_proxies_fit() -> None:
    for budget in (300, 1200):
        size = sized(budget)
        assert size.search_seconds * 2 / COST.training(size.epochs, size.share) >= MIN_PROXIES


def test_seeds_are_kept_longer_than_finalists_and_tuning() -> None:
    size = sized(600)
    assert size.audit.seeds == 5
    assert size.audit.winners < 3


def test_a_hopeless_budget_still_gives_a_plan() -> None:
    size = sized(20, workers=1, cost=Cost(30, 10))
    assert size.offspring >= 3
    assert size.audit.baselines >= 1
    assert any("overrun" in note for note in size.notes)


def test_a_search_whose_time_is_over_still_gets_a_plan() -> None:
    size = fit(100.0, 90.0, 1, COST, 0.5, 6, 16, ASKED)
    assert size.search_seconds >= 90.0
    assert size.combine == 1


def test_a_share_is_that_of_the_images_there_are() -> None:
    assert train_limit(1.0, 205, 16) is None
    assert train_limit(0.5, 205, 16) == 102
    assert train_limit(0.01, 205, 16) == 16


def test_pairs_are_trained_on_the_audits_schedule_where_there_is_time() -> None:
    def paired(budget: float) -> RunSize:
        return fit(budget, 5.0, 2, COST, 0.5, 6, 16, ASKED, 3, 15.0, 2)

    hour, minutes = paired(3600), paired(240)
    assert (hour.combine, hour.combine_epochs) == (3, 15.0)
    assert minutes.combine_epochs == minutes.epochs
    assert any("pairing" in note for note in minutes.notes)
    assert not any("pairing" in note for note in hour.notes)


def test_a_plan_comes_back_from_json() -> None:
    size = sized(3600)
    assert TypeAdapter(RunSize).validate_python(json.loads(json.dumps(asdict(size)))) == size
    plan = asdict(size)
    del plan["combine_epochs"]
    assert TypeAdapter(RunSize).validate_python(plan).combine_epochs is None


def test_the_tuning_shrinks_with_the_budget_and_that_is_said() -> None:
    asked = replace(ASKED, tuning=16)
    hour, minutes = (fit(budget, 5.0, 2, COST, 0.5, 6, 16, asked).audit for budget in (7200, 600))
    assert hour.tuning == 16
    assert 1 < minutes.tuning < 16
    assert minutes.seconds(COST, 1.0) < hour.seconds(COST, 1.0)
    notes = " ".join(fit(600, 5.0, 2, COST, 0.5, 6, 16, asked).notes)
    assert f"{minutes.tuning} tuning training(s) each (asked for 3, 7, 5, 15, 16)" in notes


def slow(
    seconds_an_epoch: float, seconds_to_score: float, budget: float | None, status: str = "ok"
) -> tuple[Any, list[float]]:
    """A workbench whose trainings say that they took so long, and the epochs that it was asked for."""
    asked: list[float] = []

    def train(trainings: Sequence[Training], limit: float) -> dict[str, Score]:
        assert budget is None or limit <= budget
        asked.append(trainings[0].epochs)
        extra = {"seconds_train": seconds_an_epoch * trainings[0].epochs, "seconds_score": seconds_to_score}
        value = {"status": status, "metrics": {"ap": 0.5} if status == "ok" else {}, **extra}
        return {one.key: one.score(status, value, "", 0.0) for one in trainings}

    store = SimpleNamespace(typed_meta=lambda name, kind: None, set_meta=lambda name, value: None)
    bench = SimpleNamespace(
        store=store,
        clock=Clock(budget),
        status=RunStatus(),
        executor=SimpleNamespace(workers=2),
        train=train,
    )
    return bench, asked


LOSSES = LossSet.of({"cls": "bce", "reg": "giou"}, None)


@pytest.mark.parametrize(
    ("seconds", "budget", "epochs"),
    [(1.0, 60.0, 1.0), (50.0, None, 1.0), (50.0, 60.0, 0.1), (400.0, 60.0, 0.05)],
)
def test_measuring_takes_a_small_part_of_the_budget(
    seconds: float, budget: float | None, epochs: float
) -> None:
    bench, asked = slow(seconds, 1.0, budget)
    cost = measured(cast(Any, bench), LOSSES, "task")
    assert asked == [0.1, epochs]
    assert cost.epoch == pytest.approx(seconds)
    if budget is not None:
        plan = fit(budget, cost.training(sum(asked)), 2, cost, 0.5, 6, 16, ASKED)
        # Forty trainings fit by a smaller share of the data, and the audit besides, where that is not in vain.
        assert plan.share < 1 or seconds == 1.0


def test_a_budget_that_ends_within_the_measuring_is_told() -> None:
    bench, _ = slow(1000.0, 1.0, 60.0, "timeout")
    with pytest.raises(NothingDone, match=r"75% of 60 s were over before one training of 0\.1 epochs"):
        measured(cast(Any, bench), LOSSES, "task")


def test_slots_have_as_many_losses_in_the_pairs_as_they_had_turns(tmp_path: Path) -> None:
    session = Session(load_config("detection", {"executor": "inprocess"}, section_of))
    with RunStore.create(tmp_path, {}) as store:

        def sets(turns: tuple[str, ...], count: int) -> int:
            status = RunStatus(budget=None, metric=session.metric)
            return Finals(session, store, Clock(None), status, SearchState(), {}, turns).sets(count)

        assert sets((), 3) == sets(("cls", "reg"), 3) == 15
        assert sets(("cls", "reg", "cls"), 3) == (4 + 1) * (2 + 1) - 1
        assert sets(("cls", "reg", "cls"), 1) == 3


@pytest.mark.parametrize("budget", [300, 600, 900, 1200, 2400])
@pytest.mark.parametrize("epoch", [0.3, 0.7, 1.4])
def test_the_strongest_known_opponents_stay_as_long_as_they_can(budget: float, epoch: float) -> None:
    audit = sized(budget, cost=Cost(epoch, 0.5)).audit
    assert audit.baselines >= 3 or (audit.seeds <= 5 and audit.tuning <= 3)
