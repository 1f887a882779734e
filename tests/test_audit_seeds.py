"""Whom an audit tests, and how often: the winner of the tuning alone, with as many seeds as the budget has time for."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cse_autoloss.bench.audit import AuditPlan, Contestant
from cse_autoloss.bench.audit_words import untested
from cse_autoloss.bench.jobs import LossSet, Training
from cse_autoloss.discovery.finals import Finals
from cse_autoloss.runs import Score
from cse_autoloss.tasks.protocol import Metric

SEEDS = tuple(range(3000, 3004))
PLAN = AuditPlan(
    Metric("ap", title="AP", factor=100, digits=2), "t", SEEDS, (), 1, 1.0, (20, 21), 1.0, draws=20
)
FIELD = [Contestant(name, LossSet.of({"cls": name}), name == "ours") for name in ("ours", "bce", "focal")]


class World:
    """A bench whose trainings take a second each, a store and a clock; no training begins after the bell."""

    def __init__(self, budget: float | None, bell: int | None = None, kept: int = 0) -> None:
        """`bell`: trainings until the deadline; `kept`: trainings of the plan that were done before."""
        self.elapsed, self.asked = 0.0, list[Training]()
        self._bell, self._scores = bell, dict[str, Score]()
        self.deadline: float | None = None
        config = SimpleNamespace(budget=budget)
        session: Any = SimpleNamespace(config=config, slots=("cls",), metric=PLAN.metric)
        store: Any = SimpleNamespace(score=self._scores.get)
        clock: Any = self
        self.finals = Finals(session, store, clock, None, None, {})  # type: ignore[arg-type]
        for training in PLAN.final(FIELD)[:kept]:
            self._scores[training.key] = _score(training)

    def train(self, trainings: Sequence[Training], limit: float) -> dict[str, Score]:
        found = {}
        for training in trainings:
            if training.key not in self._scores:
                if self._bell is not None and len(self.asked) >= self._bell:
                    continue
                self.asked.append(training)
                self.elapsed += 1.0
                self._scores[training.key] = _score(training)
            found[training.key] = self._scores[training.key]
        return found

    def seeds(self) -> tuple[int, ...]:
        bench: Any = self
        scores, seeds = self.finals._tested(bench, PLAN, FIELD, 60.0)
        assert {t.seed for t in PLAN.final(FIELD) if t.key in scores} <= set(seeds)
        assert self.deadline is None
        return seeds


def _score(training: Training) -> Score:
    return training.score("ok", {"status": "ok", "metrics": {"ap": 0.5}}, "", 1.0)


@pytest.mark.parametrize(
    ("budget", "more"),
    [
        (12 + 4 + 2.0, 0),  # not enough for a whole one
        (12 + 4 + 3.5, 1),
        (12 + 4 + 7.0, 2),
        (1000.0, 4),  # up to twice as many
    ],
)
def test_time_that_is_left_goes_to_whole_further_seeds(budget: float, more: int) -> None:
    world = World(budget)
    assert world.seeds() == tuple(range(3000, 3004 + more))
    assert len(world.asked) == 3 * (4 + more)
    # Each has a draw of its own, and only the first is shown.
    assert len({t.draw for t in world.asked}) == 4 + more
    assert {t.seed for t in world.asked if t.show} == {3000}


def test_without_a_budget_there_are_as_many_as_were_asked_for() -> None:
    assert World(None).seeds() == SEEDS


def test_seeds_that_the_bell_cut_short_are_told_as_missing() -> None:
    # Seven trainings are two whole seeds; all that were planned are named, so that the report says what is missing.
    assert World(12.0, bell=7).seeds() == SEEDS
    # Of further ones only the whole ones count.
    assert World(1000.0, bell=12 + 4).seeds() == (*SEEDS, 3004)


def test_a_run_that_is_gone_on_with_keeps_the_further_seeds_that_it_has() -> None:
    world = World(1000.0, bell=12 + 4)
    assert len(world.seeds()) == 5
    world._bell = len(world.asked)
    assert len(world.seeds()) == 5
    # The pace is that of the trainings of this process, not of those that were there.
    begun = World(6 + 4 + 7.0, kept=6)
    assert len(begun.seeds()) == 4 + 2


def test_the_others_are_told_and_not_tested() -> None:
    assert untested([], PLAN.metric) == []
    others = [Contestant("discovered 2", LossSet.of({"cls": "x"}), True, val=0.57)]
    assert untested(others, PLAN.metric) == [
        "of the finalists, the best on validation after tuning was tested, and not discovered 2 (AP 57.00 there)"
    ]
